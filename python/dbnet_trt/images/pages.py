# SPDX-License-Identifier: Apache-2.0
"""Read the pages of PDF and TIFF files, and the frames of GIF, WebP, PNG and AVIF files."""

from __future__ import annotations

import mmap
import os
import re
import sys
import threading
from collections.abc import Container, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .decode import MAX_PIXELS, check_file, decode, read_file, read_file_header, read_start
from .formats import tiff
from .formats.header import ImageHeader
from .load import Image, load_image
from .pdf import SIGNATURE as PDF_SIGNATURE
from .pdf import PdfPages

DPI = 200
"""Default resolution at which pages of a PDF are drawn: scans have 150 to 300."""

MAX_DPI = 2400
"""Largest resolution; a letter's page then has 500 million pixels."""

CHUNK_BYTES = 32 << 20
"""Size of the frames of an animation that are decoded together: each time, those before are
decoded again, as each frame is drawn on the one before."""

MANY = sys.maxsize - 1
"""The end of an open range of pages."""

PageNumbers = Container[int] | str | None


class Page(NamedTuple):
    """One page of a file."""

    image: Image
    """(H, W, 3) uint8 BGR."""

    number: int
    """Number of the page or frame, from 1."""

    path: str
    """Path of the file."""


class Pages(Protocol):
    """The pages of one file, of which none is in memory. Threads may share it."""

    path: str
    num_pages: int
    has_numbers: bool
    """Whether the pages are told apart by numbers; an ordinary image has one page without."""
    is_sequence: bool
    """Whether no page can be read behind one that is damaged."""

    def num_bytes(self, number: int) -> int:
        """Return the size of a page in memory, about.

        Raises:
            ImageError: The page is damaged.
        """

    def read(self, number: int) -> Image:
        """Read the page with a number, from 1.

        Raises:
            ImageError: The page is damaged.
        """


def read_pages(
    path: str | os.PathLike[str],
    *,
    dpi: int = DPI,
    pages: PageNumbers = None,
    max_pixels: int = MAX_PIXELS,
) -> Iterator[Page]:
    """Read the pages of a file one after the other; the next one is decoded meanwhile.

    >>> for image, number, path in read_pages("scan.pdf", pages="3-7"):
    ...     print(number, detector.detect(image))

    Args:
        path: PDF (with the extra `pdf`) or TIFF; animated GIF, WebP, PNG or AVIF; or any other
            image file, which has one page.
        dpi: Resolution at which pages of a PDF are drawn, in pixels per inch, 1 to 2400.
        pages: Numbers of the pages, from 1, as in "3-7", "1,4,9-" or range(3, 8); all if left out.
        max_pixels: Limit on width x height. PDF pages that have more at `dpi` are drawn smaller,
            and a warning says so; other files are refused.

    Returns:
        Iterator of `Page`, in the order of the file. At most two pages are in memory at a time.

    Raises:
        ImageError: The file is missing, damaged, encrypted or too large, or has none of the pages;
            or a page is damaged, which is raised in its turn.
        ValueError: An argument is out of range.
    """
    opened = open_pages(path, dpi=dpi, max_pixels=max_pixels)
    return _read_ahead(opened, choose_pages(opened, pages))


def _read_ahead(pages: Pages, numbers: list[int]) -> Iterator[Page]:
    with ThreadPoolExecutor(1, "dbnet-pages") as pool:
        ahead: Future[Image] = pool.submit(pages.read, numbers[0])
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            image = ahead.result()
            if following is not None:
                ahead = pool.submit(pages.read, following)
            yield Page(image, number, pages.path)


def open_pages(
    path: str | os.PathLike[str], *, dpi: int = DPI, max_pixels: int = MAX_PIXELS
) -> Pages:
    """Find out how many pages a file has, as in `read_pages`.

    Raises:
        ImageError: The file is missing, damaged, encrypted or too large.
        ValueError: `dpi` is out of range.
    """
    check_dpi(dpi)
    path = os.fspath(path)
    start = read_start(path)
    if start.startswith(PDF_SIGNATURE):
        return PdfPages(path, int(dpi), max_pixels)
    if start.startswith(tiff.SIGNATURES):
        return _TiffPages(path, max_pixels)
    if start.startswith(b"\xff\xd8\xff"):  # a JPEG, the most frequent: it has one page
        return _OneImage(path, max_pixels)
    header = read_file_header(path)
    if header.num_pages == 1:
        return _OneImage(path, max_pixels)
    check_file(path, max_pixels=max_pixels)
    return _Frames(path, header)


def check_dpi(dpi: object) -> None:
    """Check that a resolution is a whole number in its range.

    Raises:
        ValueError: It is not.
    """
    is_whole = isinstance(dpi, (int, np.integer)) and not isinstance(dpi, bool)
    if not is_whole or not 1 <= int(dpi) <= MAX_DPI:  # type: ignore[call-overload]
        raise ValueError(f"dpi must be a whole number between 1 and {MAX_DPI}, got {dpi!r}")


