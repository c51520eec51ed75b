# SPDX-License-Identifier: Apache-2.0
"""Run `detect_dataset` on a real cluster of two Ray nodes of one CPU on this machine.

    python benchmarks/cluster.py [--part PART]... [--json FILE]

Parts: `node` (one node is killed by -9 in mid-run), `driver` (the run itself is, and resumed),
`speed` (two nodes beside one; it needs two idle cores), `overhead` (CPU time per image of an
actor's work beside `detect`, in one process, interleaved), `plan` (what comes before the first part
of a list of a million paths), `million` (`dbnet bulk` on a million files, killed and resumed;
some 15 minutes), `store` (`driver` from and into an S3 server on this machine, which
`pip install 'moto[server]'` brings).
"""

from __future__ import annotations

import collections
import json as json_module
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
from cyclopts import App, Parameter
from dbnet_trt import CpuConfig, Detector
from dbnet_trt.bulk import BulkConfig, BulkProgress, detect_dataset
from dbnet_trt.bulk.config import DetectorSpec
from dbnet_trt.bulk.plan import Plan, extend_plan
from dbnet_trt.bulk.storage import Storage
from dbnet_trt.bulk.worker import Job, Worker
from measure import interleaved, tell, write_report
from million import million
from object_store import object_store, upload
from pyarrow import dataset
from ray_nodes import RAY, cluster
from scenes import text_scene

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fakes.tiny_model import make_model

app = App(help="Run a bulk job on a cluster of two nodes on this machine.")
Part = Literal["node", "driver", "speed", "overhead", "plan", "million", "store"]


