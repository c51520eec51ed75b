# SPDX-License-Identifier: Apache-2.0
"""Timing of functions, and description of the machine, for all benchmarks."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGES = (
    *("dbnet-trt", "numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "openvino"),
    *("rapidocr", "onnxtr", "torch", "tensorrt"),
)
VECTOR_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
WARM_UPS = 3
SLOW_SECONDS = 8.0
"""Time limit for all rounds of the slowest function, in seconds; see `affordable`."""


def interleaved(
    functions: dict[str, Callable[[], object]],
    repeats: int,
    before: Callable[[], object] = lambda: None,
    warm_ups: int = WARM_UPS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, NDArray[np.float64]]:
    """Time functions in turn, so that a busy moment of the machine affects all of them.

    Args:
        functions: Functions by name; each is called `warm_ups` times, then `repeats` times.
        repeats: Number of timed rounds.
        before: Function called before each timed call; it is not timed.
        warm_ups: Number of rounds before the timed ones.
        clock: Clock in seconds: wall time, or `time.process_time` for CPU time.

    Returns:
        Times in ms, (repeats,) float64, by name.
    """
    for function in list(functions.values()) * warm_ups:
        before()
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            before()
            start = clock()
            function()
            times[name].append((clock() - start) * 1e3)
    return {name: np.array(values) for name, values in times.items()}


def affordable(function: Callable[[], object], repeats: int, seconds: float = SLOW_SECONDS) -> int:
    """Choose the number of rounds from the time of the slowest `function`: `repeats`, or if these
    take longer than some seconds, fewer, but at least 3."""
    function()
    start = time.perf_counter()
    function()
    fitting = int(seconds / (time.perf_counter() - start))
    return min(repeats, max(3, fitting))


def tell(what: str) -> None:
    """Print what is being timed, if it takes minutes."""
    print(what, file=sys.stderr, flush=True)


def summary(times_ms: NDArray[np.float64]) -> dict[str, float]:
    """Summarise times by their median and 99th percentile, in ms."""
    return {
        "p50_ms": round(float(np.median(times_ms)), 3),
        "p99_ms": round(float(np.percentile(times_ms, 99)), 3),
    }


def geometric_mean(values: list[float]) -> float:
    """Compute the geometric mean of ratios."""
    return float(np.exp(np.mean(np.log(values))))


def machine() -> dict[str, Any]:
    """Describe the machine: CPU, cores, system and versions of libraries."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def machine_line() -> str:
    """Describe the machine in one line."""
    about = machine()
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return f"{about['cpu']}, {about['cores']} cores; Python {about['python']}, {versions}"


def _cpu_name() -> str:
    """Return the name of the CPU and its vector instructions."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    lines = info.read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    named = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(named.get("flags", "").split())
    wide = [flag for flag in VECTOR_FLAGS if flag in flags]
    return f"{named.get('model name', platform.machine())} ({', '.join(wide) or 'no AVX2'})"


def write_report(report: dict[str, Any], path: Path | None) -> None:
    """Write a report as JSON with machine and command, if a path is given."""
    if path is None:
        return
    given = [re.sub(r"[^:=]*/", "", word) for word in sys.argv[1:]]  # no local folders
    command = f"python benchmarks/{Path(sys.argv[0]).name} {' '.join(given)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    full = {"command": command, "machine": machine(), **report}
    path.write_text(json.dumps(full, indent=2) + "\n", encoding="utf-8")