def choose_pages(pages: Pages, wanted: PageNumbers) -> list[int]:
    """List the numbers of the pages that are wanted.

    Raises:
        ImageError: The file has none of them.
        ValueError: `wanted` cannot be understood.
        TypeError: It is of another type.
    """
    if wanted is not None and not hasattr(wanted, "__contains__"):
        raise TypeError(
            f'pages must be text as in "3-7", or numbers as in range(3, 8) or [3], got {wanted!r}'
        )
    chosen = parse_pages(wanted) if isinstance(wanted, str) else wanted
    every = range(1, pages.num_pages + 1)
    numbers = [number for number in every if chosen is None or number in chosen]
    if not numbers:
        count = f"{pages.num_pages} pages" if pages.num_pages > 1 else "one page"
        raise ImageError(f"{pages.path} has {count}, none of which is in {chosen}")
    return numbers


def parse_pages(text: str) -> Container[int]:
    """Parse numbers of pages, as in "3-7" or "1,4,9-": single pages and ranges, from 1.

    Raises:
        ValueError: The text is something else.
    """
    ranges = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,9})(?:(-)(\d{1,9})?)?", part.strip())
        first, dash, last = found.groups() if found else ("0", None, None)
        end = int(last or (MANY if dash else first))
        if not 1 <= int(first) <= end:
            raise ValueError(
                f'pages must be numbers from 1 and ranges, as in "1,4,9-", got "{text}"'
            )
        ranges.append(range(int(first), end + 1))
    return _Union(ranges)


class _Union(Container[int]):
    """The numbers of several ranges."""

    def __init__(self, ranges: list[range]) -> None:
        self._ranges = ranges

    def __str__(self) -> str:
        ends = ((each.start, each.stop - 1) for each in self._ranges)
        return ",".join(
            str(first) if first == last else f"{first}-{'' if last == MANY else last}"
            for first, last in ends
        )

    def __contains__(self, number: object) -> bool:
        return any(number in each for each in self._ranges)


class _OneImage:
    """An image file of one page."""

    num_pages = 1
    has_numbers = False
    is_sequence = False

    def __init__(self, path: str, max_pixels: int) -> None:
        self.path, self._max_pixels = path, max_pixels

    def num_bytes(self, number: int) -> int:
        return 3 * read_file_header(self.path).num_pixels

    def read(self, number: int) -> Image:
        return load_image(self.path, max_pixels=self._max_pixels)


class _TiffPages:
    """The pages of a TIFF, each read from a mapping of the file in which it is the only one."""

    is_sequence = False

    def __init__(self, path: str, max_pixels: int) -> None:
        self.path, self._max_pixels = path, max_pixels
        try:
            self._pages = tiff.find_pages(cast("bytes", self._map()))
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from None
        self.num_pages = len(self._pages)
        self.has_numbers = self.num_pages > 1

    def num_bytes(self, number: int) -> int:
        return 3 * self._pages[number - 1].num_pixels

    def read(self, number: int) -> Image:
        mapped = self._map()
        tiff.select_page(mapped, self._pages[number - 1])
        name = f"{self.path} page {number}" if self.has_numbers else self.path
        # A mapping is sliced and read by NumPy as bytes are. It is freed with the last such view.
        return decode(cast("bytes", mapped), name, max_pixels=self._max_pixels)

    def _map(self) -> mmap.mmap:
        try:
            with Path(self.path).open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:  # ValueError: the file is empty now
            raise ImageError(f"{self.path} cannot be read: {error}") from error


class _Frames:
    """The frames of an animation, decoded some at a time."""

    has_numbers = True
    is_sequence = True

    def __init__(self, path: str, header: ImageHeader) -> None:
        self.path, self.num_pages = path, header.num_pages
        self._bytes_per_frame = 4 * header.num_pixels
        self._per_chunk = max(1, CHUNK_BYTES // self._bytes_per_frame)
        self._first, self._chunk = 0, list[NDArray[np.uint8]]()
        self._lock = threading.Lock()

    def num_bytes(self, number: int) -> int:
        return self._bytes_per_frame

    def read(self, number: int) -> Image:
        first = (number - 1) // self._per_chunk * self._per_chunk + 1
        with self._lock:
            if self._first != first:
                self._chunk = []  # free it before the next one is decoded
                self._first, self._chunk = first, self._decode(first)
            if number - first >= len(self._chunk):
                raise ImageError(
                    f"{self.path} ends before frame {number} of {self.num_pages}: it is damaged or "
                    "cut off"
                )
            frame = self._chunk[number - first]
        return load_image(frame)

    def _decode(self, first: int) -> list[NDArray[np.uint8]]:
        import cv2

        if not hasattr(cv2, "imdecodeanimation"):
            raise ImageError(
                f"{self.path} has {self.num_pages} frames, which OpenCV reads from version 4.12; "
                "pip install --upgrade opencv-python-headless"
            )
        data = np.frombuffer(read_file(self.path), np.uint8)
        try:
            done, animation = cv2.imdecodeanimation(data, first - 1, self._per_chunk)
        except cv2.error as error:
            raise ImageError(f"{self.path}: frame {first} cannot be decoded: {error}") from error
        return [np.asarray(frame, np.uint8) for frame in animation.frames] if done else []
