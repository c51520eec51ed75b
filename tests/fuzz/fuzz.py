# SPDX-License-Identifier: Apache-2.0
"""Feed mutated images, models and cards to the package, for as long as one likes.

    python tests/fuzz/fuzz.py --seconds 60
    python tests/fuzz/fuzz.py --images 10000 --models 500 --cards 500 --output fuzz.json

Each case depends on the seed and its number alone, so that one that fails can be run again. Cases
run in forked processes, 50 in each, with a limit of memory; one that dies is named.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbnet_trt import EngineError, ImageError, ModelCard
from dbnet_trt.card import read_card
from dbnet_trt.images import video
from dbnet_trt.images.load import load_image
from fakes.tiny_model import make_model
from images.hostile import REFUSED, TAKEN

CASES_PER_PROCESS = 50
LIMIT_BYTES = 3 << 30
"""Address space of a process over its start; more than 1 GB that is used is a failure."""

LIMIT_SECONDS = 20
MAX_SECONDS, MAX_MEGABYTES = 5.0, 1000
GOOD = ("read", "refused")

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x40000000)
"""Values at which sizes and counts go wrong."""


BACKENDS: tuple[Literal["onnxruntime", "openvino"], ...] = ("onnxruntime", "openvino")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file: seeds to mutate, and what reads a mutated one."""

    seeds: list[bytes]
    read: Callable[[bytes, Path], None]
    errors: tuple[type[Exception], ...]
    mutate: Callable[[list[bytes], np.random.Generator], bytes]


