# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet read`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from ..detections import Detections
from ..errors import DBNetError
from ..files import write_atomically
from ..images import video
from ..images.ahead import PageOptions, ReadAhead, ReadImage
from ..images.decode import MAX_PIXELS
from ..images.pages import DPI, check_dpi, parse_pages
from ..images.sources import find_sources
from ..reading import (
    ReadPage,
    open_reader,
    pages_to_alto,
    pages_to_hocr,
    read_text,
    to_markdown,
    to_text,
)
from .console import SOME_FAILED, SUCCESS, err, line, number, out, visible
from .options import DEFAULT_OPTIONS, RunOptions
from .outputs import Label

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
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    pages: str | None = None,
    dpi: int = DPI,
    reader: str = "rapidocr",
    right_to_left: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Read the text in images and documents, in the order a person would.

    Parameters
    ----------
    inputs
        Images, PDF files, folders or globs. A file that is named twice is read once.
    output
        Folder for one file per input file, named after it; by default the text is printed.
    format
        text, markdown, hocr or alto.
    overwrite
        Replace files that are in the folder of --output.
    pages
        Pages of documents to read, as in "3-7" or "1,4,9-"; all by default.
    dpi
        Resolution at which pages of a PDF are drawn, in pixels per inch.
    reader
        Recogniser: rapidocr, onnxtr, onnxtr:ARCH, or an .onnx file that holds its characters.
    right_to_left
        Words and columns follow each other from right to left.
    """
    video.silence_opencv()
    check_dpi(dpi)
    page_options = PageOptions(
        parse_pages(pages) if pages is not None else None, dpi, options.max_pixels or MAX_PIXELS
    )
    sources = list(find_sources(inputs))
    videos = [source for source in sources if video.is_video(source)]
    if videos:
        raise ValueError(
            f"dbnet read takes images and documents, but {videos[0]} is a video or a camera"
        )
    texts = _Texts(sources, output, format, overwrite=overwrite, right_to_left=right_to_left)
    detector = options.open_detector(polygons=True)
    size = options.size(detector.card)
    read_crops = open_reader(reader, options.cpu)
    num_failed = 0
    with ReadAhead(sources, page_options, _Register()) as ahead:
        for each in filter(None, ahead):
            if each.image is None:
                num_failed += 1
                texts.add_missing(each)
                err.print(line(("skipped:", "red"), " ", (each.error, "")), soft_wrap=True)
                continue
            found = read_text(detector.detect(each.image, size=size), each.image, read_crops)
            texts.add(each, found)
            ahead.release(each)
    texts.finish()
    failed = f", {num_failed} skipped" if num_failed else ""
    done = number(texts.num_images, "image")
    err.print(f"{done}, {number(texts.num_texts, 'text')}{failed}", style="dim")
    return SOME_FAILED if num_failed else SUCCESS


class _Register:
    """Every image is read, and none is drawn."""

    def is_done(self, name: str, page: int | None) -> bool:
        return False

    def reserve(self, name: str, page: int | None) -> Path | None:
        return None


class _Texts:
    """A writer of one text per file, of all its pages, or a printer of each page."""

    def __init__(
        self,
        sources: list[str],
        folder: Path | None,
        format: Format,
        *,
        overwrite: bool,
        right_to_left: bool,
    ) -> None:
        """Name the files and create their folder.

        Raises:
            ValueError: Two files have the same name, one exists and is not to be replaced, or the
                format is one file for each and there is no folder.
            DBNetError: The folder cannot be created.
        """
        if folder is None and format in ("hocr", "alto") and len(sources) > 1:
            raise ValueError(
                f"--format {format} makes one file per image; name a folder by --output"
            )
        self._targets = None if folder is None else _name_files(sources, folder, SUFFIXES[format])
        there = [path for path in (self._targets or {}).values() if path.exists()]
        if there and not overwrite:
            raise ValueError(
                f"{there[0]} exists; name another folder, or give --overwrite to replace it"
            )
        self._format, self._right_to_left = format, right_to_left
        self._is_one = len(sources) == 1
        self._last: ReadImage | None = None
        self._pages: list[ReadPage | None] = []  # None for one that could not be read
        self.num_images = self.num_texts = 0

    def add(self, image: ReadImage, found: Detections) -> None:
        """Take the texts of an image; those of one file follow each other."""
        assert image.image is not None
        self.num_images += 1
        self.num_texts += len(found)
        if self._targets is None and self._format == "text":  # printed at once
            text = to_text(found, right_to_left=self._right_to_left)
            is_alone = self._is_one and image.page is None
            _print(None if is_alone else Label(image.name, image.page), text)
            return
        self._append(image, ReadPage(found, image.image.shape[:2], image.page or 1))

    def add_missing(self, image: ReadImage) -> None:
        """Keep the place of a page that could not be read."""
        if image.page is not None:
            self._append(image, None)

    def _append(self, image: ReadImage, page: ReadPage | None) -> None:
        if self._last is not None and self._last.pages is not image.pages:
            self.finish()
        self._last = image
        self._pages.append(page)

    def finish(self) -> None:
        """Write or print the file whose pages were added last, if one of them could be read."""
        if self._last is None or not any(self._pages):
            self._last, self._pages = None, []
            return
        name = self._last.name
        text = _FORMATS[self._format](self._pages, Path(name).name, self._right_to_left)
        if self._targets is not None:
            write_atomically(self._targets[name], partial(_write, text))
        else:
            _print(None if self._is_one else Label(name), text)
        self._last, self._pages = None, []


_Pages: TypeAlias = Sequence[ReadPage | None]


def _to_text(pages: _Pages, name: str, right_to_left: bool) -> str:
    """Return the pages with form feeds between them, as `pdftotext` sets them."""
    texts = [page and to_text(page.found, right_to_left=right_to_left) for page in pages]
    return "\n\f".join(text or "" for text in texts)


def _to_markdown(pages: _Pages, name: str, right_to_left: bool) -> str:
    """Return the pages with rules between them."""
    texts = [page and to_markdown(page.found, right_to_left=right_to_left) for page in pages]
    return "\n\n---\n\n".join(text or "" for text in texts)


def _to_hocr(pages: _Pages, name: str, right_to_left: bool) -> str:
    return pages_to_hocr([*filter(None, pages)], name=name, right_to_left=right_to_left)


def _to_alto(pages: _Pages, name: str, right_to_left: bool) -> str:
    return pages_to_alto([*filter(None, pages)], name=name, right_to_left=right_to_left)


_FORMATS: dict[Format, Callable[[_Pages, str, bool], str]] = {
    "text": _to_text,
    "markdown": _to_markdown,
    "hocr": _to_hocr,
    "alto": _to_alto,
}


def _name_files(sources: list[str], folder: Path, suffix: str) -> dict[str, Path]:
    """Name one file per input, and create their folder.

    Raises:
        ValueError: Two inputs have the same name.
        DBNetError: The folder cannot be created.
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


def _print(label: Label | None, text: str) -> None:
    """Print a text line by line; control characters in it are escaped."""
    if label is not None:
        out.print(line((label, "bold")), soft_wrap=True)
    for each in text.split("\n"):
        out.print(visible(each), soft_wrap=True, markup=False)
    if label is not None:
        out.print()
