# SPDX-License-Identifier: Apache-2.0
"""Measure memory and time of `dbnet detect` on documents and folders.

    python benchmarks/bulk.py [--part PART]... [--model NAME] [--json FILE]

Parts: `pdf` (a document of many pages beside one of a single page), `photos` (photos of 9 to 25
megapixels, each of another shape, beside the largest alone; by the command, and by `detect_batch`
with a generator), `paths` (a folder of a million files, until the first results are written),
`shapes` (networks of eight input shapes that OpenVINO keeps compiled).
Peak memory is that of a new process, in MB of 10^6 bytes (Linux).
"""

from __future__ import annotations

import json as json_module
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pypdfium2
from cyclopts import App, Parameter
from measure import tell, write_report
from PIL import Image
from scenes import text_scene

app = App(help="Measure memory and time of documents and folders.")
Part = Literal["pdf", "photos", "paths", "shapes"]

PAGE = (2339, 1654)
"""(height, width) of an A4 page at 200 dpi."""

MAX_LINKS = 50_000
"""Links to one file; ext4 allows 65,000."""

PRELUDE = """
import sys, time
started = time.perf_counter()
def report():
    lines = open("/proc/self/status").read().splitlines()
    peak = next(int(line.split()[1]) * 1024e-6 for line in lines if line.startswith("VmHWM"))
    print(f"{peak:.1f} {time.perf_counter() - started:.1f} {time.process_time():.1f}")
"""

COMMAND = (
    PRELUDE
    + """
from dbnet_trt.cli.app import main
code = main(sys.argv[1:])
report()
sys.exit(code)
"""
)

BATCH = (
    PRELUDE
    + """
from pathlib import Path
import cv2
from dbnet_trt import CpuConfig, Detector
detector = Detector(sys.argv[1], cpu=CpuConfig(num_threads=int(sys.argv[3])))
photos = sorted(Path(sys.argv[2]).glob("*.jpg"))
results = detector.detect_batch(cv2.imread(str(path)) for path in photos)
assert len(results) == len(photos)
report()
"""
)

SHAPES = (
    PRELUDE
    + """
import numpy as np
from dbnet_trt import CpuConfig, Detector
from dbnet_trt.engines import openvino
openvino.LIVE_SHAPES = int(sys.argv[3])
detector = Detector(sys.argv[1], cpu=CpuConfig("openvino", num_threads=int(sys.argv[2])))
for columns in range(23, 23 + int(sys.argv[4])):
    detector._engine(np.zeros((1, 3, 736, 32 * columns), np.float32))
report()
"""
)


