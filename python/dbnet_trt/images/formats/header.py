# SPDX-License-Identifier: Apache-2.0
"""The header of an image file, the type that every format's module returns."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...errors import ImageError

EXIF_ORIENTATION = 0x0112
EXIF_LYING = range(5, 9)
"""Orientations in which height and width are swapped."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Facts from the header of an image file."""

    kind: str
    """Name of the format, for messages."""

    width: int
    """Columns as stored; the largest of all pages and frames."""

    height: int
    """Rows as stored; the largest of all pages and frames."""

    has_alpha: bool = False
    """Whether pixels may be transparent."""

    num_pages: int = 1
    """Number of pages or frames."""

    orientation: int = 1
    """EXIF orientation, 1 to 8; 1 is upright."""

    transparent_gray: int | None = None
    """Gray value of a PNG that means transparent, in the 8 or 16 bits of the decoded image."""

    bits: int = 8
    """Bits per channel of the decoded image: 8, 16 or, for floats, 32."""

    max_value: int | None = None
    """Value of white, where the file declares one that is not the largest."""

    has_gray_alpha: bool = False
    """Whether the pixels are gray with alpha, of which OpenCV drops the alpha."""

    weight: int = 1
    """Memory that decoding takes per pixel, relative to a plain JPEG or PNG."""

    @property
    def num_pixels(self) -> int:
        """Number of pixels of the largest page."""
        return self.width * self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) after the EXIF orientation is applied."""
        lies = self.orientation in EXIF_LYING
        return (self.width, self.height) if lies else (self.height, self.width)


def unpack(layout: str, data: bytes, at: int) -> tuple[int, ...]:
    """Unpack integers at an offset.

    Args:
        layout: Format string of `struct`.
        data: The bytes to read from.
        at: Offset in bytes.

    Raises:
        ImageError: The data end before the last integer.
    """
    size = struct.calcsize(layout)
    piece = data[at : at + size] if 0 <= at <= len(data) else b""
    if len(piece) < size:
        raise ImageError("the file is cut off before its end; copy or download it again")
    return struct.unpack(layout, piece)


def check_length(data: bytes, needed: int) -> None:
    """Check that an uncompressed file holds its pixels.

    Raises:
        ImageError: It is shorter than `needed` bytes.
    """
    if len(data) < needed:
        raise ImageError(
            f"the file is cut off: its pixels need {needed} bytes, it has {len(data)}; "
            "copy or download it again"
        )


def exif_orientation(block: bytes) -> int:
    """Read the orientation from an EXIF block, which begins with a TIFF header; 1 if absent."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (at,) = unpack(f"{order}I", block, 4)
        (count,) = unpack(f"{order}H", block, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, _, _, value, _ = unpack(f"{order}HHIHH", block, entry)
            if tag == EXIF_ORIENTATION:
                return value if 1 <= value <= 8 else 1
    except ImageError:  # pixels do not depend on it
        return 1
    return 1
