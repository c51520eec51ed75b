# SPDX-License-Identifier: Apache-2.0
"""Instructions on memory, barriers, warps and atomics; faults of kernels in PTX are found."""

from __future__ import annotations

import numpy as np
import pytest
from fakes.emulator import Emulator

from ptx.compiled import CompiledKernels, compile_ptx
from ptx.syntax import PtxError, read_kernels
from ptx.translate import translate, weakenable

REGISTERS = """
    .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;"""
END = "st.global.u32 [%rd3], %r8; ret;"  # each thread gives a number

BODIES = {
    "unset": "mov.b32 %r8, %r7;",
    "unset_local": ".local .align 8 .b8 depot[8]; mov.u64 %rd4, depot; ld.local.u32 %r8, [%rd4+4];",
    "misaligned": "ld.global.u32 %r8, [%rd3+2];",
    "misaligned_pair": "ld.global.v2.u32 {%r7, %r8}, [%rd1+4];",
    "outside_shared": ".shared .align 4 .b8 few[16]; ld.shared.u32 %r8, [few+16];",
    "outside_local": """.local .align 4 .b8 depot[8];
        mov.u64 %rd4, depot; ld.local.u32 %r8, [%rd4+8];""",
    "zero": "sub.s32 %r2, %r1, %r1; div.s32 %r8, %r1, %r2;",
    # Each thread gives the number of its neighbour, of three kinds.
    "neighbour": """.shared .align 4 .b8 numbers[512];
        shl.b32 %r2, %r1, 2; mov.u32 %r3, numbers; add.s32 %r4, %r3, %r2; st.shared.u32 [%r4], %r1;
        bar.sync 0;
        xor.b32 %r5, %r2, 128; add.s32 %r6, %r3, %r5; ld.shared.u32 %r8, [%r6];""",
    "generic": """.shared .align 4 .b8 numbers[512];
        mov.u64 %rd4, numbers; cvta.shared.u64 %rd5, %rd4; add.s64 %rd6, %rd5, %rd2;
        st.u32 [%rd6], %r1; cvta.to.shared.u64 %rd7, %rd6; ld.shared.u32 %r8, [%rd7];""",
    "halves": """mov.b64 %rd4, {%r1, %r1}; add.s64 %rd5, %rd4, 1; mov.b64 {%r7, %r8}, %rd5;
        add.s32 %r8, %r8, %r7;""",
    "any": """setp.eq.s32 %p1, %r1, 100; bar.red.or.pred %p2, 0, %p1; selp.u32 %r8, 1, 0, %p2;""",
    "ballot": "setp.lt.u32 %p1, %r1, 5; vote.sync.ballot.b32 %r8, %p1, -1;",
    "count": """.shared .align 4 .b8 total[4];
        setp.ne.s32 %p1, %r1, 0; mov.u32 %r2, 0; @!%p1 st.shared.u32 [total], %r2; bar.sync 0;
        atom.shared.add.u32 %r3, [total], 1; bar.sync 0; ld.shared.u32 %r8, [total];""",
    "flag": """.shared .align 4 .b8 flag[4]; mov.u32 %r8, 0;
        setp.ne.s32 %p1, %r1, 0; mov.u32 %r2, 0; @!%p1 st.shared.u32 [flag], %r2; bar.sync 0;
        @!%p1 atom.shared.max.u32 %r3, [flag], 7; @%p1 ld.volatile.shared.u32 %r4, [flag];""",
    "loop": """mov.u32 %r8, 0;
        AGAIN: add.s32 %r8, %r8, 1; setp.lt.u32 %p1, %r8, 10; @%p1 bra AGAIN;""",
    **{
        f"shfl_{mode}": f"shfl.sync.{mode}.b32 %r8|%p1, %r1, {operands}, -1; "
        "@!%p1 add.s32 %r8, %r8, 1000;"
        for mode, operands in {
            "up": "3, 0",
            "down": "3, 31",
            "bfly": "5, 31",
            "idx": "9, 6175",
        }.items()
    },
}


def entry(name: str, body: str) -> str:
    declared = "".join(f"{part};" for part in body.split(";") if ".shared .align" in part)
    declared += "".join(f"{part};" for part in body.split(";") if ".local .align" in part)
    for part in declared.split(";")[:-1]:
        body = body.replace(f"{part};", "")
    bounds = ".maxntid 128, 1, 1"
    return f".entry {name}(.param .u64 out) {bounds} {{ {declared} {REGISTERS} {body} {END} }}"


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CompiledKernels:
    text = "\n".join(entry(name, body) for name, body in BODIES.items())
    return compile_ptx([text], tmp_path_factory.mktemp("machine"))


