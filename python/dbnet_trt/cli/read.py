# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet read`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from ..detections import Detections
from ..errors import DBNetError, ImageError
from ..files import write_atomically
from ..images.decode import MAX_PIXELS
from ..images.load import load_image
from ..images.sources import find_sources
from ..images.video import is_video
from ..reading import open_reader, read_text, to_alto, to_hocr, to_markdown, to_text
from .console import SOME_FAILED, SUCCESS, err, line, number, out, visible
from .options import DEFAULT_OPTIONS, RunOptions

Format: TypeAlias = Literal["text", "markdown", "hocr", "alto"]

SUFFIXES: dict[Format, str] = {
    "text": ".txt",
    "markdown": ".md",
    "hocr": ".hocr",
    "alto": ".xml",
}


def read(
    inputs: list[str],
    /,
    *,
    output: Path | None = None,
    format: Format = "text",
    reader: str = "rapidocr",
    right_to_left: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Read the text in images, in the order a person would.

    Parameters
    ----------
    inputs
        Images, folders or globs.
    output
        Folder for one file per image, named after it; by default the text is printed.
    format
        text, markdown, hocr or alto.
    reader
        Recogniser: rapidocr, onnxtr, onnxtr:ARCH, or an .onnx file that holds its characters.
    right_to_left
        Words and columns follow each other from right to left.
    """
    sources = list(find_sources(inputs))
    videos = [source for source in sources if is_video(source)]
    if videos:
        raise ValueError(f"dbnet read takes images, but {videos[0]} is a video or a camera")
    if output is None and format in ("hocr", "alto") and len(sources) > 1:
        raise ValueError(f"--format {format} makes one file per image; name a folder by --output")
    targets = None if output is None else _name_files(sources, output, SUFFIXES[format])
    detector = options.open_detector(polygons=True)
    size, max_pixels = options.size(detector.card), options.max_pixels or MAX_PIXELS
    read_crops = open_reader(reader, options.cpu)
    num_texts = num_failed = 0
    for source in sources:
        try:
            image = load_image(source, max_pixels=max_pixels)
        except ImageError as error:
            num_failed += 1
            err.print(line(("skipped:", "red"), " ", (error, "")), soft_wrap=True)
            continue
        found = read_text(detector.detect(image, size=size), image, read_crops)
        num_texts += len(found)
        text = _FORMATS[format](found, image.shape[:2], Path(source).name, right_to_left)
        if targets is not None:
            write_atomically(targets[source], partial(_write, text))
        else:
            _print(source if len(sources) > 1 else None, text)
    failed = f", {num_failed} skipped" if num_failed else ""
    done = number(len(sources) - num_failed, "image")
    err.print(f"{done}, {number(num_texts, 'text')}{failed}", style="dim")
    return SOME_FAILED if num_failed else SUCCESS


def _to_text(found: Detections, size: tuple[int, int], name: str, right_to_left: bool) -> str:
    return to_text(found, right_to_left=right_to_left)


def _to_markdown(found: Detections, size: tuple[int, int], name: str, right_to_left: bool) -> str:
    return to_markdown(found, right_to_left=right_to_left)


def _to_hocr(found: Detections, size: tuple[int, int], name: str, right_to_left: bool) -> str:
    return to_hocr(found, size, name=name, right_to_left=right_to_left)


def _to_alto(found: Detections, size: tuple[int, int], name: str, right_to_left: bool) -> str:
    return to_alto(found, size, name=name, right_to_left=right_to_left)


_FORMATS: dict[Format, Callable[[Detections, tuple[int, int], str, bool], str]] = {
    "text": _to_text,
    "markdown": _to_markdown,
    "hocr": _to_hocr,
    "alto": _to_alto,
}


def _name_files(sources: list[str], folder: Path, suffix: str) -> dict[str, Path]:
    """Name one file per image, and create their folder.

    Raises:
        ValueError: Two images have the same name.
    """
    targets: dict[str, Path] = {}
    for source in sources:
        target = folder / (Path(source).name + suffix)
        if target in targets.values():
            raise ValueError(
                f"two images are called {Path(source).name}; read one folder at a time, or name "
                "them differently"
            )
        targets[source] = target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DBNetError(f"{folder} cannot be made a folder: {error.strerror}") from error
    return targets


def _write(text: str, path: Path) -> None:
    path.write_bytes((text.rstrip("\n") + "\n").encode())


def _print(name: str | None, text: str) -> None:
    """Print a text line by line; control characters in it are escaped."""
    if name is not None:
        out.print(line((name, "bold")), soft_wrap=True)
    for each in text.split("\n"):
        out.print(visible(each), soft_wrap=True, markup=False)
    if name is not None:
        out.print()
