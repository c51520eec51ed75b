# SPDX-License-Identifier: Apache-2.0
"""Read the header of an image file of any format that OpenCV decodes."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import ImageError
from . import jpeg, png, tiff
from .animated import read_gif_header, read_webp_header
from .boxes import J2K_SIGNATURE, JP2_SIGNATURE, is_avif, read_avif_header, read_jpeg2000_header
from .header import ImageHeader
from .raster import (
    EXR_SIGNATURE,
    SUN_SIGNATURE,
    read_bmp_header,
    read_exr_header,
    read_hdr_header,
    read_pnm_header,
    read_sun_header,
)

_READERS: tuple[tuple[tuple[bytes, ...], Callable[[bytes], ImageHeader]], ...] = (
    ((b"\xff\xd8\xff",), jpeg.read_header),
    ((png.SIGNATURE,), png.read_header),
    (tiff.SIGNATURES, tiff.read_header),
    ((b"GIF87a", b"GIF89a"), read_gif_header),
    ((b"BM",), read_bmp_header),
    ((JP2_SIGNATURE, J2K_SIGNATURE), read_jpeg2000_header),
    (tuple(f"P{kind}".encode() for kind in "1234567Ff"), read_pnm_header),
    ((b"#?RGBE", b"#?RADIANCE"), read_hdr_header),
    ((SUN_SIGNATURE,), read_sun_header),
    ((EXR_SIGNATURE,), read_exr_header),
)
"""Readers by the first bytes of a file."""


def read_header(data: bytes) -> ImageHeader | None:
    """Read the header of an image file; None where OpenCV decodes no such format.

    Args:
        data: The whole file: TIFF and WebP have fields at the end.

    Raises:
        ImageError: The file is cut off or contradicts itself.
    """
    reader = _find_reader(data)
    if reader is None:
        return None
    header = reader(data)
    if header.width < 1 or header.height < 1:
        raise ImageError(
            f"the {header.kind} states a size of {header.width}x{header.height}; it is damaged"
        )
    return header


def is_known(start: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a format that is read."""
    return _find_reader(start) is not None


def check_whole(data: bytes, header: ImageHeader) -> None:
    """Check that the file holds all its pixels, as far as that can be seen without decoding.

    Raises:
        ImageError: The file is cut off or damaged.
    """
    if header.kind == "JPEG":
        jpeg.check(data)
    elif header.kind == "PNG":
        png.check(data)


def _find_reader(data: bytes) -> Callable[[bytes], ImageHeader] | None:
    start = data[:16]
    for signatures, reader in _READERS:
        if start.startswith(signatures):
            return reader
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return read_webp_header
    return read_avif_header if is_avif(start) else None