@pytest.fixture
def machine(emulator: Emulator, kernels: CompiledKernels) -> Emulator:
    emulator.use(kernels)
    return emulator


def run(machine: Emulator, name: str, threads: int = 128) -> list[int]:
    out: np.ndarray = np.zeros(threads + 1, np.uint64).view(np.uint32)
    machine.run_compiled(name, out, threads=threads)
    return out[:threads].tolist()


LANES = range(32)
EXPECTED = {
    "neighbour": [i ^ 32 for i in range(128)],
    "generic": list(range(128)),
    "halves": [2 * i + 1 for i in range(128)],
    "any": [1] * 128,
    "ballot": [31] * 32 + [0] * 96,
    "count": [128] * 128,
    "flag": [0] * 128,
    "loop": [10] * 128,
    "shfl_up": [i - 3 if i >= 3 else i + 1000 for i in LANES],
    "shfl_down": [i + 3 if i < 29 else i + 1000 for i in LANES],
    "shfl_bfly": [i ^ 5 for i in LANES],
    "shfl_idx": [i // 8 * 8 + 1 for i in LANES],  # in segments of 8 lanes
}


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_right_kernels_run_clean(machine: Emulator, name: str, seed: int) -> None:
    machine.configure(seed=seed, yield_one_in=2, check_races=True)
    assert run(machine, name, len(EXPECTED[name])) == EXPECTED[name]
    assert machine.first_race == ""


@pytest.mark.parametrize("name", ["unset", "unset_local"])
def test_what_was_never_written_is_poison(machine: Emulator, name: str) -> None:
    assert run(machine, name, 1) == [0xA5A5A5A5]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("misaligned", "misaligned address"),
        ("misaligned_pair", "misaligned address"),
        ("outside_shared", "address outside of shared memory"),
        ("outside_local", "address outside of local memory"),
        ("zero", "division by zero"),
        ("absent", "no compiled kernel is called absent"),
    ],
)
def test_faults_are_errors(machine: Emulator, name: str, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        run(machine, name)


def test_launch_bounds(machine: Emulator) -> None:
    assert run(machine, "loop", 128) == [10] * 128
    with pytest.raises(RuntimeError, match="at most 128 threads, its launch bounds"):
        run(machine, "loop", 129)


@pytest.mark.parametrize(
    ("name", "opcode"),
    [
        ("neighbour", "bar.sync"),
        ("count", "atom.shared.add.u32"),
        ("flag", "ld.volatile.shared.u32"),
    ],
)
def test_a_weakened_instruction_is_a_race(
    machine: Emulator, kernels: CompiledKernels, name: str, opcode: str
) -> None:
    read = read_kernels("\n".join(entry(*each) for each in BODIES.items()))
    numbers = [
        i
        for i, (kernel, instruction) in enumerate(weakenable([read]))
        if kernel.name == name and instruction.opcode == opcode
    ]
    kernels.weaken(numbers[0])
    try:
        machine.configure(seed=1, yield_one_in=2, check_races=True)
        run(machine, name)
        assert "of shared memory" in machine.first_race
    finally:
        kernels.weaken()


def test_counts(machine: Emulator) -> None:
    """4 instructions before, 1, 10 times 3, and 2 at the end; on each of 2 warps."""
    run(machine, "loop", 64)
    (counts,) = machine.counts()
    assert counts.kernel == "loop"
    assert counts.instructions == 2 * (4 + 1 + 30 + 2)
    assert counts.block_instructions == 4 + 1 + 30 + 2
    assert counts.global_accesses == 2
    assert counts.block_accesses == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("tanh.approx.f32 %r1, %r2;", r"tanh.approx.f32 %r1, %r2: no meaning is known"),
        ("ld.weird.u32 %r1, [%rd1];", "this kind of access"),
        ("mov.u32 %r1, nobody;", "what is nobody"),
        (".reg .x32;", "declaration of registers"),
        (".shared .b7 x;", "declaration of a variable"),
    ],
)
def test_what_is_not_understood_is_an_error(body: str, message: str) -> None:
    with pytest.raises(PtxError, match=message):
        translate([read_kernels(f".entry k() {{ {body} ret; }}")])
