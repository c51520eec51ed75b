# SPDX-License-Identifier: Apache-2.0
"""Each instruction that only computes gives what the PTX ISA says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from fakes.emulator import Emulator

from ptx.compiled import CompiledKernels, compile_ptx
from ptx.instructions import PURE, function_name
from ptx.syntax import Instruction

NAN, INF = math.nan, math.inf
LOW = -(2**31)
ONES = 0xFFFFFFFF

# Type of the result, instruction, types of the operands (or an immediate), values, result.
CASES = [
    ("s32 add.s32 s32 s32", (2**31 - 1, 1), LOW),
    ("u64 add.s64 u64 -16", (8,), 2**64 - 8),
    ("s16 add.s16 s16 s16", (-3, 5), 2),
    ("s32 sub.s32 s32 s32", (LOW, 1), 2**31 - 1),
    ("s32 mul.lo.s32 s32 s32", (65537, -65536), -65536),
    ("s32 mad.lo.s32 s32 s32 s32", (-3, 7, 5), -16),
    ("s64 mul.wide.s32 s32 s32", (LOW, 2), -(2**32)),
    ("u64 mul.wide.u32 u32 u32", (ONES, 2), 0x1FFFFFFFE),
    ("u32 mul.wide.u16 u16 u16", (65535, 65535), 65535**2),
    ("s32 div.s32 s32 s32", (-7, 2), -3),
    ("s32 div.s32 s32 s32", (LOW, -1), LOW),
    ("s64 div.s64 s64 s64", (-(2**40), 3), -(2**40 // 3)),
    ("u32 div.u32 u32 u32", (ONES, 2), 2**31 - 1),
    ("s32 rem.s32 s32 s32", (-7, 2), -1),
    ("u64 neg.s64 u64", (1,), 2**64 - 1),
    ("f32 neg.f32 f32", (2.5,), -2.5),
    ("s32 abs.s32 s32", (-5,), 5),
    ("s32 abs.s32 s32", (LOW,), LOW),
    ("s32 min.s32 s32 s32", (-1, 1), -1),
    ("u32 min.u32 u32 u32", (ONES, 1), 1),
    ("f32 min.f32 f32 f32", (NAN, 2), 2),
    ("s32 max.s32 s32 s32", (-1, 1), 1),
    ("u32 max.u32 u32 u32", (ONES, 1), ONES),
    ("f32 max.f32 f32 f32", (-2, NAN), -2),
    ("u32 and.b32 u32 -32", (37,), 32),
    ("pred and.pred pred pred", (1, 0), 0),
    ("u64 or.b64 u64 u64", (2**40, 1), 2**40 + 1),
    ("pred or.pred pred pred", (1, 0), 1),
    ("pred xor.pred pred pred", (1, 1), 0),
    ("u64 not.b64 u64", (1,), 2**64 - 2),
    ("pred not.pred pred", (1,), 0),
    ("u32 shl.b32 u32 u32", (3, 31), 2**31),
    ("u32 shl.b32 u32 u32", (3, 32), 0),
    ("u64 shl.b64 u64 u32", (1, 63), 2**63),
    ("s32 shr.s32 s32 u32", (-8, 1), -4),
    ("s32 shr.s32 s32 u32", (-8, 40), -1),
    ("u32 shr.u32 u32 u32", (ONES, 32), 0),
    ("u32 clz.b64 u64", (1,), 63),
    ("u32 clz.b64 u64", (0,), 64),
    ("u32 popc.b32 u32", (ONES,), 32),
    ("u32 popc.b64 u64", (2**63 + 1,), 2),
    ("u32 brev.b32 u32", (0x0000000B,), 0xD0000000),
    ("u32 bfind.shiftamt.u32 u32", (0x00010000,), 15),
    ("u32 bfind.shiftamt.u32 u32", (0,), ONES),
    ("u64 bfi.b64 u64 u64 32 32", (7, 0x1_0000_0005), 0x7_0000_0005),
    ("u32 bfi.b32 u32 u32 4 8", (0xFFF, 0), 0xFF0),
    ("u32 prmt.b32 u32 u32 u32", (0x33221100, 0x77665544, 0x7604), 0x77660044),
    ("u32 prmt.b32 u32 u32 u32", (0x00008000, 0, 0x0009), 0x000000FF),
    ("s32 dp2a.lo.s32.u32 u32 u32 s32", (0xFFFE0003, 0x0000_05FF, 10), 10 + 3 * 255 - 2 * 5),
    ("f32 mov.f32 0fBF800000", (), -1),
    ("f64 mov.f64 0d4000000000000000", (), 2),
    ("u32 mov.u32 -1", (), ONES),
    ("u32 selp.b32 u32 u32 pred", (4, 5, 1), 4),
    ("u32 selp.b32 u32 u32 pred", (4, 5, 0), 5),
    ("f32 add.rn.f32 f32 f32", (2**24, 1), 2**24),
    ("f32 sub.rn.f32 f32 f32", (1, 3), -2),
    ("f32 mul.rn.f32 f32 f32", (1 + 2**-12, 1 + 2**-12), 1 + 2**-11),
    ("f64 mul.rn.f64 f64 f64", (1 + 2**-12, 1 + 2**-12), 1 + 2**-11 + 2**-24),
    ("f32 div.rn.f32 f32 f32", (1, 0), INF),
    ("f64 div.rn.f64 f64 f64", (1, 3), 1 / 3),
    ("f32 rcp.rn.f32 f32", (-4,), -0.25),
    ("f64 sqrt.rn.f64 f64", (2,), math.sqrt(2)),
    ("f32 fma.rn.f32 f32 f32 f32", (1 + 2**-12, 1 + 2**-12, -1), 2**-11 + 2**-24),
    ("f32 fma.rm.f32 f32 f32 f32", (2**-30, 1, 1), 1),
    ("f32 fma.rm.f32 f32 f32 f32", (-(2**-30), 1, 1), 1 - 2**-24),
    ("f32 ex2.approx.ftz.f32 f32", (-3,), 0.125),
    ("f32 ex2.approx.ftz.f32 f32", (-130,), 0),
    ("s32 cvt.s32.s16 s16", (-2,), -2),
    ("u32 cvt.u32.u16 u16", (65535,), 65535),
    ("u16 cvt.u16.u32 u32", (0x12345,), 0x2345),
    ("s64 cvt.s64.s32 s32", (-2,), -2),
    ("u32 cvt.u32.u64 u64", (2**32 + 5,), 5),
    ("f64 cvt.f64.f32 f32", (0.5,), 0.5),
    ("f32 cvt.f32.f16 f16", (0.1,), float(np.float16(0.1))),
    ("f16 cvt.rn.f16.f32 f32", (1 / 3,), float(np.float16(1 / 3))),
    ("f32 cvt.rn.f32.s32 s32", (2**24 + 1,), 2**24),
    ("f32 cvt.rn.f32.f64 f64", (1 / 3,), float(np.float32(1 / 3))),
    ("s32 cvt.rzi.s32.f32 f32", (-2.9,), -2),
    ("s32 cvt.rzi.s32.f32 f32", (3e9,), 2**31 - 1),
    ("u32 cvt.rzi.u32.f32 f32", (-1,), 0),
    ("u32 cvt.rzi.u32.f32 f32", (NAN,), 0),
    ("f32 cvt.rmi.f32.f32 f32", (-1.5,), -2),
    ("f32 cvt.rpi.f32.f32 f32", (-1.5,), -1),
    ("f32 cvt.sat.f32.f32 f32", (1.5,), 1),
    ("f32 cvt.sat.f32.f32 f32", (NAN,), 0),
    ("u64 cvta.to.global.u64 u64", (64,), 64),
    ("u64 cvta.global.u64 u64", (64,), 64),
    ("u64 cvta.to.local.u64 u64", (64,), 64),
    ("u64 cvta.local.u64 u64", (64,), 64),
    ("pred setp.eq.s64 u64 -1", (2**64 - 1,), 1),
    ("pred setp.eq.f32 f32 f32", (NAN, NAN), 0),
    ("pred setp.ne.s16 s16 s16", (1, 1), 0),
    ("pred setp.ne.f32 f32 f32", (NAN, 1), 0),
    ("pred setp.lt.s32 s32 s32", (-1, 1), 1),
    ("pred setp.lt.u32 u32 u32", (ONES, 1), 0),
    ("pred setp.le.s32 s32 s32", (2, 1), 0),
    ("pred setp.gt.f32 f32 f32", (NAN, 1), 0),
    ("pred setp.ge.s32 s32 s32", (1, 1), 1),
    ("pred setp.neu.f64 f64 f64", (NAN, 1), 1),
    ("pred setp.neu.f64 f64 f64", (1, 1), 0),
    ("pred setp.leu.f32 f32 f32", (NAN, 1), 1),
    ("pred setp.leu.f32 f32 f32", (2, 1), 0),
    ("pred setp.ltu.f32 f32 f32", (NAN, 1), 1),
    ("pred setp.ltu.f32 f32 f32", (1, 1), 0),
    ("pred setp.geu.f32 f32 f32", (NAN, 1), 1),
    ("pred setp.geu.f32 f32 f32", (0, 1), 0),
    ("pred setp.gtu.f32 f32 f32", (NAN, 1), 1),
    ("pred setp.gtu.f32 f32 f32", (1, 1), 0),
]

DTYPES = {f"{kind[0]}{8 * size}": f"{kind[1]}{size}" for kind in ("si", "uu") for size in (2, 4, 8)}
DTYPES |= {"f16": "f2", "f32": "f4", "f64": "f8", "pred": "u4"}


def memory_type(kind: str) -> str:
    return {"pred": "u32", "f16": "b16"}.get(kind, kind)


def lines_of_case(number: int, text: str) -> list[str]:
    """PTX of a case: load its values, compute, store the result. A value has 8 bytes."""
    result, opcode, *operands = text.split()
    lines, names = [], []
    for i, kind in enumerate(operands):
        if kind not in DTYPES:
            names.append(kind)
            continue
        name, place = f"%v{number}_{i}", f"[%in+{32 * number + 8 * i}]"
        lines += [f".reg .{memory_type(kind)} {name};"]
        lines += [f"ld.global.{memory_type(kind)} {name}, {place};"]
        if kind == "pred":
            lines += [f".reg .pred %p{number}_{i};", f"setp.ne.s32 %p{number}_{i}, {name}, 0;"]
            name = f"%p{number}_{i}"
        names.append(name)
    kind = "pred" if result == "pred" else memory_type(result)
    lines += [f".reg .{kind} %r{number};", f"{opcode} {', '.join([f'%r{number}', *names])};"]
    target = f"%r{number}"
    if result == "pred":
        lines += [f".reg .u32 %b{number};", f"selp.u32 %b{number}, 1, 0, %r{number};"]
        target = f"%b{number}"
    return [*lines, f"st.global.{memory_type(result)} [%out+{8 * number}], {target};"]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CompiledKernels:
    body = [line for i, (text, _, _) in enumerate(CASES) for line in lines_of_case(i, text)]
    head = ".visible .entry cases(.param .u64 in, .param .u64 out) { .reg .b64 %in, %out;"
    head = head.replace("%in, %out", "%in; .reg .b64 %out")
    begin = "ld.param.u64 %in, [in]; ld.param.u64 %out, [out];"
    text = "\n".join([head, begin, *body, "ret; }"])
    return compile_ptx([text], tmp_path_factory.mktemp("opcodes"))


def test_every_instruction_gives_what_the_isa_says(
    emulator: Emulator, kernels: CompiledKernels
) -> None:
    emulator.use(kernels)
    values: np.ndarray = np.zeros((len(CASES), 32), np.uint8)
    for row, (text, given, _) in zip(values, CASES, strict=True):
        kinds = text.split()[2:]
        registers = [i for i, kind in enumerate(kinds) if kind in DTYPES]
        for i, value in zip(registers, given, strict=True):
            packed = np.array([value], DTYPES[kinds[i]]).view(np.uint8)
            row[8 * i : 8 * i + len(packed)] = packed
    results: np.ndarray = np.zeros((len(CASES), 8), np.uint8)
    emulator.run_compiled("cases", values, results, threads=1)
    wrong = []
    for row, (text, given, expected) in zip(results, CASES, strict=True):
        dtype = np.dtype(DTYPES[text.split()[0]])
        got = row[: dtype.itemsize].view(dtype)[0]
        if got != dtype.type(expected):
            wrong.append((text, given, expected, got))
    assert wrong == []


def test_every_instruction_has_a_case() -> None:
    tested = {function_name(Instruction("", text.split()[1], (), ())) for text, _, _ in CASES}
    assert PURE - tested == set()
