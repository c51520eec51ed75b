# SPDX-License-Identifier: Apache-2.0
"""JPEG: segments, scans, and whether the compressed data can hold the pixels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...errors import ImageError
from .header import ImageHeader, exif_orientation, unpack

MAX_SCANS = 100
"""Maximum number of scans of a progressive JPEG; encoders write about ten. Each costs a pass over
all pixels."""

# 0xff and a kind; inside of pixels 0xff is followed by 0 or, between them, by 0xd0 to 0xd7.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES = frozenset((0xC0, 0xC1, 0xC2))
_END, _SCAN, _RESTART_INTERVAL, _APP1 = 0xD9, 0xDA, 0xDD, 0xE1

BLOCK = 8
"""Side of the blocks of a JPEG, in pixels."""

PATTERN_BYTES = 130
MAX_PERIOD = 64
"""Bytes at the end of a scan that are looked at, and their longest period."""

MIN_SHARE = 0.9
"""Share of the fewest possible bits below which pixels are missing for certain."""


@dataclass
class _Frame:
    """Size and components of a JPEG."""

    kind: int
    width: int
    height: int
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)

    def num_blocks(self, component: int) -> int:
        """Number of 8x8 blocks of a component."""
        across, down = self.sampling.get(component, (0, 0))
        most_across = max(h for h, _ in self.sampling.values())
        most_down = max(v for _, v in self.sampling.values())
        columns = -(-self.width * across // (most_across * BLOCK))
        rows = -(-self.height * down // (most_down * BLOCK))
        return columns * rows


def read_header(data: bytes) -> ImageHeader:
    """Read the size and the orientation.

    Raises:
        ImageError: The file ends before the header with its size.
    """
    orientation: int | None = None
    for kind, at in _segments(data):
        if kind == _APP1 and orientation is None and data[at + 2 : at + 8] == b"Exif\0\0":
            (length,) = unpack(">H", data, at)
            orientation = exif_orientation(data[at + 8 : at + length])
        if kind in _FRAMES:
            frame = _read_frame(data, kind, at)
            # Progressive files hold all coefficients in memory, 6 bytes per pixel.
            weight = 1 if kind in (0xC0, 0xC1) else 2
            return ImageHeader(
                "JPEG", frame.width, frame.height, orientation=orientation or 1, weight=weight
            )
        if kind == _SCAN:
            break
    raise ImageError("not an image, or a JPEG that is cut off before its size")


def check(data: bytes) -> None:
    """Check that a JPEG has its end, few scans, and enough data for its pixels.

    Raises:
        ImageError: The end or pixels are missing, or there are too many scans.
    """
    frame: _Frame | None = None
    num_scans, num_bits, min_bits, interval = 0, 0, 0, 0
    for kind, at in _segments(data):
        if kind in _FRAMES:
            frame = _read_frame(data, kind, at)
        elif kind == _RESTART_INTERVAL:
            (interval,) = unpack(">H", data, at + 2)
        elif kind == _SCAN and frame is not None:
            num_scans += 1
            if num_scans > MAX_SCANS:
                raise ImageError(
                    f"the JPEG has more than {MAX_SCANS} scans, which no encoder writes; "
                    "it is built to take time"
                )
            start, end = _scan_extent(data, at)
            num_bits += 8 * (end - start)
            min_bits += _min_scan_bits(data, at, frame)
            if num_scans == 1 and interval:
                _check_restarts(data, start, end, interval, frame)
        elif kind == _END:
            break
    else:
        raise ImageError("the file is cut off before its end; copy or download it again")
    if num_bits < MIN_SHARE * min_bits:
        raise ImageError(
            f"the JPEG lacks most of its pixels: {num_bits // 8} bytes of them, "
            f"at least {min_bits // 8} expected; copy or download it again"
        )


def ends_in_pattern(data: bytes) -> bool:
    """Whether the data of the first scan end in the same few bits, repeated.

    Flat areas are coded so: 12 to 32 bits for each 16x16 pixels, mostly. True as well where that
    is not known, with restart markers and in scans of a few bytes.

    Args:
        data: A whole JPEG.
    """
    for kind, at in _segments(data):
        if kind == _RESTART_INTERVAL:
            return True
        if kind == _SCAN:
            start, end = _scan_extent(data, at)
            tail = data[max(start, end - PATTERN_BYTES) : end - 2]  # but for the padding
            periods = range(1, MAX_PERIOD + 1)
            short = len(tail) < PATTERN_BYTES - 2
            return short or any(tail[period:] == tail[:-period] for period in periods)
    return True


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (kind, offset of the length) of each marker, skipping the pixels between them."""
    at = 2
    while marker := _MARKER.search(data, at):
        kind = marker[0][-1]
        yield kind, marker.end()
        # A segment states its length; the pixels after it (kind 0xDA) run to the next marker.
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])


def _read_frame(data: bytes, kind: int, at: int) -> _Frame:
    _, _, height, width, count = unpack(">HBHHB", data, at)
    frame = _Frame(kind, width, height)
    for i in range(count):
        name, factors, _ = unpack(">BBB", data, at + 8 + 3 * i)
        frame.sampling[name] = (factors >> 4 or 1, factors & 15 or 1)
    return frame


def _scan_extent(data: bytes, at: int) -> tuple[int, int]:
    """Find the offsets at which the compressed pixels of a scan begin and end."""
    start = at + int.from_bytes(data[at : at + 2])
    following = _MARKER.search(data, start)
    return start, following.start() if following else len(data)


def _min_scan_bits(data: bytes, at: int, frame: _Frame) -> int:
    """Compute the fewest bits of a scan: two codes per block, or one for first coefficients."""
    if frame.kind not in _HUFFMAN_FRAMES:
        return 0
    (count,) = unpack(">B", data, at + 2)
    names = [unpack(">B", data, at + 3 + 2 * i)[0] for i in range(count)]
    first, _, _ = unpack(">BBB", data, at + 3 + 2 * count)
    if first > 0:  # later scans of a progressive file may skip blocks by thousands
        return 0
    return (1 if frame.kind == 0xC2 else 2) * sum(map(frame.num_blocks, names))


def _check_restarts(data: bytes, start: int, end: int, interval: int, frame: _Frame) -> None:
    """Count the restart markers of the first scan: most of them must be there."""
    if len(frame.sampling) < 2 or frame.kind not in _HUFFMAN_FRAMES:
        return  # what an interval counts differs where components come one by one
    across = max(h for h, _ in frame.sampling.values()) * BLOCK
    down = max(v for _, v in frame.sampling.values()) * BLOCK
    num_units = -(-frame.width // across) * -(-frame.height // down)
    expected = -(-num_units // interval) - 1
    found = sum(1 for _ in _RESTART.finditer(data, start, end))
    if found < expected / 2:
        raise ImageError(
            f"the JPEG lacks most of its pixels: {found} of {expected} restart markers are there; "
            "copy or download it again"
        )
