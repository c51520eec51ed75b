# SPDX-License-Identifier: Apache-2.0
"""Kernels in PTX to C++ for the emulator: one statement per instruction."""

from __future__ import annotations

from collections.abc import Iterator

from ptx.instructions import is_weakenable, label, statement
from ptx.operands import REGISTER_TYPES, Operands, register
from ptx.syntax import Instruction, Item, Kernel, Label, Registers, Scope


def weakenable(modules: list[list[Kernel]]) -> list[tuple[Kernel, Instruction]]:
    """List the instructions that can be weakened, by their numbers."""
    return [
        (kernel, item)
        for kernels in modules
        for kernel in kernels
        for item in kernel.body
        if isinstance(item, Instruction) and is_weakenable(item)
    ]


def translate(modules: list[list[Kernel]]) -> list[str]:
    """Translate modules to C++: a source for each, and one with ptx_kernels() and ptx_weaken()."""
    sources: list[str] = []
    declarations: list[str] = []
    rows: list[str] = []
    number = 0
    for kernels in modules:
        functions: list[str] = []
        for kernel in kernels:
            operands, name = Operands(kernel), f"ptx_kernel_{len(rows)}"
            head = f"void {name}(const emulator::Parameter* parameters)"
            functions += [f"{head} {{", *kernel_lines(kernel, operands, number), "}"]
            declarations.append(f"{head};")
            limits = f"{operands.shared_bytes}, {kernel.max_threads}"
            rows.append(f'{{"{kernel.name}", {{&{name}, {limits}}}}},')
            number += sum(map(is_weakenable, kernel.body))
        sources.append(source_file(["using namespace ptx;", *functions]))
    table = ["static const emulator::CompiledKernels kernels{", *rows, "};"]
    table.append('extern "C" const void* ptx_kernels() { return &kernels; }')
    table.append('extern "C" void ptx_weaken(int number) { ptx::mutant = number; }')
    return [*sources, source_file([*declarations, *table])]


def source_file(lines: list[str]) -> str:
    return "\n".join(['#include "tests/emulator/ptx_thread.hpp"', *lines, ""])


def kernel_lines(kernel: Kernel, operands: Operands, number: int) -> Iterator[str]:
    """Translate the body of a kernel, whose weakenable instructions start from a number."""
    yield f"alignas(16) unsigned char local[{max(operands.local_bytes, 1)}];"
    yield "Thread thread(parameters, local, sizeof local);"
    starts_block = True
    for i, item in enumerate(kernel.body):
        match item:
            case Label(name):
                yield f"{label(name)}:;"
                starts_block = True
            case Scope(bracket):
                yield bracket
            case Registers():
                yield declaration(item)
            case Instruction():
                if starts_block:
                    yield count_block(kernel.body[i:])
                yield statement(item, operands, number)
                number += is_weakenable(item)
                starts_block = ends_block(item)


def declaration(registers: Registers) -> str:
    """Declare registers, poisoned."""
    kind, name = REGISTER_TYPES[registers.type], registers.name
    if registers.count is None:
        names = [register(name)]
    else:
        names = [register(f"{name}{i}") for i in range(registers.count)]
    return f"[[maybe_unused]] {kind} {', '.join(f'{each} = poison<{kind}>()' for each in names)};"


def ends_block(item: Item) -> bool:
    """Whether an item is the last of its basic block, or of an interval between barriers."""
    return isinstance(item, Instruction) and item.name in ("bra", "ret", "bar")


def count_block(items: tuple[Item, ...]) -> str:
    """Count the instructions of the basic block at the beginning of the items."""
    instructions = accesses = 0
    for item in items:
        if isinstance(item, Label):
            break
        if not isinstance(item, Instruction):
            continue
        instructions += 1
        accesses += is_global(item)
        if ends_block(item):
            break
    return f"thread.count({instructions}, {accesses});"


def is_global(instruction: Instruction) -> bool:
    """Whether an instruction reads or writes global memory; generic addresses are global here."""
    name, *qualifiers = instruction.opcode.split(".")
    return name in ("ld", "st", "atom") and not {"shared", "local", "param"} & set(qualifiers)
