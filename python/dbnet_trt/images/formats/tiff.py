# SPDX-License-Identifier: Apache-2.0
"""TIFF and BigTIFF: the directories of all pages."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ImageError
from .header import EXIF_ORIENTATION, ImageHeader, unpack

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

MAX_PAGES = 10_000
"""Maximum number of pages that are counted."""

MAX_SAMPLES = 16
"""Maximum number of channels per pixel; OpenCV reads up to 4."""

_WIDTH, _HEIGHT, _BITS, _SAMPLES = 256, 257, 258, 277
_PHOTOMETRIC, _TILE_WIDTH, _TILE_HEIGHT, _EXTRA, _SAMPLE_FORMAT = 262, 322, 323, 338, 339
_COLOUR = (_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA, _SAMPLE_FORMAT)
_WANTED = {*_COLOUR, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, EXIF_ORIENTATION}
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
    def count_bytes(self) -> int:
        """Size of the number of entries, in bytes."""
        return 8 if self.is_big else 2

    @property
    def entry_bytes(self) -> int:
        """Size of an entry, in bytes."""
        return 20 if self.is_big else 12


def read_header(data: bytes) -> ImageHeader:
    """Read the sizes of all pages, and alpha and orientation of the first.

    Raises:
        ImageError: A directory lies outside of the file, or they run in a circle.
    """
    layout = _Layout("<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+"))
    (at,) = unpack(layout.offset, data, 8 if layout.is_big else 4)
    pages: list[dict[int, int]] = []
    seen: set[int] = set()
    while at and len(pages) < MAX_PAGES:
        if at in seen:
            raise ImageError("the pages of the TIFF refer to each other in a circle")
        seen.add(at)
        try:
            fields, at = _read_directory(data, layout, at)
        except ImageError:
            if not pages:
                raise
            break  # of the pages that are left only the first is decoded
        pages.append(fields)
    if not pages:
        raise ImageError("the TIFF holds no image")
    first = pages[0]
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
    largest = max(pages, key=lambda page: _side(page, _WIDTH) * _side(page, _HEIGHT))
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


def _side(page: dict[int, int], tag: int) -> int:
    """Return a side of a page or of its tiles, whichever is larger: whole tiles are decoded."""
    tile = _TILE_WIDTH if tag == _WIDTH else _TILE_HEIGHT
    return max(page.get(tag, 0), page.get(tile, 0))


def _read_directory(data: bytes, layout: _Layout, at: int) -> tuple[dict[int, int], int]:
    """Read the wanted fields of a page, and the offset of the next page's directory."""
    (count,) = unpack(layout.count, data, at)
    at += layout.count_bytes
    end = at + count * layout.entry_bytes
    (following,) = unpack(layout.offset, data, end) if end < len(data) else (0,)
    fields: dict[int, int] = {}
    for entry in range(at, min(end, at + 4096 * layout.entry_bytes), layout.entry_bytes):
        tag, kind, number = unpack(f"{layout.order}HH{layout.offset[1]}", data, entry)
        if tag in _WANTED and kind in _TYPES:
            fields[tag] = _read_value(data, layout, entry, kind, number)
    return fields, following


def _read_value(data: bytes, layout: _Layout, entry: int, kind: int, number: int) -> int:
    """Read the first value of a field."""
    code, size = _TYPES[kind]
    at = entry + (12 if layout.is_big else 8)
    if number * size > (8 if layout.is_big else 4):
        (at,) = unpack(layout.offset, data, at)
    return unpack(f"{layout.order}{code}", data, at)[0]
