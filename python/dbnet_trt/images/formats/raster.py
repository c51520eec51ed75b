# SPDX-License-Identifier: Apache-2.0
"""BMP, PNM, PFM, Radiance HDR, Sun raster and OpenEXR: plain headers before plain pixels."""

from __future__ import annotations

import re

from ...errors import ImageError
from .header import ImageHeader, check_length, unpack

SUN_SIGNATURE = b"\x59\xa6\x6a\x95"
EXR_SIGNATURE = b"\x76\x2f\x31\x01"

MAX_TEXT_HEADER_BYTES = 64 << 10
"""Bytes of PNM, PAM and HDR files that are searched for the size."""

_SPACE = rb"(?:\s|#[^\n]*\n)+"
_SIDES = _SPACE + rb"(\d{1,9})" + _SPACE + rb"(\d{1,9})"
_PNM = re.compile(rb"P([1-6Ff])" + _SIDES + rb"(?:" + _SPACE + rb"(\d{1,5}))?\s")
_PAM_FIELD = re.compile(rb"^(WIDTH|HEIGHT|DEPTH|MAXVAL)\s+(\d{1,9})", re.MULTILINE)
_HDR = re.compile(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n")


def read_bmp_header(data: bytes) -> ImageHeader:
    """Read the size; of uncompressed pixels also whether all are there.

    Raises:
        ImageError: Pixels are missing, or the header is damaged.
    """
    start, header_bytes = unpack("<II", data, 10)
    if header_bytes == 12:
        width, height, _, bits = unpack("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = unpack("<iiHHI", data, 18)
    width, height = abs(width), abs(height)
    row_bytes = (width * bits + 31) // 32 * 4
    if compression in (0, 3):  # the last row may lack its padding
        check_length(data, start + row_bytes * height - row_bytes)
    return ImageHeader("BMP", width, height, has_alpha=bits == 32)


def read_pnm_header(data: bytes) -> ImageHeader:
    """Read the size of a PBM, PGM, PPM, PFM or PAM file, and whether all pixels are there.

    Raises:
        ImageError: Pixels are missing, or the size.
    """
    text = data[:MAX_TEXT_HEADER_BYTES]
    if text.startswith(b"P7"):
        fields = {name: int(value) for name, value in _PAM_FIELD.findall(text)}
        if not {b"WIDTH", b"HEIGHT", b"DEPTH"} <= set(fields):
            raise ImageError("the PAM says no size")
        width, height = fields[b"WIDTH"], fields[b"HEIGHT"]
        if fields[b"DEPTH"] not in (1, 3, 4):
            raise ImageError(f"the PAM has {fields[b'DEPTH']} channels; 1, 3 and 4 are read")
        check_length(data, (width * height * fields[b"DEPTH"] + 7) // 8)
        return _with_white("PAM", width, height, fields.get(b"MAXVAL", 255))
    found = _PNM.match(text)
    if found is None:
        raise ImageError("the PNM has no size; copy or download it again")
    kind, width, height = found[1], int(found[2]), int(found[3])
    num_pixels = width * height
    needed = {b"1": num_pixels, b"2": 2 * num_pixels, b"3": 6 * num_pixels}
    needed |= {b"4": -(-width // 8) * height, b"5": num_pixels, b"6": 3 * num_pixels}
    needed |= {b"F": 12 * num_pixels, b"f": 4 * num_pixels}
    check_length(data, needed[kind])
    if kind in b"Ff":
        return ImageHeader("PFM", width, height, bits=32, weight=2)
    white = int(found[4]) if found[4] is not None and kind not in b"14" else 0xFF
    if kind in b"23" and 0 < white < 0xFF:  # OpenCV scales these itself
        white = 0xFF
    return _with_white("PNM", width, height, white)


def _with_white(kind: str, width: int, height: int, white: int) -> ImageHeader:
    """Describe an image that states its value of white."""
    if not 0 < white <= 0xFFFF:
        raise ImageError(f"the {kind} states {white} as white; 1 to 65535 are read")
    is_deep = white > 0xFF
    return ImageHeader(
        kind,
        width,
        height,
        has_alpha=kind == "PAM",
        bits=16 if is_deep else 8,
        max_value=None if white in (0xFF, 0xFFFF) else white,
        weight=3 if is_deep else 1,
    )


def read_hdr_header(data: bytes) -> ImageHeader:
    """Read the size of a Radiance file.

    Raises:
        ImageError: The file has no size.
    """
    found = _HDR.search(data[:MAX_TEXT_HEADER_BYTES])
    if found is None:
        raise ImageError("the HDR image has no size; copy or download it again")
    return ImageHeader("HDR", int(found[2]), int(found[1]), weight=4)


def read_sun_header(data: bytes) -> ImageHeader:
    """Read the size of a Sun raster file; of uncompressed pixels also whether all are there.

    Raises:
        ImageError: Pixels are missing, or the header is damaged.
    """
    width, height, bits, _, kind = unpack(">IIIII", data, 4)
    if kind in (0, 1):
        check_length(data, 32 + height * (width * bits // 8))
    return ImageHeader("Sun raster", width, height)


def read_exr_header(data: bytes) -> ImageHeader:
    """Read the size of an OpenEXR file.

    Raises:
        ImageError: The file has no size.
    """
    name = b"dataWindow\0box2i\0"
    at = data[:MAX_TEXT_HEADER_BYTES].find(name)
    if at < 0:
        raise ImageError("the OpenEXR image has no size; copy or download it again")
    left, top, right, bottom = unpack("<iiii", data, at + len(name) + 4)
    return ImageHeader("OpenEXR", right - left + 1, bottom - top + 1, weight=4)
