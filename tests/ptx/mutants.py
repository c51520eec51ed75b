# SPDX-License-Identifier: Apache-2.0
"""Remove what orders the threads of the compiled kernels, one instruction at a time, and report
whether the emulator finds it.

    python tests/ptx/mutants.py [KERNEL...] [--seeds N]

Of each kernel's PTX every barrier and fence is left out, every volatile access made plain and every
atomic torn into a load and a store. A mutant is found if a map gives other results, a race, an
error or no end. Kernels for maps of float and of half order their threads by the same instructions,
as test_mutants.py holds; both are weakened.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbnet_trt import _core
from fakes.emulator import Emulator, build_emulator
from maps import crowded_map, noise, rings, spiral

from ptx.compiled import CompiledKernels, compile_ptx
from ptx.nvrtc import compile_kernels
from ptx.syntax import Instruction, Kernel, read_kernels
from ptx.translate import weakenable

Work = Callable[[], bytes]
KERNELS = [
    "tile_kernel<float>",
    "tile_kernel<half>",
    "border_kernel",
    "resolve_kernel",
    "boxes_kernel<float>",
    "boxes_kernel<half>",
    "scores_kernel<float>",
    "scores_kernel<half>",
    "ranking_kernel",
]
SECONDS = 120  # that a mutant may run
REASONS = Path(__file__).with_name("not_found.toml")  # why mutants cannot be found

PARAMS = _core.PostprocessParams(
    binary_threshold=0.3,
    score_threshold=0.0,
    unclip_ratio=1.5,
    max_candidates=2000,
    min_side=3.0,
    logits=False,
)


def make_work(emulator: Emulator, kernel: str) -> list[Work]:
    """List calls that run a kernel, the quickest first; each returns its results."""
    rng = np.random.default_rng(20261121)
    name, _, kind = kernel.partition("<")
    dtype = np.float16 if kind == "half>" else np.float32

    def components(maps: np.ndarray) -> bytes:
        found = emulator.components(maps.astype(dtype))
        return b"".join([found.labels.tobytes(), *(each.tobytes() for each in found.firsts)])

    def boxes(maps: np.ndarray) -> bytes:
        found = emulator.box_finder(maps.shape)(maps.astype(dtype), PARAMS, label=False)
        return b"".join(each.tobytes() for each in found.found)

    small, large = rings(64)[None], rings(140)[None]
    if name == "scores_kernel":
        return [lambda: boxes(large)]
    if name in ("boxes_kernel", "ranking_kernel"):
        crowded = (crowded_map()[None] * rng.uniform(0.4, 1, (1, 312, 144))).astype(np.float32)
        return [lambda: boxes(small), lambda: boxes(large), lambda: boxes(crowded)]
    if name == "tile_kernel":
        tiles = noise(33, 80, 0.407, rng)[None]
        return [lambda: components(tiles)]
    joined = np.stack([noise(97, 130, 0.407, rng), np.pad(spiral(97), ((0, 0), (0, 33)))])
    return [lambda: components(joined)]


def what_is_found(emulator: Emulator, work: list[Work], expected: list[bytes], seeds: int) -> str:
    """Run every work under seeded schedules until one shows a fault; "" if none does."""
    for seed in range(1, seeds + 1):
        for run, result in zip(work, expected, strict=True):
            emulator.configure(seed, resident_blocks=4, yield_one_in=1 + seed % 3, check_races=True)
            try:
                found = run()
            except RuntimeError as error:
                return str(error)
            if emulator.first_race:
                kind, _, place = emulator.first_race.partition(" of ")
                return (
                    f"race: {kind.partition(' at ')[0]} of {place.partition(' memory')[0]} memory"
                )
            if found != result:
                return "other results"
    return ""


def in_child(judge: Callable[[], str]) -> str:
    """Run in a process of its own, which may crash or never end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        os.write(writer, judge().encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        verdict = pipe.read().decode()
    if os.WIFSIGNALED(status):
        died = os.WTERMSIG(status)
        return "no end" if died == signal.SIGALRM else f"crash: {signal.Signals(died).name}"
    return verdict


@dataclass(frozen=True)
class Mutant:
    """A weakened instruction and what was found, "" if nothing was."""

    kernel: str
    instruction: Instruction
    barriers: int  # before it in the kernel's text
    found: str


def judge_mutants(
    emulator: Emulator,
    kernels: CompiledKernels,
    modules: list[list[Kernel]],
    name: str,
    seeds: int,
) -> Iterator[Mutant]:
    """Weaken each instruction of a kernel in turn."""
    emulator.use(kernels)
    work = make_work(emulator, name)
    expected = [run() for run in work]

    def judge() -> str:
        return in_child(lambda: what_is_found(emulator, work, expected, seeds))

    if fault := judge():
        raise SystemExit(f"{name}: faulty without being weakened: {fault}")
    num_barriers = 0
    for number, (kernel, instruction) in enumerate(weakenable(modules)):
        if kernel.name == name:
            kernels.weaken(number)
            yield Mutant(name, instruction, num_barriers, judge())
            num_barriers += instruction.name == "bar"
    kernels.weaken()


def table(kernel: str, mutants: list[Mutant], seeds: int) -> str:
    """Table of a kernel's mutants, with the reason of each that was not found."""
    known = tomllib.loads(REASONS.read_text(encoding="utf-8"))["mutant"]
    reasons = {(each["kernel"], each["barriers"], each["opcode"]): each["reason"] for each in known}
    name = kernel.partition("<")[0]
    num_found = sum(bool(each.found) for each in mutants)
    lines = [
        f"## {kernel}: {num_found} of {len(mutants)} found",
        "",
        f"`python tests/ptx/mutants.py '{kernel}' --seeds {seeds}`. Place: number of barriers",
        "before the instruction in the kernel, and lines of the source.",
        "",
        "| place | weakened | result |",
        "|---|---|---|",
    ]
    for each in mutants:
        opcode = each.instruction.opcode
        reason = reasons.get((name, each.barriers, opcode), "no reason is known")
        place = f"{each.barriers}: {' in '.join(each.instruction.places)}"
        lines.append(f"| {place} | `{opcode}` | {each.found or f'**not found**: {reason}'} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("kernels", nargs="*", default=KERNELS, metavar="KERNEL", help="all of them")
    parser.add_argument("--seeds", type=int, default=3, help="number of schedules for each mutant")
    arguments = parser.parse_args()
    texts = list(compile_kernels("compute_75").values())
    modules = [read_kernels(text) for text in texts]
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(build_emulator(Path(folder) / "kernels.so"))
        kernels = compile_ptx(texts, Path(folder))
        for name in arguments.kernels:
            mutants = []
            for each in judge_mutants(emulator, kernels, modules, name, arguments.seeds):
                mutants.append(each)
                print(name, each.barriers, each.instruction, "|", each.found, file=sys.stderr)
            print(table(name, mutants, arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
