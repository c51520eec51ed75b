# SPDX-License-Identifier: Apache-2.0
"""PTX read into kernels, declarations and instructions: grammar of the PTX ISA, as far as NVRTC
uses it. What is not understood is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

SIZES = {"b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "b32": 4, "u32": 4}
SIZES |= {"s32": 4, "f32": 4, "b64": 8, "u64": 8, "s64": 8, "f64": 8}


class PtxError(ValueError):
    """PTX that is not understood."""


@dataclass(frozen=True)
class Instruction:
    """An instruction, as in "@!%p1 add.s32 %r1, %r2, 5"."""

    guard: str  # "", "%p1" or "!%p1"
    opcode: str  # "add.s32"
    operands: tuple[str, ...]  # "%r1", "%r2", "5"; "{%r1, %r2}" and "[%rd1+8]" are one each
    places: tuple[str, ...]  # in the source, as in "boxes.cu:111", and the call that was inlined

    @property
    def name(self) -> str:
        return self.opcode.partition(".")[0]

    def __str__(self) -> str:
        guard = f"@{self.guard} " if self.guard else ""
        return f"{guard}{self.opcode} {', '.join(self.operands)}".rstrip()


@dataclass(frozen=True)
class Label:
    name: str


@dataclass(frozen=True)
class Registers:
    """Registers of a type: `name`, or `name`0 to `name`{count - 1}."""

    type: str
    name: str
    count: int | None


@dataclass(frozen=True)
class Variable:
    """A place in shared, local or parameter memory."""

    space: str
    name: str
    align: int
    size: int


@dataclass(frozen=True)
class Scope:
    """Begin or end of a block, whose registers are its own."""

    bracket: str


Item = Instruction | Label | Registers | Variable | Scope


@dataclass(frozen=True)
class Kernel:
    name: str  # as in "tile_kernel<half>"
    parameters: tuple[Variable, ...]
    max_threads: int  # its launch bounds; 0: none
    body: tuple[Item, ...]
    module_variables: tuple[Variable, ...]  # shared memory that the module declares


def read_kernels(text: str) -> list[Kernel]:
    """Read the kernels of a module."""
    text = re.sub(r"/\*.*?\*/", " ", re.sub(r"//[^\n]*", "", text), flags=re.S)
    text = re.sub(r"(\.loc\b[^\n]*)\n", r"\1;\n", text)  # the one statement that a line ends
    files = dict(re.findall(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', text, re.M))
    entries = list(re.finditer(r"\.entry\s+([\w$]+)\s*\((.*?)\)([^{]*)\{", text, re.S))
    before = text[: entries[0].start()] if entries else text
    shared = [read_variable(each) for each in re.findall(r"\.shared[^;]*", before)]
    kernels = []
    for entry in entries:
        parameters = [read_variable(each) for each in entry[2].split(",") if each.strip()]
        body = tuple(read_body(block_from(text, entry.end()), files))
        kernel = Kernel(
            short_name(entry[1]), tuple(parameters), max_threads(entry[3]), body, tuple(shared)
        )
        kernels.append(kernel)
    return kernels


def short_name(mangled: str) -> str:
    """Name of a kernel from its symbol: "tile_kernel<half>" of ..11tile_kernelI6__halfE.."""
    found = re.search(r"\d([a-z]+_kernel)(I6__halfE|IfE)?E", mangled)
    if found is None:
        return mangled
    return found[1] + {"I6__halfE": "<half>", "IfE": "<float>", None: ""}[found[2]]


def max_threads(directives: str) -> int:
    """Number of threads that .maxntid or .reqntid allows, 0 without them."""
    found = re.search(r"\.(?:maxntid|reqntid)\s+([\d,\s]+)", directives)
    if found is None:
        return 0
    product = 1
    for number in found[1].split(","):
        product *= int(number)
    return product


def block_from(text: str, start: int) -> str:
    """Text up to the brace that closes the block."""
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start:position]
    raise PtxError("a kernel has no end")


def read_variable(text: str) -> Variable:
    pattern = r"\.(shared|local|param)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+([\w$]+)(?:\[(\d+)\])?$"
    found = re.match(pattern, text.strip())
    if found is None or found[3] not in SIZES:
        raise PtxError(f"expected the declaration of a variable, got: {text.strip()}")
    space, align, kind, name, count = found.groups()
    return Variable(space, name, int(align or SIZES[kind]), SIZES[kind] * int(count or 1))


@dataclass
class BodyReader:
    """Reader of a kernel's statements, which keeps the current place in the source."""

    files: dict[str, str]
    places: tuple[str, ...] = ()

    def read(self, statement: str) -> Iterator[Item]:
        while found := re.match(r"(?:([\w$]+):|([{}]))\s*", statement):
            yield Label(found[1]) if found[1] else Scope(found[2])
            statement = statement[found.end() :]
        if statement.startswith(".loc "):
            pairs = re.findall(r"(?:\.loc|inlined_at) (\d+) (\d+)", statement)
            self.places = tuple(
                f"{self.files[number].rpartition('/')[2]}:{line}" for number, line in pairs
            )
        elif statement.startswith(".reg"):
            yield read_registers(statement)
        elif statement.startswith((".shared", ".local")):
            yield read_variable(statement)
        elif statement and not statement.startswith(".pragma"):
            yield read_instruction(statement, self.places)


def read_body(text: str, files: dict[str, str]) -> Iterator[Item]:
    reader = BodyReader(files)
    for statement in text.split(";"):
        yield from reader.read(" ".join(statement.split()))


def read_registers(statement: str) -> Registers:
    found = re.match(r"\.reg \.(\w+) (%\w+)(?:<(\d+)>)?$", statement)
    if found is None:
        raise PtxError(f"expected the declaration of registers, got: {statement}")
    return Registers(found[1], found[2], int(found[3]) if found[3] else None)


def read_instruction(statement: str, places: tuple[str, ...] = ()) -> Instruction:
    found = re.match(r"(?:@(!?%\w+) )?([a-z][\w.]*)(?: (.*))?$", statement)
    if found is None:
        raise PtxError(f"expected an instruction, got: {statement}")
    operands = re.split(r",\s*(?![^{]*\})", found[3]) if found[3] else []
    return Instruction(found[1] or "", found[2], tuple(each.strip() for each in operands), places)