def link_images(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Make a folder of hard links to drawn scenes; returns their paths."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    cv2.imwrite(str(folder / f"{0:09d}.jpg"), text_scene(*size, 3, rng))
    for index in range(1, count):
        os.link(folder / f"{0:09d}.jpg", folder / f"{index:09d}.jpg")
    return [str(folder / f"{index:09d}.jpg") for index in range(count)]


def count_rows(output: str, expected: list[str]) -> dict[str, int]:
    """Count the images whose rows are lost or twice, and errors."""
    table = dataset.dataset(output, format="parquet").to_table(["path", "error"])
    seen = collections.Counter(table["path"].to_pylist())
    return {
        "images": len(expected),
        "rows": table.num_rows,
        "lost": sum(seen[path] == 0 for path in expected),
        "twice": sum(count > 1 for count in seen.values()),
        "errors": table.num_rows - table["error"].null_count,
    }


def node(folder: Path, model: str, count: int) -> dict[str, Any]:
    """Kill one of two nodes when a quarter of the images is done."""
    paths, output = link_images(folder / "in", count, (480, 640)), folder / "out"
    killed: dict[str, Any] = {}
    with cluster(2) as nodes:

        def report(progress: BulkProgress) -> None:
            if progress.num_actors == 2 and progress.num_done >= count // 4 and not killed:
                killed["after_images"] = progress.num_done
                nodes.kill_last()
                tell("a node was killed")

        summary = detect_dataset(
            folder / "in",
            output,
            model,
            config=BulkConfig(address=nodes.address, images_per_part=2),
            report=report,
            say=tell,
        )
    if not killed:
        raise SystemExit("no node was killed: the run was over too soon")
    return {"killed": killed, **count_rows(str(output), paths), "summary": asdict(summary)}


DRIVER = """
import sys
from dbnet_trt.bulk import BulkConfig, detect_dataset
inputs, output, model, address, resume = sys.argv[1:]
config = BulkConfig(address=address, images_per_part=2)
detect_dataset(inputs, output, model, config=config, resume=bool(int(resume)))
"""


def driver(folder: Path, model: str, count: int) -> dict[str, Any]:
    """Kill the run by -9 three times, and resume it."""
    paths = link_images(folder / "in", count, (480, 640))
    with cluster(2) as nodes:
        return kill_and_resume(folder / "in", folder / "out", paths, model, nodes.address)


def store(folder: Path, model: str, count: int) -> dict[str, Any]:
    """Do the same from an S3 server into it, for each kind of input."""
    paths = link_images(folder / "in", count, (480, 640))
    rows = {}
    with object_store(), cluster(2) as nodes:
        for given, names in upload(paths).items():
            output = f"s3://scans/found/{Path(given).name}"
            rows[given] = kill_and_resume(given, output, names, model, nodes.address)
            tell(f"{given}: {rows[given]}")
    return rows


def kill_and_resume(
    inputs: Path | str, output: Path | str, expected: list[str], model: str, address: str
) -> dict[str, Any]:
    """Kill a run by -9 three times, resume it each time, and count its rows."""
    killed_at: list[int] = []
    storage, count = Storage(), len(expected)
    for limit in (1, count // 12, count // 6, None):
        command = [sys.executable, "-c", DRIVER, str(inputs), str(output), model, address]
        process = subprocess.Popen([*command, str(int(bool(killed_at)))])
        while process.poll() is None:
            num_parts = sum(name.startswith("part-") for name in storage.names(str(output)))
            if limit is not None and num_parts >= limit:
                process.kill()
                process.wait()
                killed_at.append(num_parts)
                tell(f"the run was killed with {num_parts} parts written")
            time.sleep(0.05)
        if limit is None and process.returncode:
            raise SystemExit("the last run failed")
    return {"killed_with_parts": killed_at, **count_rows(str(output), expected)}


def speed(folder: Path, model: str, count: int) -> dict[str, Any]:
    """Compare two nodes of one core with one; the machine must be idle."""
    link_images(folder / "in", count, (480, 640))
    rows: dict[str, Any] = {"load": os.getloadavg()[0]}
    for num_nodes in (1, 2):
        last: list[BulkProgress] = []
        with cluster(num_nodes) as nodes:
            detect_dataset(
                folder / "in",
                folder / f"out{num_nodes}",
                model,
                config=BulkConfig(address=nodes.address, images_per_part=8),
                report=last.append,
                say=tell,
            )
        rows[f"images_per_second_{num_nodes}"] = round(last[-1].rate, 2)
    rows["ratio"] = round(rows["images_per_second_2"] / rows["images_per_second_1"], 2)
    return rows


def overhead(folder: Path, rounds: int) -> dict[str, Any]:
    """Compare the CPU time of an actor's work with `detect`, with a network that takes no time."""
    model = str(make_model(folder / "tiny.onnx"))
    paths = link_images(folder / "in", 64, (480, 640))
    storage, output = Storage(), str(folder / "out")
    plan = extend_plan(Plan(), paths, output, storage, max_images=64, num_actors=1)
    spec = DetectorSpec(model, cpu=CpuConfig("onnxruntime"))
    worker = Worker(Job(spec, BulkConfig(), output, storage, storage, plan.sources, 1))
    detector = Detector(model, cpu=CpuConfig("onnxruntime", num_threads=1))
    parts = list(plan.parts())
    times = interleaved(
        {
            "detect": lambda: [detector.detect(path) for path in paths],
            "bulk": lambda: [worker.run(part) for part in parts],
        },
        rounds,
        clock=time.process_time,
    )
    each = {name: float(np.median(values)) / len(paths) for name, values in times.items()}
    return {
        "detect_cpu_ms": round(each["detect"], 3),
        "bulk_cpu_ms": round(each["bulk"], 3),
        "more_cpu_ms": round(each["bulk"] - each["detect"], 3),
        "images_per_part": parts[0].num_images,
    }


PLAN = """
import json, resource, sys, time
begun = time.perf_counter()
from dbnet_trt.bulk.inputs import find_inputs
from dbnet_trt.bulk.plan import extend_plan, read_plan
from dbnet_trt.bulk.storage import Storage
inputs, output, storage = sys.argv[1], sys.argv[2], Storage()
plan = extend_plan(
    read_plan(output, storage), find_inputs([inputs], storage, output, None), output, storage,
    max_images=256, num_actors=2,
)
parts = plan.parts_left(output, storage)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024e-6
print(json.dumps({
    "images": plan.num_images, "parts": len(parts),
    "seconds": round(time.perf_counter() - begun, 1),
    "cpu_seconds": round(time.process_time(), 1), "peak_mb": round(peak, 1),
}))
"""


def plan(folder: Path, count: int) -> dict[str, Any]:
    """Measure what comes before the first part of a list of very many paths, twice."""
    listed, output = folder / "list.txt", folder / "out"
    listed.write_text("".join(f"/scans/{index:09d}.jpg\n" for index in range(count)))
    rows: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
    for name in ("start", "resume"):
        done = subprocess.run(
            [sys.executable, "-c", PLAN, str(listed), str(output)],
            check=True,
            capture_output=True,
            text=True,
        )
        rows[name] = json_module.loads(done.stdout)
    return rows


@app.default
def main(
    *,
    part: Annotated[tuple[Part, ...], Parameter(negative="")] = (
        *("node", "driver", "overhead", "plan"),
    ),
    model: str = "dbnet-lines",
    images: int = 96,
    files: int = 1_000_000,
    rounds: int = 20,
    folder: Path | None = None,
    json: Path | None = None,
) -> None:
    """Run a bulk job on a cluster of two nodes on this machine.

    Parameters
    ----------
    part
        What is done; all but `speed`, `million` and `store` by default.
    model
        Name of a model or path of a file.
    images
        Number of images of the runs that are killed or timed.
    files
        Number of files of `plan` and `million`.
    rounds
        Number of timed rounds of `overhead`.
    folder
        Folder for the files of a run, which are deleted; the system's for temporary files by
        default.
    json
        File for the numbers.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token", RAY_worker_niceness="0")
    subprocess.run(
        [*RAY, "get-auth-token", "--generate"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # a token of this user is kept if there is one
    report: dict[str, Any] = {"model": model}
    runs = {
        "node": lambda folder: node(folder, model, images),
        "driver": lambda folder: driver(folder, model, images),
        "speed": lambda folder: speed(folder, model, images),
        "overhead": lambda folder: overhead(folder, rounds),
        "plan": lambda folder: plan(folder, files),
        "store": lambda folder: store(folder, model, images),
        "million": lambda folder: million(folder, model, files),
    }
    for name in part:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            report[name] = runs[name](Path(work))
        tell(f"{name}: {report[name]}")
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    tell(f"{children.ru_utime + children.ru_stime:.0f} CPU s in children")
    print(json_module.dumps(report, indent=2))
    write_report(report, json)


if __name__ == "__main__":
    app()
