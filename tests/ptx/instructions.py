# SPDX-License-Identifier: Apache-2.0
"""Instructions of PTX in C++: each calls its meaning in tests/emulator/ptx_opcodes.hpp, or in
ptx_thread.hpp if it touches more than registers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from ptx.operands import TYPES, Operands, parts, register
from ptx.syntax import Instruction, Item, PtxError

SPACES = {"global": "kGlobal", "shared": "kShared", "local": "kLocal", "param": "kParam"}

# Instructions that only compute, with their qualifiers: op_NAME in ptx_opcodes.hpp.
PURE = {
    *("add", "sub", "mul_lo", "mad_lo", "mul_wide", "div", "rem", "neg", "abs", "min", "max"),
    *("and", "or", "xor", "not", "shl", "shr", "clz", "popc", "brev", "bfind_shiftamt", "bfi"),
    *("prmt", "dp2a_lo", "mov", "selp", "add_rn", "sub_rn", "mul_rn", "div_rn", "rcp_rn"),
    *("sqrt_rn", "fma_rn", "fma_rm", "ex2_approx_ftz", "cvt", "cvt_rn", "cvt_rzi", "cvt_rmi"),
    *("cvt_rpi", "cvt_sat", "cvta_global", "cvta_to_global", "cvta_local", "cvta_to_local"),
    *("setp_eq", "setp_ne", "setp_lt", "setp_le", "setp_gt", "setp_ge"),
    *("setp_neu", "setp_leu", "setp_ltu", "setp_geu", "setp_gtu"),
}


def function_name(instruction: Instruction) -> str:
    """Name and qualifiers, without types: "mul_wide" of mul.wide.u32."""
    return "_".join(part for part in instruction.opcode.split(".") if part not in TYPES)


def is_weakenable(item: Item) -> bool:
    """Whether an item orders something between threads, and can be weakened to test the tests."""
    if not isinstance(item, Instruction):
        return False
    if item.opcode == "bar.warp.sync":
        return False
    return item.name in ("bar", "membar", "atom") or ".volatile" in item.opcode


def statement(instruction: Instruction, operands: Operands, number: int) -> str:
    """An instruction as a statement in C++. If it is weakenable, this is its number."""
    if instruction.guard:
        sign, name = "!" * instruction.guard.startswith("!"), instruction.guard.removeprefix("!")
        unguarded = dataclasses.replace(instruction, guard="")
        return f"if ({sign}{register(name)}) {{ {statement(unguarded, operands, number)} }}"
    if instruction.name in EFFECTS:
        return EFFECTS[instruction.name](instruction, operands, number)
    if any("{" in each for each in instruction.operands):
        return move_halves(instruction, operands)
    target, *sources = instruction.operands
    name, values = function_name(instruction), ", ".join(map(operands.value, sources))
    if name in ("cvta_shared", "cvta_to_shared"):
        return f"put({register(target)}, thread.op_{name}({values}));"
    if name not in PURE:
        raise unknown(instruction)
    types = ", ".join(TYPES[part] for part in instruction.opcode.split(".") if part in TYPES)
    return f"put({register(target)}, op_{name}<{types}>({values}));"


def unknown(instruction: Instruction) -> PtxError:
    return PtxError(
        f"{instruction}: no meaning is known; write op_{function_name(instruction)} in "
        "tests/emulator/ptx_opcodes.hpp, its case in tests/ptx/test_opcodes.py, and add it to PURE "
        "in tests/ptx/instructions.py"
    )


def branch(instruction: Instruction, _operands: Operands, _number: int) -> str:
    return f"goto {label(instruction.operands[0])};"


def label(name: str) -> str:
    return name.replace("$", "L_")


def end_thread(_instruction: Instruction, _operands: Operands, _number: int) -> str:
    return "return;"


def synchronize(instruction: Instruction, operands: Operands, number: int) -> str:
    """A barrier, fence or vote."""
    name = function_name(instruction)
    if name not in ("bar_sync", "bar_red_or", "bar_warp_sync", "membar_gl", "vote_sync_ballot"):
        raise unknown(instruction)
    has_result = name in ("bar_red_or", "vote_sync_ballot")
    values = [operands.value(each) for each in instruction.operands[has_result:]]
    if is_weakenable(instruction):
        values.append(str(number))
    call = f"thread.op_{name}({', '.join(values)})"
    return f"put({register(instruction.operands[0])}, {call});" if has_result else f"{call};"


def access(instruction: Instruction, operands: Operands, number: int) -> str:
    """A load or store."""
    name, *qualifiers, kind = instruction.opcode.split(".")
    if not {"volatile", "v2", "v4", *SPACES}.issuperset(qualifiers) or kind not in TYPES:
        raise PtxError(f"{instruction}: this kind of access is not known")
    order = "kVolatile" if "volatile" in qualifiers else "kPlain"
    space = next((SPACES[each] for each in qualifiers if each in SPACES), "kGeneric")
    values, place = instruction.operands if name == "ld" else reversed(instruction.operands)
    names, address = parts(values), operands.address(place)
    what = f"Space::{space}, Order::{order}, {TYPES[kind]}, {len(names)}"
    end = f", {number}" if order == "kVolatile" else ""
    if name == "ld":
        puts = " ".join(f"put({register(each)}, v[{i}]);" for i, each in enumerate(names))
        return f"{{ const auto v = thread.load<{what}>({address}{end}); {puts} }}"
    read = ", ".join(map(operands.value, names))
    return f"thread.store<{what}>({address}, {{{read}}}{end});"


def atomic(instruction: Instruction, operands: Operands, number: int) -> str:
    _, space, operation, kind = instruction.opcode.split(".")
    if space not in ("global", "shared") or operation not in ("add", "min", "max", "or"):
        raise PtxError(f"{instruction}: this kind of atomic is not known")
    result, place, value = instruction.operands
    call = f"thread.op_atom_{operation}<Space::{SPACES[space]}, {TYPES[kind]}>"
    code = f"{call}({operands.address(place)}, {operands.value(value)}, {number})"
    return f"{code};" if result == "_" else f"put({register(result)}, {code});"


def shuffle(instruction: Instruction, operands: Operands, _number: int) -> str:
    _, sync, mode, kind = instruction.opcode.split(".")
    if sync != "sync" or mode not in ("up", "down", "bfly", "idx"):
        raise PtxError(f"{instruction}: this kind of shuffle is not known")
    target, *sources = instruction.operands
    value, _, inside = target.partition("|")
    call = f"thread.op_shfl_sync<'{mode[0]}', {TYPES[kind]}>"
    code = f"const auto s = {call}({', '.join(map(operands.value, sources))});"
    code += f" put({register(value)}, s.value);"
    if inside:
        code += f" put({register(inside)}, s.inside);"
    return f"{{ {code} }}"


def move_halves(instruction: Instruction, operands: Operands) -> str:
    """Split a register into two, or join two: mov.b64 {%r1, %r2}, %rd1."""
    halves = {"mov.b32": ("u32", "u16", 16), "mov.b64": ("u64", "u32", 32)}
    if instruction.opcode not in halves:
        raise PtxError(f"{instruction}: only mov joins and splits registers")
    whole, half, bits = halves[instruction.opcode]
    target, source = instruction.operands
    if target.startswith("{"):
        low, high = map(register, parts(target))
        code = f"const {whole} v = {operands.value(source)}; put({low}, static_cast<{half}>(v));"
        return f"{{ {code} put({high}, static_cast<{half}>(v >> {bits})); }}"
    low, high = map(operands.value, parts(source))
    code = f"const {half} low = {low}, high = {high};"
    joined = f"static_cast<{whole}>(static_cast<{whole}>(high) << {bits} | low)"
    return f"{{ {code} put({register(target)}, {joined}); }}"


EFFECTS: dict[str, Callable[[Instruction, Operands, int], str]] = {
    "bra": branch,
    "ret": end_thread,
    "bar": synchronize,
    "membar": synchronize,
    "vote": synchronize,
    "ld": access,
    "st": access,
    "atom": atomic,
    "shfl": shuffle,
}
"""Instructions that touch more than registers, or jump."""
