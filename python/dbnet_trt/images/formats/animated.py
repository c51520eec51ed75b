# SPDX-License-Identifier: Apache-2.0
"""GIF and WebP: canvas and frames."""

from __future__ import annotations

from ...errors import ImageError
from .header import ImageHeader, exif_orientation, unpack

MAX_BLOCKS = 200_000
"""Maximum number of blocks of a file that are walked."""

_IMAGE, _EXTENSION, _GRAPHIC_CONTROL = 0x2C, 0x21, 0xF9


def read_gif_header(data: bytes) -> ImageHeader:
    """Read the canvas, the number of frames, and whether the first leaves pixels out.

    Raises:
        ImageError: The file ends before its first frame.
    """
    width, height, flags = unpack("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    num_frames, has_alpha = 0, False
    for _ in range(MAX_BLOCKS):
        kind = data[at] if at < len(data) else None
        if kind == _IMAGE:
            left, top, columns, rows, local = unpack("<HHHHB", data, at + 1)
            if num_frames == 0:
                has_alpha |= (left, top, columns, rows) != (0, 0, width, height)
            width, height = max(width, columns), max(height, rows)
            num_frames += 1
            at += 11 + (3 << (local & 7) + 1 if local & 0x80 else 0)
        elif kind == _EXTENSION and at + 4 < len(data):
            if data[at + 1] == _GRAPHIC_CONTROL and num_frames == 0:
                has_alpha |= bool(data[at + 3] & 1)
            at += 2
        else:
            break
        while at < len(data) and data[at]:  # blocks of data, each with its length before it
            at += 1 + data[at]
        at += 1
    if num_frames == 0:
        raise ImageError("the GIF is cut off before its first frame")
    # OpenCV holds several canvases of 4 channels: 17 bytes per pixel were measured.
    return ImageHeader("GIF", width, height, has_alpha, num_frames, weight=4)


def read_webp_header(data: bytes) -> ImageHeader:
    """Read the canvas or frame, alpha, orientation, and the number of frames.

    Raises:
        ImageError: The file is cut off.
    """
    (size,) = unpack("<I", data, 4)
    if size + 8 > len(data):
        raise ImageError("the file is cut off before its end; copy or download it again")
    width, height, has_alpha, num_frames, orientation = 0, 0, False, 0, 1
    at = 12
    for _ in range(MAX_BLOCKS):
        if at + 8 > len(data):
            break
        kind, (size,) = data[at : at + 4], unpack("<I", data, at + 4)
        start = at + 8
        if kind == b"VP8X":
            flags, w0, w1, h0, h1 = unpack("<IHBHB", data, start)
            columns, rows = 1 + w0 + (w1 << 16), 1 + h0 + (h1 << 16)
            has_alpha |= bool(flags & 0x10)
        elif kind == b"VP8 ":
            columns, rows = (side & 0x3FFF for side in unpack("<HH", data, start + 6))
        elif kind == b"VP8L":
            (bits,) = unpack("<I", data, start + 1)
            columns, rows = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
            has_alpha |= bool(bits >> 28 & 1)
        elif kind == b"ANMF":
            _, _, w0, w1, h0, h1 = unpack("<IHHBHB", data, start)
            columns, rows = 1 + w0 + (w1 << 16), 1 + h0 + (h1 << 16)
            num_frames += 1
        else:
            columns, rows = 0, 0
            if kind == b"EXIF":
                block = data[start : start + size]
                orientation = exif_orientation(block.removeprefix(b"Exif\0\0"))
        width, height = max(width, columns), max(height, rows)
        at = start + size + (size & 1)
    if not width or not height:
        raise ImageError("the WebP holds no image; copy or download it again")
    return ImageHeader("WebP", width, height, has_alpha, max(1, num_frames), orientation, weight=2)