def mutate(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    """Change a seed in one to four places; half of the time in one."""
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(max(1, int(rng.integers(-2, 5)))):
        if not data:
            break
        at = int(rng.integers(len(data)))
        if rng.random() < 0.5:  # headers are where it matters
            at = int(rng.integers(min(len(data), 64)))
        size = int(rng.integers(1, 1 + min(len(data), 1 << int(rng.integers(0, 10)))))
        match int(rng.integers(7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at : at + size] = rng.bytes(size)
            case 2:
                number = int(rng.choice(NUMBERS)).to_bytes(4, "little")
                data[at : at + 4] = number if rng.random() < 0.5 else number[::-1]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * int(rng.integers(1, 20))
            case 5:
                del data[at + size :]
            case 6:
                other = seeds[rng.integers(len(seeds))]
                start = int(rng.integers(len(other)))
                data[at : at + size] = other[start : start + size]
    return bytes(data)


def mutate_model(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    """Change bytes of a model, or, more often, one field of its graph."""
    if rng.random() < 0.3:
        return mutate(seeds, rng)
    model = onnx.load_from_string(seeds[rng.integers(len(seeds))])
    graph = model.graph
    node = graph.node[rng.integers(len(graph.node))]
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    value = (graph.input, graph.output)[rng.integers(2)][0]
    number = int(rng.choice((*NUMBERS, -1, 2, 3, 2**62)))
    match int(rng.integers(8)):
        case 0:
            node.op_type = str(rng.choice(("Conv", "Pad", "Resize", "Loop", "Nothing", "Concat")))
        case 1:
            node.input.append(str(rng.choice(("image", "weight", "map", "", "nowhere"))))
        case 2:
            name = str(rng.choice(("axes", "axis", "keepdims", "pads", "strides", "group")))
            node.attribute.append(onnx.helper.make_attribute(name, [number, number]))
        case 3 if node.attribute:
            node.attribute[0].i = number
            node.attribute[0].ints[:] = [number] * int(rng.integers(4))
        case 4:
            tensor.dims[:] = [number] * int(rng.integers(4))
        case 5:
            tensor.data_type = int(rng.integers(-1, 30))
        case 6:
            value.type.tensor_type.shape.dim.add().dim_value = number
        case _:
            model.opset_import[0].version = number % 2**31
    return model.SerializeToString()


def read_image(data: bytes, folder: Path) -> None:
    """Load an image, upright and as stored."""
    load_image(data)
    load_image(data, upright=False)


def read_model(data: bytes, folder: Path) -> None:
    """Open a model by ONNX Runtime and run it once; one that runs goes to OpenVINO as well."""
    from dbnet_trt import CpuConfig, Detector, SizePolicy

    path = folder / f"{os.getpid()}.onnx"
    path.write_bytes(data)
    try:
        card = None if b"dbnet_trt.card" in data else ModelCard(name="fuzz")
        for backend in BACKENDS:
            config = CpuConfig(backend, num_threads=1)
            detector = Detector(path, card=card, cpu=config, size=SizePolicy(32, 64))
            detector.detect(np.zeros((32, 48, 3), np.uint8))
    finally:
        path.unlink()


def read_card_file(data: bytes, folder: Path) -> None:
    """Read a card's JSON and what it says of numbers."""
    path = folder / f"{os.getpid()}.json"
    path.write_bytes(data)
    card = read_card(path)
    _ = card.normalization, card.to_json()


def make_kinds(folder: Path) -> dict[str, Kind]:
    """The kinds of files, with seeds that are drawn."""
    drawn = [make() for make in (*REFUSED.values(), *5 * list(TAKEN.values()))]
    images = [each for each in drawn if len(each) < 300_000]
    model = make_model(folder / "tiny.onnx").read_bytes()
    bare = make_model(folder / "bare.onnx", card=None).read_bytes()
    card = ModelCard(name="fuzz", license="x", source="\u00e9").to_json().encode()
    return {
        "images": Kind(
            [each for each in images if len(each) < 300_000], read_image, (ImageError,), mutate
        ),
        "models": Kind([model, bare], read_model, (EngineError,), mutate_model),
        "cards": Kind([card], read_card_file, (EngineError,), mutate),
    }


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
        for number in numbers:
            os.write(writing, f"{number} ".encode())
            signal.alarm(LIMIT_SECONDS)
            data = kind.mutate(kind.seeds, np.random.default_rng([seed, number]))
            os.write(writing, f"{run_case(kind, data, folder)!r}\n".encode())
        os._exit(0)
    os.close(writing)
    last = str(numbers.start)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            last, _, answer = line.partition(" ")
            if answer:
                yield int(last), answer.strip().strip("'\"")
    _, status = os.waitpid(child, 0)
    if status:
        yield int(last), f"died: {signal.Signals(status & 127).name}"


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


def main() -> int:
    """Run the cases that the command line asks for; 1 if one failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="in all")
    parser.add_argument("--seed", type=int, default=20261129)
    parser.add_argument("--output", type=Path, help="where to write a table in JSON")
    for name in ("images", "models", "cards"):
        parser.add_argument(f"--{name}", type=int, help="number of cases; no limit if left out")
    arguments = parser.parse_args()
    counts = {name: getattr(arguments, name) for name in ("images", "models", "cards")}
    if any(count is not None for count in counts.values()):
        counts = {name: count or 0 for name, count in counts.items()}
    cv2.setNumThreads(1)
    video.silence_opencv()
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"dbnet-fuzz-{os.getpid()}"
    folder.mkdir()
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    table: dict[str, Any] = {}
    failures: list[tuple[str, int, str]] = []
    for name, kind in make_kinds(folder).items():
        start = time.monotonic()
        count = sys.maxsize if counts[name] is None else counts[name]
        answers = run_kind(kind, arguments.seed, count, start + arguments.seconds / 3, folder)
        totals = Counter(answer.partition(":")[0] for answer in answers.values())
        table[name] = {"cases": len(answers), **totals, "seconds": round(time.monotonic() - start)}
        failures += [(name, n, a) for n, a in answers.items() if a not in GOOD]
        print(name, table[name], flush=True)
    for name, number, answer in failures:
        print(f"{name} {number}: {answer}")
    if arguments.output:
        record = {
            "seed": arguments.seed,
            "machine": describe_machine(),
            "table": table,
            "failures": failures,
        }
        arguments.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
