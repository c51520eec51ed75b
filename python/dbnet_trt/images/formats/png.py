# SPDX-License-Identifier: Apache-2.0
"""PNG: chunks, walked before libpng sees them."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import ImageError
from .header import ImageHeader, exif_orientation, unpack

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_CHUNKS = 500_000
"""Maximum number of chunks of a file; encoders write one per 8 KB or more."""

MAX_TEXTS = 16
"""Maximum number of text chunks that libpng is given. Each compressed one may unpack to 8 MB."""

MAX_DEFLATE_RATIO = 1032
"""Maximum number of bytes to which one byte of deflate unpacks."""

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_TEXTS = frozenset((b"tEXt", b"zTXt", b"iTXt"))


def read_header(data: bytes) -> ImageHeader:
    """Read size, alpha, orientation and the number of frames.

    Raises:
        ImageError: The header is cut off or contradicts itself.
    """
    width, height, depth, color = _read_ihdr(data)
    has_alpha, gray, orientation, num_frames = color in (4, 6), None, 1, 1
    for kind, start, size in _chunks(data):
        if kind == b"tRNS":
            has_alpha = True
            if color == 0 and size >= 2:
                gray = unpack(">H", data, start)[0] * (
                    255 // ((1 << depth) - 1) if depth < 8 else 1
                )
        elif kind == b"eXIf":
            orientation = exif_orientation(data[start : start + size])
        elif kind == b"acTL":
            num_frames = max(1, unpack(">I", data, start)[0])
        elif kind == b"fcTL":
            _check_frame(data, start, width, height)
        elif kind == b"IDAT" and num_frames == 1:
            break
    return ImageHeader(
        "PNG",
        width,
        height,
        has_alpha,
        num_frames,
        orientation,
        gray,
        bits=max(8, depth),
        weight=(3 if depth == 16 else 1) + has_alpha,
    )


def check(data: bytes) -> None:
    """Check that a PNG has its end and enough data for its pixels.

    Raises:
        ImageError: The end or pixels are missing.
    """
    width, height, depth, color = _read_ihdr(data)
    pixel_bytes = 0
    for kind, _, size in _chunks(data):
        pixel_bytes += size if kind == b"IDAT" else 0
        if kind == b"IEND":
            break
    else:
        raise ImageError("the file is cut off before its end; copy or download it again")
    needed = height * (1 + width * depth * _CHANNELS[color] // 8)
    if pixel_bytes * MAX_DEFLATE_RATIO < needed:
        raise ImageError(
            f"the PNG lacks most of its pixels: {pixel_bytes} bytes of them, at least "
            f"{needed // MAX_DEFLATE_RATIO} expected; copy or download it again"
        )


def without_texts(data: bytes) -> bytes:
    """Drop the text chunks where there are many: the pixels do not depend on them."""
    chunks = list(_chunks(data))
    if sum(kind in _TEXTS for kind, _, _ in chunks) <= MAX_TEXTS:
        return data
    kept = (data[at - 8 : at + size + 4] for kind, at, size in chunks if kind not in _TEXTS)
    return SIGNATURE + b"".join(kept)


def _read_ihdr(data: bytes) -> tuple[int, int, int, int]:
    """Read (width, height, bits per channel, colour type)."""
    size, kind, width, height, depth, color = unpack(">IIIIBB", data, len(SIGNATURE))
    if (size, kind) != (13, int.from_bytes(b"IHDR")) or color not in _CHANNELS or depth > 16:
        raise ImageError("the PNG has a damaged header; copy or download it again")
    return width, height, depth, color


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (kind, offset of the data, their size) of each chunk, up to the end of the image."""
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS):
        if at + 12 > len(data):
            return
        (size,) = unpack(">I", data, at)
        kind = data[at + 4 : at + 8]
        if at + 12 + size > len(data):
            if kind in (b"IDAT", b"fdAT", b"IEND"):
                return  # cut off; `check` reports it
            raise ImageError(
                f"the PNG is damaged or cut off: a chunk claims {size} bytes, "
                f"{len(data) - at - 12} are left; copy or download it again"
            )
        yield kind, at + 8, size
        if kind == b"IEND":
            return
        at += 12 + size
    raise ImageError(f"the PNG has more than {MAX_CHUNKS} chunks")


def _check_frame(data: bytes, start: int, width: int, height: int) -> None:
    _, columns, rows = unpack(">III", data, start)
    if columns > width or rows > height:
        raise ImageError(
            f"a frame of {columns}x{rows} pixels lies outside the PNG's {width}x{height}"
        )
