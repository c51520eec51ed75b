# SPDX-License-Identifier: Apache-2.0
"""AVIF and JPEG 2000: sizes from their boxes and codestreams."""

from __future__ import annotations

import re

from ...errors import ImageError
from .header import ImageHeader, unpack

JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
J2K_SIGNATURE = b"\xff\x4f\xff\x51"

MAX_TILES = 65535
"""Maximum number of tiles of a JPEG 2000 image, by its standard."""

MAX_META_BYTES = 1 << 20
"""Bytes of an AVIF file that are searched for sizes."""

_ORIENTATIONS = {
    (0, None): 1, (0, 1): 2, (2, None): 3, (0, 0): 4,
    (1, 0): 5, (3, None): 6, (3, 0): 7, (1, None): 8,
    (1, 1): 7, (2, 0): 2, (2, 1): 4, (3, 1): 5,
}  # fmt: skip
"""EXIF orientation of an AVIF's turn: quarters counter-clockwise, then a flip: 0 of top and bottom,
1 of left and right."""


def is_avif(data: bytes) -> bool:
    """Whether a file declares itself AVIF."""
    return data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")


def read_avif_header(data: bytes) -> ImageHeader:
    """Read the largest size, alpha, the number of frames, and how the image is to be turned.

    Raises:
        ImageError: The file has no size.
    """
    meta = data[:MAX_META_BYTES]
    sizes = [unpack(">II", meta, box.end() + 4) for box in re.finditer(b"ispe", meta)]
    sizes += [unpack(">II", meta, box.end() + 4) for box in re.finditer(b"ImageGrid", meta)]
    if not sizes:
        raise ImageError("the AVIF has no size; copy or download it again")
    angles = [unpack(">B", meta, box.end())[0] & 3 for box in re.finditer(b"irot", meta)]
    axes = [unpack(">B", meta, box.end())[0] & 1 for box in re.finditer(b"imir", meta)]
    turn = (angles[0] if angles else 0, axes[0] if axes else None)
    counts = [unpack(">I", meta, box.end() + 8)[0] for box in re.finditer(b"stsz", meta)]
    return ImageHeader(
        "AVIF",
        max(width for width, _ in sizes),
        max(height for _, height in sizes),
        b"auxid:1" in meta or b"auxiliary:alpha" in meta,
        max(1, *counts) if counts else 1,
        _ORIENTATIONS[turn],
        weight=4,
    )


def read_jpeg2000_header(data: bytes) -> ImageHeader:
    """Read the size and the number of channels from the codestream.

    Raises:
        ImageError: There is no codestream, or its sizes contradict each other.
    """
    found = re.search(re.escape(J2K_SIGNATURE), data)
    if found is None:
        raise ImageError("the file is cut off before its end, or not a JPEG 2000 image")
    right, bottom, left, top, tile_width, tile_height, x, y, channels, depth = unpack(
        ">IIIIIIIIHB", data, found.end() + 4
    )
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not tile_width or not tile_height:
        raise ImageError("the JPEG 2000 image has a damaged header")
    num_tiles = -(-(right - x) // tile_width) * -(-(bottom - y) // tile_height)
    if num_tiles > MAX_TILES or channels > 4:
        raise ImageError(
            f"the JPEG 2000 image has {channels} channels and {num_tiles} tiles; at most 4 "
            f"channels and {MAX_TILES} tiles are read"
        )
    return ImageHeader(
        "JPEG 2000",
        width,
        height,
        channels == 4,
        bits=16 if depth & 0x7F >= 8 else 8,  # one less than the number of bits
        has_gray_alpha=channels == 2,
        weight=4,
    )
