# SPDX-License-Identifier: Apache-2.0
"""Operands of PTX in C++: registers, immediates, and where variables lie in memory."""

from __future__ import annotations

import re

from ptx.syntax import Instruction, Kernel, PtxError, Variable

REGISTER_TYPES = {"pred": "pred", "f32": "f32", "f64": "f64"}
REGISTER_TYPES |= {f"{kind}{bits}": f"u{bits}" for kind in "bus" for bits in (16, 32, 64)}
TYPES = {**REGISTER_TYPES, "b8": "u8", "u8": "u8", "s8": "s8", "f16": "f16"}
TYPES |= {f"s{bits}": f"s{bits}" for bits in (16, 32, 64)}
INDICES = {"%tid": "threadIdx", "%ctaid": "blockIdx", "%ntid": "blockDim", "%nctaid": "gridDim"}


def register(name: str) -> str:
    """Name in C++: "r1_" of "%r1"."""
    return f"{name[1:]}_"


def parts(vector: str) -> list[str]:
    """Operands in braces, or the one without: "%r1", "%r2" of "{%r1, %r2}"."""
    return [each.strip() for each in vector.strip("{}").split(",")]


class Operands:
    """Operands of one kernel.

    Attributes:
        shared_bytes: Size of the kernel's shared memory.
        local_bytes: Size of a thread's local memory.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._shared: dict[str, int] = {}  # offsets
        self._local = ""
        self.shared_bytes = self.local_bytes = 0
        instructions = [item for item in kernel.body if isinstance(item, Instruction)]
        text = " ".join(operand for each in instructions for operand in each.operands)
        used = set(re.findall(r"[\w$]+", text))
        declared = [item for item in kernel.body if isinstance(item, Variable)]
        for variable in (*kernel.module_variables, *declared):
            if variable.name in used:
                self._place(variable)

    def _place(self, variable: Variable) -> None:
        if variable.space == "shared":
            offset = -(-self.shared_bytes // variable.align) * variable.align
            self._shared[variable.name] = offset
            self.shared_bytes = offset + variable.size
        elif self._local:
            raise PtxError(f"{self._kernel.name} has two variables in local memory")
        else:
            self._local, self.local_bytes = variable.name, variable.size

    def value(self, text: str) -> str:
        """An operand that is read."""
        index, _, axis = text.partition(".")
        if index in INDICES:
            return f"In{{{INDICES[index]}.{axis}}}"
        if text.startswith("%"):
            return "In{threadIdx.x % 32}" if text == "%laneid" else f"In{{{register(text)}}}"
        return self.constant(text)

    def constant(self, text: str) -> str:
        """A number, or the address of a variable."""
        if found := re.fullmatch(r"0[fF]([0-9a-fA-F]{8})", text):
            return f"In{{std::bit_cast<f32>(u32{{0x{found[1]}u}})}}"
        if found := re.fullmatch(r"0[dD]([0-9a-fA-F]{16})", text):
            return f"In{{std::bit_cast<f64>(u64{{0x{found[1]}ull}})}}"
        is_number = re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)", text)
        number = f"{int(text, 0)}ull" if is_number else self.symbol(text)
        return f"Immediate{{static_cast<s64>({number})}}"

    def symbol(self, name: str) -> str:
        """Address of a variable or parameter."""
        if name in self._shared:
            return str(self._shared[name])
        if name == self._local:
            return "thread.local()"
        for i, parameter in enumerate(self._kernel.parameters):
            if name == parameter.name:
                return f"thread.parameter({i})"
        raise PtxError(f"{self._kernel.name}: what is {name}?")

    def address(self, text: str) -> str:
        """Address from "[%rd1+8]"."""
        found = re.fullmatch(r"\[([%\w$]+)(?:\+(-?\w+))?\]", text)
        if found is None:
            raise PtxError(f"{self._kernel.name}: expected an address, got {text}")
        base = register(found[1]) if found[1].startswith("%") else self.symbol(found[1])
        return f"static_cast<u64>({base} + {int(found[2] or '0', 0)})"
