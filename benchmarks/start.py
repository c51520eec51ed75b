# SPDX-License-Identifier: Apache-2.0
"""Time from the start of a process to its first detection."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure import summary
from model_choice import ModelChoice
from rich.table import Table
from scenes import text_scene

STEPS = (
    "import numpy",
    "import dbnet_trt",
    "open the model",
    "first detection",
    "second detection",
)
STARTED = "process start to first text"

PROGRAM = """
import json, sys, time
times = [time.perf_counter()]
import numpy
times.append(time.perf_counter())
import dbnet_trt
times.append(time.perf_counter())
size = sys.argv[2] and dbnet_trt.SizePolicy(int(sys.argv[2]))
options = json.loads(sys.argv[3])
device, cpu = options.pop("device"), dbnet_trt.CpuConfig(**options)
detector = dbnet_trt.Detector(sys.argv[1] or None, size=size or None, device=device, cpu=cpu)
times.append(time.perf_counter())
num_texts = len(detector.detect(sys.argv[4]))
times.append(time.perf_counter())
found_at = time.time()
detector.detect(sys.argv[4])
times.append(time.perf_counter())
print(json.dumps([[b - a for a, b in zip(times, times[1:])], found_at, num_texts]))
"""


def start(model: ModelChoice, repeats: int) -> dict[str, Any]:
    """Measure the steps of new processes in ms: the first with an empty cache of compiled models,
    the others with the cache that it filled."""
    if model.is_untrained:
        raise SystemExit("--start needs a model that is a file or a name")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "photo.png"
        cv2.imwrite(str(image), text_scene(720, 1280, 7, np.random.default_rng(0)))
        runs = [_run_once(model, image, Path(folder)) for _ in range(max(2, repeats) + 1)]
    counts = {run.pop("texts") for run in runs}
    if len(counts) > 1 or counts == {0}:
        raise SystemExit(f"the processes found {counts} texts in one image")
    warm = {step: np.array([run[step] for run in runs[1:]]) for step in runs[0]}
    return {
        "texts": counts.pop(),
        "empty_cache_ms": {step: round(value, 1) for step, value in runs[0].items()},
        "warm_cache": {step: summary(values) for step, values in warm.items()},
    }


def _run_once(model: ModelChoice, image: Path, folder: Path) -> dict[str, Any]:
    options = {
        "device": model.device,
        "num_threads": model.threads,
        "precision": model.precision,
        "backend": model.backend,
    }
    size = "" if model.size is None else str(model.size)
    arguments = [model.engine or "", size, json.dumps(options), str(image)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder)}
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"a new process failed:\n{done.stderr}")
    seconds, found_at, num_texts = json.loads(done.stdout)
    times = {step: 1e3 * value for step, value in zip(STEPS, seconds, strict=True)}
    return {**times, STARTED: 1e3 * (found_at - started), "texts": num_texts}


def start_table(result: dict[str, Any]) -> Table:
    """Make the table: one row per step."""
    columns = ("empty cache, ms", "warm cache, median ms", "p99")
    table = Table("a new process", *columns, title="start")
    for step, cold in result["empty_cache_ms"].items():
        warm = result["warm_cache"][step]
        table.add_row(step, f"{cold:.0f}", f"{warm['p50_ms']:.0f}", f"{warm['p99_ms']:.0f}")
    return table
