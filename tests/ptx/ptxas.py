# SPDX-License-Identifier: Apache-2.0
"""Registers, stack, spills and shared memory of each kernel, as NVIDIA's assembler assigns them.

    pip install nvidia-cuda-nvcc-cu12==12.9.86
    python tests/ptx/ptxas.py

No GPU is needed. The result is written to benchmarks/results/emulator/resources.json.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from ptx.nvrtc import ROOT, compile_kernels
from ptx.syntax import short_name

RECORD = ROOT / "benchmarks" / "results" / "emulator" / "resources.json"
PACKAGE = "nvidia-cuda-nvcc-cu12"
GPUS = ("sm_61", "sm_75", "sm_86", "sm_89", "sm_90", "sm_120")

Resources = dict[str, dict[str, int]]  # by kernel


def find_ptxas() -> Path | None:
    """Find the assembler of the wheel, if it is installed."""
    try:
        return Path(str(metadata.distribution(PACKAGE).locate_file("nvidia/cuda_nvcc/bin/ptxas")))
    except metadata.PackageNotFoundError:
        return None


def read_report(report: str) -> Resources:
    """Read what `ptxas -v` says."""
    resources = {}
    pattern = (
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)"
    )
    for symbol, stack, stores, loads, registers, rest in re.findall(pattern, report, re.S):
        shared = re.search(r"(\d+) bytes smem", rest)
        resources[short_name(symbol)] = {
            "registers": int(registers),
            "stack_bytes": int(stack),
            "spill_bytes": int(stores) + int(loads),
            "shared_bytes": int(shared[1]) if shared else 0,
        }
    return resources


def assign_resources(ptxas: Path, gpu: str) -> Resources:
    """Assemble all kernels for a GPU."""
    architecture = "compute_61" if gpu == "sm_61" else "compute_75"
    resources: Resources = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in compile_kernels(architecture).items():
            source = Path(folder) / f"{name}.ptx"
            source.write_text(text)
            command = [str(ptxas), "-v", f"--gpu-name={gpu}", str(source), "-o", f"{source}.cubin"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            resources |= read_report(done.stderr)
    return resources


def main() -> None:
    ptxas = find_ptxas()
    if ptxas is None:
        raise SystemExit(f"no ptxas; pip install {PACKAGE}==12.9.86")
    result = {
        "command": "python tests/ptx/ptxas.py",
        "compiler": f"NVRTC 12.9.86, ptxas {metadata.version(PACKAGE)}",
        "resources": {gpu: assign_resources(ptxas, gpu) for gpu in GPUS},
    }
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