def run(program: str, *arguments: str) -> dict[str, float]:
    """Run a program in a new process; returns its peak memory and times."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"a new process failed:\n{done.stderr}")
    peak, seconds, cpu_seconds = map(float, done.stdout.split())
    return {"peak_mb": peak, "seconds": seconds, "cpu_seconds": cpu_seconds}


def detect(source: Path, folder: Path, options: list[str]) -> dict[str, Any]:
    """Run `dbnet detect` in a new process; returns its peak memory, times and counts."""
    lines = folder / "found.jsonl"
    measured = run(COMMAND, "detect", str(source), "--json", str(lines), "--overwrite", *options)
    records = [json_module.loads(line) for line in lines.read_text("utf-8").splitlines()]
    texts = sum(len(record["scores"]) for record in records)
    return {**measured, "images": len(records), "texts": texts}


def pdf(folder: Path, options: list[str], pages: int) -> dict[str, Any]:
    """Compare a PDF of many scanned pages with its first page."""
    rng = np.random.default_rng(0)
    first, *others = (Image.fromarray(text_scene(*PAGE, 60, rng)[:, :, ::-1]) for _ in range(20))
    path = folder / "scan.pdf"
    first.save(path, save_all=True, append_images=others, resolution=200)
    source, all_pages = pypdfium2.PdfDocument(path), pypdfium2.PdfDocument.new()
    for begin in range(0, pages, 20):
        all_pages.import_pages(source, list(range(min(20, pages - begin))))
    path = folder / "all.pdf"
    all_pages.save(path)
    one = detect(path, folder, [*options, "--pages", "1"])
    tell(f"one page: {one}")
    many = detect(path, folder, options)
    if (one["images"], many["images"]) != (1, pages):
        raise SystemExit(f"{many['images']} of {pages} pages were read")
    return {"pages": pages, "file_mb": path.stat().st_size / 1e6, "one": one, "all": many,
            "more_mb": round(many["peak_mb"] - one["peak_mb"], 1)}  # fmt: skip


def photos(folder: Path, options: list[str], model: str, num_threads: int, count: int) -> Any:
    """Compare photos of 9 to 25 megapixels, each of another shape, with the largest alone."""
    rng, several, single = np.random.default_rng(0), folder / "several", folder / "single"
    several.mkdir()
    single.mkdir()
    for index, megapixels in enumerate(np.linspace(9, 25, count)):
        ratio = rng.uniform(0.55, 1.8)
        height = round(1000 * (megapixels / ratio) ** 0.5)
        width = round(1000 * (megapixels * ratio) ** 0.5)
        photo = text_scene(height, width, 40, rng)
        noise = rng.integers(0, 12, photo.shape, np.uint8)
        cv2.imwrite(str(several / f"{index:02d}.jpg"), cv2.add(photo, noise))
    last = f"{count - 1:02d}.jpg"
    os.link(several / last, single / last)
    rows = {}
    ways: dict[str, Callable[[Path], dict[str, Any]]] = {
        "dbnet detect": lambda source: detect(source, folder, options),
        "detect_batch": lambda source: run(BATCH, model, str(source), str(num_threads)),
    }
    for name, way in ways.items():
        one, many = way(single), way(several)
        tell(f"{name}: {one}, {many}")
        more = round(many["peak_mb"] - one["peak_mb"], 1)
        rows[name] = {"one": one, "all": many, "more_mb": more}
    return {"photos": count, **rows}


def paths(folder: Path, options: list[str], count: int, results: int) -> dict[str, Any]:
    """Measure the time until a folder of many files has its first result, and memory then."""
    source, lines = folder / "many", folder / "found.jsonl"
    source.mkdir()
    scene = text_scene(240, 320, 3, np.random.default_rng(0))
    for index in range(count):
        first = index - index % MAX_LINKS
        if index == first:
            cv2.imwrite(str(source / f"{index:09d}.jpg"), scene)
        else:
            os.link(source / f"{first:09d}.jpg", source / f"{index:09d}.jpg")
    tell(f"{count} files are there")
    command = [sys.executable, "-m", "dbnet_trt", "detect", str(source), "--json", str(lines)]
    begun = time.perf_counter()
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    first_seconds, first_cpu_seconds, peak_kb, cpu_seconds, found = None, 0.0, 0, 0.0, 0
    while process.poll() is None and found < results:
        time.sleep(0.02)
        found = lines.read_bytes().count(b"\n") if lines.exists() else 0
        if found and first_seconds is None:
            first_seconds, first_cpu_seconds = time.perf_counter() - begun, cpu_seconds
        peak_kb, cpu_seconds = _usage(process.pid) or (peak_kb, cpu_seconds)
    process.kill()
    process.wait()
    return {
        "files": count,
        "first_result_seconds": round(first_seconds or -1, 2),
        "first_result_cpu_seconds": first_cpu_seconds,
        "results": results,
        "peak_mb": round(peak_kb * 1024e-6, 1),
        "cpu_seconds": cpu_seconds,
    }


def _usage(process: int) -> tuple[int, float] | None:
    """Read peak memory in KiB and CPU seconds of a process; None if it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii").splitlines()
        fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    except OSError:
        return None
    peak = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    ticks = sum(map(int, fields[11:13]))
    return (peak[0], ticks / os.sysconf("SC_CLK_TCK")) if peak else None


@app.default
def main(
    *,
    part: Annotated[tuple[Part, ...], Parameter(negative="")] = (
        *("pdf", "photos", "paths", "shapes"),
    ),
    model: str = "dbnet-lines",
    num_threads: int = 0,
    pages: int = 500,
    num_photos: int = 40,
    files: int = 1_000_000,
    results: int = 200,
    json: Path | None = None,
) -> None:
    """Measure memory and time of documents and folders.

    Parameters
    ----------
    part
        What is measured; all by default.
    model
        Name of a model or path of a file.
    num_threads
        Number of threads that run the network; 0 uses one thread per core.
    pages
        Number of pages of the PDF.
    num_photos
        Number of photos.
    files
        Number of files in the folder.
    results
        Number of results after which the folder of many files has been measured.
    json
        File for the numbers.
    """
    options = ["--model", model, "--num-threads", str(num_threads)]
    report: dict[str, Any] = {"model": model, "num_threads": num_threads}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "pdf" in part:
            report["pdf"] = pdf(folder, options, pages)
        if "photos" in part:
            report["photos"] = photos(folder, options, model, num_threads, num_photos)
        if "paths" in part:
            report["paths"] = paths(folder, options, files, results)
    if "shapes" in part:
        report["shapes"] = [
            {"shapes": shapes, "live": live}
            | run(SHAPES, model, str(num_threads), str(live), str(shapes))
            for shapes, live in ((1, 2), (8, 8), (8, 2))
        ]
    print(json_module.dumps(report, indent=2))
    write_report(report, json)


if __name__ == "__main__":
    app()
