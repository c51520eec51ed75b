# SPDX-License-Identifier: Apache-2.0
"""TIFF and BigTIFF: the directories of all pages, and the choice of one."""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass

from ...errors import ImageError
from .header import EXIF_ORIENTATION, ImageHeader, unpack

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

MAX_PAGES = 10_000
"""Maximum number of pages that are counted."""

MAX_SAMPLES = 16
"""Maximum number of channels per pixel; OpenCV reads up to 4."""

COPY_FLAGS = 0b101
"""Bits of a page's kind that mark a smaller copy of another page, or its mask."""

_KIND, _WIDTH, _HEIGHT, _BITS, _SAMPLES = 254, 256, 257, 258, 277
_PHOTOMETRIC, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _SAMPLE_FORMAT = 262, 322, 323, 338, 339
_COLOUR = (_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _SAMPLE_FORMAT)
_WANTED = {*_COLOUR, _KIND, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, EXIF_ORIENTATION}
_UNSIGNED, _UNDEFINED = 1, 4
_TYPES = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4), 16: ("Q", 8)}


@dataclass(frozen=True)
class _Layout:
    """Sizes of fields, which differ between TIFF and BigTIFF."""

    order: str
    is_big: bool

    @property
    def count(self) -> str:
        """Format of the number of entries, for `unpack`."""
        return f"{self.order}{'Q' if self.is_big else 'H'}"

    @property
    def offset(self) -> str:
        """Format of an offset, for `unpack`."""
        return f"{self.order}{'Q' if self.is_big else 'I'}"

    @property
    def first_at(self) -> int:
        """Offset of the pointer to the first directory."""
        return 8 if self.is_big else 4

    @property
    def count_bytes(self) -> int:
        """Size of the number of entries, in bytes."""
        return 8 if self.is_big else 2

    @property
    def entry_bytes(self) -> int:
        """Size of an entry, in bytes."""
        return 20 if self.is_big else 12


@dataclass(frozen=True)
class TiffPage:
    """The directory of one page."""

    at: int
    """Offset of the directory in the file."""

    next_at: int
    """Offset of the pointer to the next page's directory."""

    fields: dict[int, int]
    """The fields that are read here, by tag; none if the directory is damaged."""

    @property
    def num_pixels(self) -> int:
        """Number of pixels that are decoded: whole tiles."""
        return _side(self.fields, _WIDTH) * _side(self.fields, _HEIGHT)


def read_header(data: bytes) -> ImageHeader:
    """Read the number of pages, the size of the largest, and alpha and orientation of the first.

    Raises:
        ImageError: The first directory lies outside of the file, or they run in a circle.
    """
    pages = find_pages(data)
    first = pages[0].fields
    samples = first.get(_SAMPLES, 1)
    if samples > MAX_SAMPLES:
        raise ImageError(f"the TIFF has {samples} channels per pixel; 1 to 4 are read")
    bits = first.get(_BITS, 1)
    if bits > 16 or first.get(_SAMPLE_FORMAT, _UNSIGNED) not in (_UNSIGNED, _UNDEFINED):
        raise ImageError(
            f"the TIFF has signed or real numbers or more than 16 bits (it says {bits}); "
            "convert it to 8 or 16 bits, unsigned"
        )
    # What OpenCV writes has no word about its fourth channel, which is alpha.
    is_alpha = first.get(_EXTRA, 2) in (1, 2) and first.get(_PHOTOMETRIC, 2) in (0, 1, 2, 3)
    largest = max(pages, key=lambda page: page.num_pixels).fields
    return ImageHeader(
        "TIFF",
        _side(largest, _WIDTH),
        _side(largest, _HEIGHT),
        samples == 4 and is_alpha,
        len(pages),
        first.get(EXIF_ORIENTATION, 1),
        bits=max(8, bits),
        has_gray_alpha=samples == 2 and is_alpha,
        weight=max(3, samples) if bits > 8 or samples == 2 else 1 + (samples == 4),
    )


def find_pages(data: bytes) -> list[TiffPage]:
    """List the pages, without smaller copies and masks of them; at least one.

    The last one has no fields if its directory is damaged: it and those after it are lost.

    Raises:
        ImageError: The first directory lies outside of the file, they run in a circle, or there are
            more than `MAX_PAGES`.
    """
    layout = _read_layout(data)
    (at,) = unpack(layout.offset, data, layout.first_at)
    pages: list[TiffPage] = []
    seen: set[int] = set()
    while at:
        if at in seen:
            raise ImageError("the pages of the TIFF refer to each other in a circle")
        if len(seen) == MAX_PAGES:
            raise ImageError(f"the TIFF has more than {MAX_PAGES} pages; split it")
        seen.add(at)
        try:
            page, following = _read_directory(data, layout, at)
        except ImageError:
            if not pages:
                raise
            page, following = TiffPage(at, len(data), {}), 0
        if not pages or not page.fields.get(_KIND, 0) & COPY_FLAGS:
            pages.append(page)
        at = following
    if not pages:
        raise ImageError("the TIFF holds no image")
    return pages


def select_page(data: mmap.mmap, page: TiffPage) -> None:
    """Make one page the only one of a file, in a private copy-on-write mapping of it."""
    layout = _read_layout(data[:4])
    struct.pack_into(layout.offset, data, layout.first_at, page.at)
    if page.next_at + struct.calcsize(layout.offset) <= len(data):
        struct.pack_into(layout.offset, data, page.next_at, 0)


def _read_layout(data: bytes) -> _Layout:
    return _Layout("<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+"))


def _side(page: dict[int, int], tag: int) -> int:
    """Return a side of a page or of its tiles, whichever is larger: whole tiles are decoded."""
    tile = _TILE_WIDTH if tag == _WIDTH else _TILE_HEIGHT
    return max(page.get(tag, 0), page.get(tile, 0))


def _read_directory(data: bytes, layout: _Layout, at: int) -> tuple[TiffPage, int]:
    """Read the wanted fields of a page, and the offset of the next page's directory."""
    start = at
    (count,) = unpack(layout.count, data, at)
    at += layout.count_bytes
    end = at + count * layout.entry_bytes
    (following,) = unpack(layout.offset, data, end) if end < len(data) else (0,)
    fields: dict[int, int] = {}
    for entry in range(at, min(end, at + 4096 * layout.entry_bytes), layout.entry_bytes):
        tag, kind, number = unpack(f"{layout.order}HH{layout.offset[1]}", data, entry)
        if tag in _WANTED and kind in _TYPES:
            fields[tag] = _read_value(data, layout, entry, kind, number)
    return TiffPage(start, end, fields), following


def _read_value(data: bytes, layout: _Layout, entry: int, kind: int, number: int) -> int:
    """Read the first value of a field."""
    code, size = _TYPES[kind]
    at = entry + (12 if layout.is_big else 8)
    if number * size > (8 if layout.is_big else 4):
        (at,) = unpack(layout.offset, data, at)
    return unpack(f"{layout.order}{code}", data, at)[0]
