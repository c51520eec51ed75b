# SPDX-License-Identifier: Apache-2.0
"""Kernels whose barriers, fences, volatile accesses or atomics are weakened are found faulty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.emulator import ROOT, Emulator

from ptx.compiled import CompiledKernels
from ptx.mutants import KERNELS, in_child, make_work, what_is_found
from ptx.nvrtc import compile_kernels
from ptx.syntax import Instruction, Kernel, read_kernels
from ptx.translate import weakenable

TABLE = ROOT / "benchmarks" / "results" / "emulator" / "mutants.md"
MUTANTS = [  # one of each kind; `python tests/ptx/mutants.py` tries all
    ("boxes_kernel<float>", "bar.sync", 0),
    ("boxes_kernel<float>", "atom.global.add.u32", 1),
    ("scores_kernel<float>", "atom.global.add.u64", 0),
    ("ranking_kernel", "bar.sync", 0),
    ("boxes_kernel<half>", "bar.sync", 4),
    ("tile_kernel<float>", "bar.red.or.pred", 0),
    ("tile_kernel<half>", "bar.sync", 0),
    ("tile_kernel<float>", "ld.volatile.shared.u32", 0),
    ("tile_kernel<float>", "atom.shared.or.b32", 0),
    ("border_kernel", "ld.volatile.global.u32", 0),
    ("resolve_kernel", "atom.global.max.s32", 0),
]


@pytest.fixture(scope="module")
def instructions() -> list[tuple[Kernel, Instruction]]:
    """The weakenable instructions, by their numbers."""
    texts = compile_kernels("compute_75").values()
    return weakenable([read_kernels(text) for text in texts])


@pytest.fixture(scope="module")
def numbers(
    instructions: list[tuple[Kernel, Instruction]],
) -> dict[tuple[str, str], list[int]]:
    """Numbers of the weakenable instructions, by kernel and opcode."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, (kernel, instruction) in enumerate(instructions):
        found.setdefault((kernel.name, instruction.opcode), []).append(number)
    return found


@pytest.fixture
def kernels(emulator: Emulator, ptx_kernels: CompiledKernels) -> Iterator[CompiledKernels]:
    emulator.use(ptx_kernels)
    yield ptx_kernels
    ptx_kernels.weaken()


def find(emulator: Emulator, kernels: CompiledKernels, kernel: str, number: int) -> str:
    work = make_work(emulator, kernel)
    expected = [run() for run in work]
    kernels.weaken(number)
    return in_child(lambda: what_is_found(emulator, work, expected, seeds=3))


@pytest.mark.parametrize(("kernel", "opcode", "index"), MUTANTS)
def test_mutants_are_found(
    emulator: Emulator,
    kernels: CompiledKernels,
    numbers: dict[tuple[str, str], list[int]],
    kernel: str,
    opcode: str,
    index: int,
) -> None:
    number = numbers[kernel, opcode][index]
    assert find(emulator, kernels, kernel, number) != ""


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_as_they_are_have_no_fault(
    emulator: Emulator, kernels: CompiledKernels, kernel: str
) -> None:
    assert find(emulator, kernels, kernel, -1) == ""


@pytest.mark.parametrize("name", ["tile_kernel", "boxes_kernel", "scores_kernel"])
def test_maps_of_half_are_worked_on_in_the_order_of_maps_of_float(
    instructions: list[tuple[Kernel, Instruction]], name: str
) -> None:
    """The same instructions of the same lines order the threads."""
    order: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for kernel, instruction in instructions:
        order.setdefault(kernel.name, []).append((instruction.opcode, instruction.places))
    assert len(order[f"{name}<half>"]) > 5
    assert order[f"{name}<half>"] == order[f"{name}<float>"]


def test_what_is_not_found_has_a_reason() -> None:
    if not TABLE.is_file():
        pytest.skip("no benchmarks/results beside the tests")
    text = TABLE.read_text(encoding="utf-8")
    assert "no reason is known" not in text
    assert text.count("\n| ") > 100
