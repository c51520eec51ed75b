# SPDX-License-Identifier: Apache-2.0
"""Feed mutated files of every kind to the package, for as long as one likes.

    python tests/fuzz/fuzz.py --seconds 60
    python tests/fuzz/fuzz.py images=10000 annotations=1000 --output fuzz.json

A kind without a number runs as long as --seconds say; without a kind all of them run. Kinds are
images, models, cards, zips (of results), and annotations:FORMAT; annotations means every format.

Each case depends on the seed and its number alone, so that one that fails can be run again. Cases
run in forked processes, 50 in each, with a limit of memory; one that dies is named.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbnet_trt.images import video

from fuzz.kinds import Kind, make_kinds

CASES_PER_PROCESS = 50
LIMIT_BYTES = 3 << 30
"""Address space of a process over its start; more than 1 GB that is used is a failure."""

LIMIT_SECONDS = 20
MAX_SECONDS, MAX_MEGABYTES = 5.0, 1000
GOOD = ("read", "refused")


def run_case(kind: Kind, data: bytes, folder: Path) -> str:
    """Read a mutated file and say what came of it."""
    start = resource.getrusage(resource.RUSAGE_SELF)
    try:
        kind.read(data, folder)
        answer = "read"
    except kind.errors:
        answer = "refused"
    except BaseException as error:  # what is looked for
        answer = f"traceback: {type(error).__name__}: {error}"[:200]
    end = resource.getrusage(resource.RUSAGE_SELF)
    seconds = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    megabytes = (end.ru_maxrss - start.ru_maxrss) / 1024
    if seconds > MAX_SECONDS:
        return f"slow: {seconds:.1f} s, {answer}"
    return f"large: {megabytes:.0f} MB, {answer}" if megabytes > MAX_MEGABYTES else answer


def run_process(kind: Kind, seed: int, numbers: range, folder: Path) -> Iterator[tuple[int, str]]:
    """Run cases in a forked process; (number, answer) of each."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        status = 1
        try:
            for number in numbers:
                os.write(writing, f"{number} ".encode())
                signal.alarm(LIMIT_SECONDS)
                data = kind.mutate(kind.seeds, np.random.default_rng([seed, number]))
                os.write(writing, f"{run_case(kind, data, folder)!r}\n".encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    last = str(numbers.start)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            last, _, answer = line.partition(" ")
            if answer:
                yield int(last), answer.strip().strip("'\"")
    _, status = os.waitpid(child, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        reason = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        yield int(last), f"died: {reason}"


def run_kind(kind: Kind, seed: int, count: int, deadline: float, folder: Path) -> dict[int, str]:
    """Run up to `count` cases until a time; answers by number."""
    answers: dict[int, str] = {}
    number = 0
    while number < count and time.monotonic() < deadline:
        numbers = range(number, min(count, number + CASES_PER_PROCESS))
        answers.update(run_process(kind, seed, numbers, folder))
        number = max(answers, default=number - 1) + 1
    return answers


def describe_machine() -> dict[str, str]:
    """Versions and the CPU."""
    names = ("numpy", "opencv-python-headless", "onnx", "onnxruntime", "openvino")
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    versions = {name: importlib.metadata.version(name) for name in names}
    return {"python": platform.python_version(), "cpu": cpu[0].split(": ")[1], **versions}


def parse_counts(words: list[str], names: list[str]) -> dict[str, int]:
    """Read KIND=COUNT; the number of cases by kind, in the order of all kinds.

    Raises:
        SystemExit: There is no such kind, or a count is not a number.
    """
    counts = {}
    for word in words or [name.partition(":")[0] for name in names]:
        group, _, count = word.partition("=")
        chosen = [name for name in names if group in (name, name.partition(":")[0])]
        if not chosen or not (count or "1").isdecimal():
            raise SystemExit(f"expected KIND or KIND=COUNT, KIND of {', '.join(names)}; got {word}")
        counts.update(dict.fromkeys(chosen, int(count) if count else sys.maxsize))
    return {name: counts[name] for name in names if name in counts}


def run_all(
    kinds: dict[str, Kind], counts: dict[str, int], seed: int, seconds: float, folder: Path
) -> tuple[dict[str, Any], list[tuple[str, int, str]]]:
    """Run cases of some kinds; a row of the table for each, and what failed."""
    table: dict[str, Any] = {}
    failures: list[tuple[str, int, str]] = []
    groups = Counter(name.partition(":")[0] for name in counts)
    for name, count in counts.items():
        start = time.monotonic()
        share = seconds / len(groups) / groups[name.partition(":")[0]]
        answers = run_kind(kinds[name], seed, count, start + share, folder)
        totals = Counter(answer.partition(":")[0] for answer in answers.values())
        table[name] = {"cases": len(answers), **totals, "seconds": round(time.monotonic() - start)}
        failures += [(name, n, a) for n, a in answers.items() if a not in GOOD]
        print(name, table[name], flush=True)
    return table, failures


def main() -> int:
    """Run the cases that the command line asks for; 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND[=COUNT]", help="all if left out")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="in all")
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--output", type=Path, help="where to write a table in JSON")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    video.silence_opencv()
    logging.getLogger("dbnet_trt").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="dbnet-fuzz-") as name:
        folder = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        kinds = make_kinds(folder)
        counts = parse_counts(arguments.kinds, list(kinds))
        table, failures = run_all(kinds, counts, arguments.seed, arguments.seconds, folder)
    for kind, number, answer in failures:
        print(f"{kind} {number}: {answer}")
    if arguments.output:
        record = {
            "seed": arguments.seed,
            "machine": describe_machine(),
            "table": table,
            "failures": failures,
        }
        arguments.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
