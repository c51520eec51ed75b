# SPDX-License-Identifier: Apache-2.0
"""Check that memory does not grow over thousands of detections with always new shapes.

    python benchmarks/memory.py [--detections N] [--engine MODEL] [--json FILE] [--plot FILE.png]

The exit code is 1 if the mean memory of the last quarter of the run is more than 5 % above that of
the third quarter, in RAM or on the GPU, and the run was long enough. The first half is for warming
up: the arena of ONNX Runtime reaches its full size only after some thousands of detections.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cyclopts import App
from dbnet_trt import CpuConfig, Detector, SizePolicy
from dbnet_trt.engines import DeviceEngine
from dbnet_trt.engines.cuda_driver import Device, load_driver
from dbnet_trt.settings import Backend
from figure import check_plot, draw_plot
from measure import machine, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_scene

app = App(help="Measure memory over many detections of varying shapes.")
NUM_PARTS = 20
MIN_TO_JUDGE = 1000
"""Minimum number of detections; in shorter runs growth may be warming up."""

MAX_GROWTH = 0.05
"""Maximum growth of the mean memory from the third quarter to the last, as a share."""


def resident_mb() -> float:
    """Measure the memory of this process in RAM, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def device_mb(device: Device) -> float:
    """Measure the used memory of a GPU in MB, by all processes; run nothing else on it."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    with device.current():
        if load_driver().cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
            raise SystemExit("the CUDA driver does not report its free memory")
    return (total.value - free.value) / 1e6


def probes(detector: Detector) -> dict[str, Callable[[], float]]:
    """List the measurements to take after each detection, in MB, by name."""
    read: dict[str, Callable[[], float]] = {"resident_mb": resident_mb}
    if isinstance(detector._engine, DeviceEngine):
        read["device_mb"] = partial(device_mb, Device())
        read["pipeline_mb"] = lambda: detector.gpu_usage.device_bytes / 1e6
    return read


def run(
    detector: Detector, detections: int, seconds: float, max_side: int, in_a_row: int = 1
) -> tuple[dict[str, NDArray[np.float64]], int, float]:
    """Detect text in crops of random shapes, each resized to a random size, some of one in a row.

    Returns:
        Values after each detection by name, the number of shapes in the network, and seconds.
    """
    rng = np.random.default_rng(0)
    scene = text_scene(1000, 1000, 12, rng)
    read = probes(detector)
    values: dict[str, list[float]] = {name: [] for name in read}
    shapes = set()
    start = time.perf_counter()
    for index in range(detections):
        if index % in_a_row == 0:
            height, width = rng.integers(40, 1000, 2).tolist()
            size = SizePolicy(int(rng.integers(1, max_side // 32 + 1)) * 32)
        detector.detect(scene[:height, :width], size=size)
        shapes.add(size.plan(height, width).padded)
        for name, value in values.items():
            value.append(read[name]())
        if time.perf_counter() - start > seconds:
            break
    took = time.perf_counter() - start
    return {name: np.array(value) for name, value in values.items()}, len(shapes), took


def growth(values: NDArray[np.float64]) -> float:
    """Compute the growth of the mean from the third quarter to the last, as a share."""
    before, after = np.array_split(values[len(values) // 2 :], 2)
    return float(after.mean() / max(before.mean(), 1.0) - 1)


def make_rows(values: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Compute mean and maximum of each quarter of the run."""
    count = len(values["resident_mb"])
    ends = np.unique(np.linspace(0, count, min(NUM_PARTS, count) + 1).astype(int))
    return [
        {
            "detections": int(end),
            **{name: round(float(each[begin:end].mean()), 1) for name, each in values.items()},
            "resident_mb_most": round(float(values["resident_mb"][begin:end].max()), 1),
        }
        for begin, end in itertools.pairwise(ends)
    ]


def draw(values: dict[str, NDArray[np.float64]], name: str, path: Path) -> None:
    """Draw memory over detections."""
    with draw_plot(path, f"{name}: ever new shapes", "detections", "MB") as axes:
        for label, each in values.items():
            axes.plot(np.arange(1, len(each) + 1), each, label=label.removesuffix("_mb"), lw=0.8)
        axes.set_ylim(bottom=0)


@app.default
def main(
    *,
    detections: int = 10_000,
    seconds: float = float("inf"),
    engine: str | None = None,
    backend: Backend = "auto",
    max_side: int = 192,
    in_a_row: int = 1,
    num_threads: int = 0,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure memory over many detections.

    Parameters
    ----------
    detections
        Number of detections.
    seconds
        Time limit in seconds; the run stops when it is reached.
    engine
        Name of a model or path of a file; by default the default model.
    backend
        Library that runs the network; OpenVINO is slower, as it compiles each new shape.
    max_side
        Maximum short side of images in the network, in pixels; the minimum is 32.
    in_a_row
        Number of detections of each shape before the next one, as of pages and videos.
    num_threads
        Number of threads that run the network on the CPU; 0 uses one thread per core.
    json
        File for the numbers.
    plot
        PNG file for a plot of memory over detections.
    """
    check_plot(plot)
    if detections < 4:
        raise SystemExit(f"detections must be 4 or more, got {detections}")
    detector = Detector(engine, cpu=CpuConfig(backend=backend, num_threads=num_threads))
    values, num_shapes, took = run(detector, detections, seconds, max_side, in_a_row)
    rows, count = make_rows(values), len(values["resident_mb"])
    console = Console()
    console.print(f"{detector!r}; {machine()['cpu']}", style="dim")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value)
                        for value in row.values()))  # fmt: skip
    console.print(table)
    grown = {name: round(growth(each), 4) for name, each in values.items()}
    for name, value in grown.items():
        console.print(f"{name}: {value:+.1%} from the third quarter to the last")
    console.print(f"{count} detections of {num_shapes} shapes in {took:.0f} s")
    report = {"model": repr(detector), "detections": count, "shapes": num_shapes, "growth": grown}
    write_report({**report, "rows": rows}, json)
    if plot is not None:
        draw(values, repr(detector), plot)
    if count >= MIN_TO_JUDGE and max(grown.values()) > MAX_GROWTH:
        sys.exit(1)


if __name__ == "__main__":
    app()
