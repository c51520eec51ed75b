# SPDX-License-Identifier: Apache-2.0
"""The compiled kernels execute what is recorded in benchmarks/results."""

from __future__ import annotations

import json

import pytest
from fakes.emulator import Emulator, LaunchCounts

from ptx.compiled import CompiledKernels
from ptx.counts import GPUS, RECORD, count_all, model_us

LIMIT = 0.05
UPDATE = "run `python tests/ptx/counts.py` and say in the commit why the counts have changed"


def changes(
    found: dict[str, list[LaunchCounts]], recorded: dict[str, dict[str, dict[str, int]]]
) -> list[str]:
    """List counts that differ from the recorded ones by more than the limit."""
    assert found.keys() == recorded.keys()
    lines = []
    for name, launches in found.items():
        assert [each.kernel for each in launches] == list(recorded[name])
        for launch in launches:
            for what, before in recorded[name][launch.kernel].items():
                now = getattr(launch, what)
                if abs(now - before) > LIMIT * before:
                    lines.append(f"{name}, {launch.kernel}: {what} {before} -> {now}")
    return lines


@pytest.mark.slow
def test_counts_are_those_that_are_recorded(
    emulator: Emulator, ptx_kernels: CompiledKernels
) -> None:
    if not RECORD.is_file():
        pytest.skip("no benchmarks/results beside the tests")
    emulator.use(ptx_kernels)
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))["counts"]
    assert changes(count_all(emulator), recorded) == [], UPDATE


def test_a_change_is_seen() -> None:
    launch = LaunchCounts("tile_kernel<half>", 1000, 100, 50, 5)
    counts = dict(list(launch._asdict().items())[1:])
    assert changes({"a": [launch]}, {"a": {launch.kernel: counts}}) == []
    assert changes({"a": [launch]}, {"a": {launch.kernel: {**counts, "instructions": 900}}}) == [
        "a, tile_kernel<half>: instructions 900 -> 1000"
    ]


def test_the_model_takes_the_longest_of_issue_block_and_memory() -> None:
    gpu = GPUS[2]  # H200
    of_issue = LaunchCounts("tile_kernel<half>", 132 * 24 * 1_900_000, 0, 1, 1)
    assert model_us(gpu, of_issue, 0) == pytest.approx(12_000 + 1.3)
    of_block = LaunchCounts("boxes_kernel<half>", 1, 1, 1900, 1900)
    assert model_us(gpu, of_block, 0) == pytest.approx(1.3 * 5 + 75 + 1.3)
    of_memory = LaunchCounts("tile_kernel<half>", 1, 1, 1, 1)
    assert model_us(gpu, of_memory, 4_800_000_000) == pytest.approx(1000 + 1.3)
