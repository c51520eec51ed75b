# SPDX-License-Identifier: Apache-2.0
"""Kernels under NVIDIA's compute-sanitizer, if it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

pytest.importorskip("torch")

SMALL_RUN = """
import numpy as np
from green import photo
from gpu.test_gpu import open_green
image = photo(96, 160, np.random.default_rng(0))
detector = open_green()
for _ in range(3):
    detector.detect(image, polygons=True)
"""


TOOLS = {
    # PyTorch makes calls that it expects to fail, so errors of API calls are not reported.
    "memcheck": ["--report-api-errors", "no"],
    "synccheck": [],
    # Threads read labels of a tile while others lower them by atomics; this is intended.
    "racecheck": ["--kernel-name-exclude", "kernel_substring=tile_kernel"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_compute_sanitizer(tool: str) -> None:
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("no compute-sanitizer")
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", *TOOLS[tool]]
    command += ["--kernel-name", "kernel_substring=dbnet", sys.executable, "-c", SMALL_RUN]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    if "Device not supported" in done.stdout:
        pytest.skip("compute-sanitizer does not run on this machine")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
