# SPDX-License-Identifier: Apache-2.0
"""Registers and memory of the kernels are those that are recorded in benchmarks/results."""

import json

import pytest

from ptx.ptxas import GPUS, RECORD, assign_resources, find_ptxas, read_report

REPORT = """\
ptxas info    : Compiling entry function '_ZN5dbnet1_11tile_kernelI6__halfEEvNS_E' for 'sm_90'
ptxas info    : Function properties for _ZN5dbnet1_11tile_kernelI6__halfEEvNS_E
    32 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 32 bytes cumulative stack size, 15976 bytes smem
ptxas info    : Compiling entry function '_ZN5dbnet1_13border_kernelENS_E' for 'sm_90'
ptxas info    : Function properties for _ZN5dbnet1_13border_kernelENS_E
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 0 barriers, 456 bytes cmem[0]
"""


def test_report_is_read() -> None:
    names = ("registers", "stack_bytes", "spill_bytes", "shared_bytes")
    assert read_report(REPORT) == {
        "tile_kernel<half>": dict(zip(names, (64, 32, 12, 15976), strict=True)),
        "border_kernel": dict(zip(names, (32, 0, 0, 0), strict=True)),
    }


@pytest.mark.parametrize("gpu", GPUS)
def test_resources_are_those_that_are_recorded(gpu: str) -> None:
    ptxas = find_ptxas()
    if ptxas is None or not RECORD.is_file():
        pytest.skip("no nvidia-cuda-nvcc-cu12, or no benchmarks/results beside the tests")
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["resources"][gpu]
    assert assign_resources(ptxas, gpu) == recorded, "run `python tests/ptx/ptxas.py`"
