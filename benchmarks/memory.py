# SPDX-License-Identifier: Apache-2.0
"""Does memory stay flat over thousands of detections of ever new shapes?

    python benchmarks/memory.py [--detections N] [--engine MODEL] [--json FILE]

Exits with 1 where the process grew by more than a tenth in the second half of the run, if that was
long enough to tell.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
from cyclopts import App
from dbnet_trt import Detector, SizePolicy
from measure import machine, write_report
from rich.console import Console
from scenes import text_scene

app = App(help="Memory over many detections of varying shapes.")
NUM_SAMPLES = 20
MIN_TO_JUDGE = 1000
"""Detections below which growth may be warming up."""


def resident_mb() -> float:
    """Memory of this process that lies in RAM, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@app.default
def main(
    *,
    detections: int = 10_000,
    engine: str | None = None,
    backend: Literal["auto", "openvino", "onnxruntime"] = "auto",
    json: Path | None = None,
) -> None:
    """Run it.

    Parameters
    ----------
    detections
        How many.
    engine
        Name of a model or path of a file; the default model if left out.
    backend
        What runs the network; OpenVINO compiles each new shape, which takes its time.
    json
        Write the numbers here.
    """
    rng = np.random.default_rng(0)
    detector = Detector(engine, backend=backend)
    scene = text_scene(1000, 1000, 12, rng)
    rows: list[dict[str, Any]] = []
    every = max(detections // NUM_SAMPLES, 1)
    start = time.perf_counter()
    for index in range(1, detections + 1):
        height, width = rng.integers(40, 1000, 2)
        size = SizePolicy(int(rng.integers(1, 7)) * 32)
        detector.detect(scene[:height, :width], size=size)
        if index % every == 0:
            rows.append({"detections": index, "resident_mb": round(resident_mb(), 1)})
    seconds = time.perf_counter() - start
    half, end = rows[len(rows) // 2]["resident_mb"], rows[-1]["resident_mb"]
    console = Console()
    console.print(machine()["cpu"], style="dim")
    for row in rows:
        console.print(f"{row['detections']:6d} detections  {row['resident_mb']:8.1f} MB")
    growth = end / half - 1
    console.print(f"{seconds:.0f} s; the second half grew by {growth:.1%}")
    write_report({"model": repr(detector), "growth": round(growth, 4), "rows": rows}, json)
    if detections >= MIN_TO_JUDGE and growth > 0.1:
        sys.exit(1)


if __name__ == "__main__":
    app()
