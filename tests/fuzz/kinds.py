# SPDX-License-Identifier: Apache-2.0
"""Kinds of files that are mutated: seeds, what reads a mutated one, and the errors that it may
raise."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from data.sample_sets import WRITERS, annotation_file
from dbnet_trt import EngineError, ImageError, ModelCard
from dbnet_trt.card import read_card
from dbnet_trt.data.open import read_as_is
from dbnet_trt.data.statistics import compute_statistics
from dbnet_trt.evaluation.submissions import score_submission
from dbnet_trt.images.load import load_image
from fakes.tiny_model import make_model
from images.hostile import REFUSED, TAKEN

NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x40000000)
"""Values at which sizes and counts go wrong."""


PIECES = (
    b"", b"1e308", b"1e400", b"NaN", b"-Infinity", b"-1", b"null", b"[]", b"{}", b'"x"', b",",
    b"\xff", b"\0", b"\t", b"\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b"###", b"9" * 400, b"[" * 2000,
    b"<a>", b"&lt;", b'"', b"..", b"../" * 20, b"-", b"1e9", b"0", b"true", "\u0661".encode(),
    b"\\ud83d", b"\xed\xa0\xbd",
)  # fmt: skip
"""What annotations, results and cards hold where they go wrong."""

NAMES = (
    "/etc/passwd.txt", "../../res_img_1.txt", "res_img_1.txt\n", f"res_img_{'9' * 20}.txt",
    "res_img_-1.txt", "a/b/c/res_img_1.txt", "__MACOSX/._res_img_1.txt", "res_img_1.zip",
    "\\res_img_1.txt", "C:res_img_1.txt", "res_img_\u0661.txt", f"{'x' * 300}.txt",
)  # fmt: skip
"""Names of files in archives that go wrong."""

MAX_UNPACKED_BYTES = 8 << 20
"""Limit on archives here; the limit on a file in them is a 32nd."""

MAX_SEED_BYTES = 300_000
"""Largest image that is mutated: most bytes of larger ones are the same."""

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


def read_annotations(form: str, file: Path, data: bytes, folder: Path) -> None:
    """Read a data set by its format, and as one whose format is guessed."""
    file.write_bytes(data)
    sample_set = folder / form
    try:
        compute_statistics(read_as_is(f"{form}:{sample_set}"))
    finally:
        with contextlib.suppress(ValueError):  # it may be read by its name, and not be guessed
            read_as_is(str(sample_set))


def mutate_text(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    """Put pieces of text that go wrong into one to four places of a file, or change bytes."""
    if rng.random() < 0.3:
        return mutate(seeds, rng)
    data = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(data) + 1))
        data[at : at + int(rng.choice((0, 1, 3, 20)))] = PIECES[rng.integers(len(PIECES))]
    return bytes(data)


def read_zip(data: bytes, folder: Path) -> None:
    """Score a submission against a ground truth that is whole."""
    path = folder / f"{os.getpid()}.zip"
    path.write_bytes(data)
    for truths, results in ((folder / "gt.zip", path), (path, folder / "gt.zip")):
        score_submission(truths, results, "icdar2015", "icdar2015", max_bytes=MAX_UNPACKED_BYTES)


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack files into an archive."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def mutate_zip(seeds: list[bytes], rng: np.random.Generator) -> bytes:
    """Change bytes of an archive, or, more often, a name or the contents of a file in it."""
    seed = seeds[rng.integers(len(seeds))]
    if rng.random() < 0.4:
        return mutate([seed], rng)
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    name = str(rng.choice(sorted(files)))
    content = files.pop(name)
    if rng.random() < 0.5:
        name = str(rng.choice((*NAMES, name + "x", name * 2)))
    elif rng.random() < 0.1:
        content = bytes(MAX_UNPACKED_BYTES)
    else:
        content = mutate_text([content], rng)
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.8 else zipfile.ZIP_STORED
    return make_zip({**files, name: content}, method)


def make_kinds(folder: Path) -> dict[str, Kind]:
    """The kinds of files, with seeds that are drawn."""
    drawn = [make() for make in (*REFUSED.values(), *5 * list(TAKEN.values()))]
    model = make_model(folder / "tiny.onnx").read_bytes()
    bare = make_model(folder / "bare.onnx", card=None).read_bytes()
    card = ModelCard(name="fuzz", license="x", source="\u00e9").to_json().encode()
    lines = {f"{i}.txt": b"1,1,9,1,9,9,1,9,word\n" * i for i in range(1, 4)}
    zips = [make_zip({f"{prefix}{name}": text for name, text in lines.items()})
            for prefix in ("gt_img_", "res_img_", "a/res_img_")]  # fmt: skip
    (folder / "gt.zip").write_bytes(zips[0])
    kinds = {
        "images": Kind(
            [each for each in drawn if len(each) < MAX_SEED_BYTES],
            read_image,
            (ImageError,),
            mutate,
        ),
        "models": Kind([model, bare], read_model, (EngineError,), mutate_model),
        "cards": Kind([card], read_card_file, (EngineError,), mutate_text),
        "zips": Kind(zips, read_zip, (ValueError,), mutate_zip),
    }
    for form, write in WRITERS.items():
        write(folder / form)
        file = annotation_file(folder / form)
        read = functools.partial(read_annotations, form, file)
        kinds[f"annotations:{form}"] = Kind([file.read_bytes()], read, (ValueError,), mutate_text)
    return kinds
