# SPDX-License-Identifier: Apache-2.0
"""`dbnet bulk` on a million files for real, ended by kill -9 and resumed.

The files are hard links to small images. The images of each of the first parts are links to one of
their own, whose time of access tells whether a part was read again.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import tell
from pyarrow import dataset
from scenes import text_scene

PART = 256
"""Images per part, the default."""

WATCHED = 400
"""Number of parts at the front with an image of their own."""

MAX_LINKS = 60_000
"""Links per image; ext4 holds 65,000."""

LONG_AGO = 1


def link_files(folder: Path, count: int) -> list[Path]:
    """Make files in one folder, in the order of their names; returns the images of the parts."""
    (folder / "images").mkdir()
    (folder / "in").mkdir()
    image = cv2.imencode(".jpg", text_scene(96, 128, 1, np.random.default_rng(0)))[1].tobytes()
    images: list[Path] = []
    for index in range(count):
        part = index // PART
        number = part if part < WATCHED else WATCHED + (index - WATCHED * PART) // MAX_LINKS
        if number == len(images):
            images.append(folder / "images" / f"{number}.jpg")
            images[-1].write_bytes(image)
        os.link(images[number], folder / "in" / f"{index:07d}.jpg")
    return images[:WATCHED]


def forget_reads(images: list[Path]) -> None:
    """Set the times of access to long ago, so that the next one is noted (`relatime`)."""
    for image in images:
        os.utime(image, (LONG_AGO, image.stat().st_mtime))


def were_read(images: list[Path]) -> list[int]:
    """List the parts of which an image was read since."""
    return [number for number, image in enumerate(images) if image.stat().st_atime != LONG_AGO]


class Run:
    """A command `dbnet bulk`, its processes and what they take."""

    def __init__(self, inputs: Path, output: Path, model: str, *options: str) -> None:
        command = [sys.executable, "-m", "dbnet_trt", "bulk", str(inputs), str(output)]
        self._process = subprocess.Popen(
            [*command, "--model", model, "--short-side", "64", "--num-actors", "1", *options],
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._begun, self._output = time.monotonic(), output
        self._before = parts_of(output)

    def wait(self, num_parts: int, limit_s: float) -> dict[str, float]:
        """Wait for new parts; returns seconds to the first of them, and peaks of memory in MB."""
        first = planned = None
        plan = self._output / "_plan" / "sources.json"
        while len(new := parts_of(self._output) - self._before) < num_parts:
            now = time.monotonic() - self._begun
            if self._process.poll() is not None or now > limit_s:
                raise SystemExit(f"{len(new)} new parts after {now:.0f} s; the run has ended")
            first = first or (now if new else None)
            planned = planned or (now if plan.exists() else None)
            time.sleep(0.2)
        status = memory_of(self._process.pid)
        return {
            "planned_s": round(planned or 0.0, 1),  # 0 where the plan was there
            "first_part_s": round(first or time.monotonic() - self._begun, 1),
            "parts": len(new),
            "command_peak_mb": round(status["VmHWM"] * 1024e-6),
            "command_cpu_s": round(cpu_seconds(self._process.pid), 1),
        }

    def kill(self) -> None:
        """Kill the command by -9; Ray's processes see that it is gone and end themselves."""
        self._process.kill()
        self._process.wait()


def parts_of(output: Path) -> set[str]:
    """List the files of results."""
    return {path.name for path in output.glob("part-*.parquet")}


def memory_of(pid: int) -> dict[str, int]:
    """Read the memory of a process, in KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith("Vm")}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def million(folder: Path, model: str, count: int) -> dict[str, Any]:
    """Start on a list and on a folder, kill each run by -9, and resume it."""
    images = link_files(folder, count)
    listed = folder / "list.txt"
    listed.write_text("".join(f"{folder}/in/{index:07d}.jpg\n" for index in range(count)))
    tell(f"{count} files are there")
    rows: dict[str, Any] = {"files": count, "load": round(os.getloadavg()[0], 1)}
    for name, inputs in (("list", listed), ("folder", folder / "in")):
        output = folder / f"found-{name}"
        run = Run(inputs, output, model)
        rows[name] = {"start": run.wait(20, 1800)}
        run.kill()
        time.sleep(10)  # the actor ends with its job
        done = {int(path[-14:-8]) for path in parts_of(output)}
        forget_reads(images)
        run = Run(inputs, output, model, "--resume")
        rows[name]["resume"] = run.wait(10, 1800)
        run.kill()
        again = done & set(were_read(images))
        rows[name] |= {"done_before": len(done), "of_them_read_again": len(again)}
        rows[name] |= {"read_when_resumed": len(were_read(images)), **count_twice(output)}
        tell(f"{name}: {rows[name]}")
    rows["largest_child_mb"] = round(
        resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024e-6
    )
    return rows


def count_twice(output: Path) -> dict[str, int]:
    """Count the rows, and the paths that are there twice."""
    paths = dataset.dataset(output, format="parquet").to_table(["path"])["path"].to_pylist()
    return {"rows": len(paths), "twice": sum(n > 1 for n in Counter(paths).values())}
