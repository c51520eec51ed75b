# SPDX-License-Identifier: Apache-2.0
"""Decode image files: the header first, then limits, then the pixels."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..files import read_up_to
from .alpha import flatten, mark_transparent_gray
from .depth import to_8_bits
from .formats import jpeg, png
from .formats.dispatch import check_whole, is_known, read_header
from .formats.header import ImageHeader

logger = logging.getLogger("dbnet_trt")

MAX_PIXELS = 178_956_970
"""Width x height of the largest image that is decoded: Pillow's limit, 512 MiB of BGR. Formats
whose decoders take more memory per pixel have a half of it (alpha, WebP, progressive JPEG, PFM), a
third (16 bits per channel) or a quarter (GIF, JPEG 2000, AVIF, HDR; 16 bits with alpha)."""

JPEG_FILL = 128
"""Gray that the decoder puts where a JPEG's data end early."""

MIN_FILLED_SHARE, MIN_FILLED_PIXELS = 0.1, 1 << 16
"""Least share and number of such gray pixels that count as missing: intact images have some."""

SIGNATURE_BYTES = 64
"""Bytes of a file that are read first, to see whether it is an image."""

HEADER_BYTES = 1 << 18
"""Bytes of a file within which most formats state their size."""

LARGE_PIXELS = 1 << 22
"""Width x height from which the pixels are decoded to where they stay."""

# For orientations 2 to 8: whether rows and columns are swapped, then the flip (as in cv2.flip).
_TURNS: dict[int, tuple[bool, int | None]] = {
    2: (False, 1),
    3: (False, -1),
    4: (False, 0),
    5: (True, None),
    6: (True, 1),
    7: (True, -1),
    8: (True, 0),
}


def decode(
    data: bytes, name: str, *, upright: bool = True, max_pixels: int = MAX_PIXELS
) -> NDArray[np.uint8]:
    """Decode the bytes of an image file.

    Args:
        data: The whole file.
        name: Its name, for messages.
        upright: Whether to follow the EXIF orientation; otherwise pixels come as stored. (TIFF is
            turned in either case, by its decoder.)
        max_pixels: Limit on width x height, checked before anything is decoded.

    Returns:
        (H, W, 3) uint8, BGR; transparent pixels on a ground that contrasts with the others.

    Raises:
        ImageError: The file is cut off, damaged, too large, or of a kind that is not read.
    """
    header = _read_header(data, name, max_pixels)
    _check_whole(data, name, header)
    if header.num_pages > 1:
        logger.warning(
            "%s has %d pages or frames; only the first is read, %d are left out: read_pages "
            "gives them all",
            name,
            header.num_pages,
            header.num_pages - 1,
        )
    if header.kind == "PNG":
        data = png.without_texts(data)
    elif header.kind == "PNM":
        data += b"\n"  # OpenCV does not read the last number of one in text without
    if header.has_alpha:
        try:
            return _decode_with_alpha(data, name, header, upright)
        except MemoryError:
            raise ImageError(f"{name}: there is not enough memory for its pixels") from None
    if header.has_gray_alpha:
        return _decode_gray_alpha(data, name, header, upright)
    pixels = _decode(data, name, header, _flags(upright, header))
    try:
        image = to_8_bits(pixels, name, header.max_value)
    except MemoryError:
        raise ImageError(f"{name}: there is not enough memory for its pixels") from None
    if header.kind == "AVIF" and upright:  # OpenCV leaves it as stored
        return _turn(image, header.orientation)
    if header.kind == "JPEG":
        share = _filled_share(image, header.orientation if upright else 1)
        if share > MIN_FILLED_SHARE and not jpeg.ends_in_pattern(data):
            raise ImageError(
                f"{name}: the JPEG lacks {share:.0%} of its pixels, its data end early; copy or "
                "download it again"
            )
    return image


def check_file(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Check an image file without decoding it, and return its header.

    Finds files that are missing, cut off, too large, or of a kind that is not read; damage among
    the compressed pixels shows only when they are decoded.

    Raises:
        ImageError: The file is one of these.
    """
    data = read_file(path, max_pixels)
    header = _read_header(data, str(path), max_pixels)
    _check_whole(data, str(path), header)
    return header


def read_file_header(path: str | os.PathLike[str]) -> ImageHeader:
    """Read the header of an image file, in most formats without the rest of the file.

    Raises:
        ImageError: The file is missing, no image, or one that is not read.
    """
    try:
        return _read_header(read_file(path, num_bytes=HEADER_BYTES), str(path), MAX_PIXELS)
    except ImageError:  # the size may lie further back
        return _read_header(read_file(path), str(path), MAX_PIXELS)


def read_file(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, num_bytes: int | None = None
) -> bytes:
    """Read a file, or its first bytes, after checking that it begins like an image.

    Args:
        path: The file.
        max_pixels: Limit on width x height, which bounds the size of the file.
        num_bytes: Number of bytes to read; the whole file if left out.

    Raises:
        ImageError: The file is not an image, cannot be read, or is larger than an image of
            `max_pixels` can be.
    """
    max_bytes = 8 * max_pixels + (64 << 20)  # four channels of 16 bits, and metadata
    try:
        with Path(path).open("rb") as file:
            data = file.read(SIGNATURE_BYTES)
            if data and not is_known(data):
                raise ImageError(f"{path}: {describe_other(data)}")
            data += read_up_to(file, (num_bytes or max_bytes + 1) - len(data))
    except FileNotFoundError:
        raise ImageError(f"there is no file {path}") from None
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{_shown(path)} cannot be read: {reason}") from error
    if len(data) > max_bytes:
        raise ImageError(
            f"{path} has more than {max_bytes} bytes, too many for an image; raise max_pixels "
            "(--max-pixels) if it is one"
        )
    return data


def read_start(path: str | os.PathLike[str]) -> bytes:
    """Read the first bytes of a file; none if they cannot be read, which is reported later."""
    try:
        with Path(path).open("rb") as file:
            return file.read(SIGNATURE_BYTES)
    except (OSError, ValueError):
        return b""


def describe_other(data: bytes) -> str:
    """Describe a file that OpenCV does not read, and what to do with it."""
    if data.startswith(b"%PDF"):
        return "a PDF, which has pages; read_pages gives them as images, `dbnet detect` takes it"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"mif1", b"msf1"):
        return "HEIC, which OpenCV does not read; open it with pillow-heif and give the PIL image"
    return (
        "not an image, or one of a kind that OpenCV does not read "
        "(JPEG, PNG, WebP, BMP and TIFF of 8 or 16 bits are read)"
    )


def _filled_share(image: NDArray[np.uint8], orientation: int) -> float:
    """Measure the share of a JPEG, from its last row, that the decoder filled with gray.

    Args:
        image: (H, W, 3) uint8, turned as `orientation` says.
        orientation: EXIF orientation; 1 for pixels as stored.

    Returns:
        In [0, 1]; 0 where the area is too small to tell.
    """
    is_swapped, flip = _TURNS.get(orientation, (False, None))
    stored = image[::-1] if flip in (0, -1) else image
    stored = stored[:, ::-1] if flip in (1, -1) else stored
    stored = stored.swapaxes(0, 1) if is_swapped else stored
    count = 0
    while count < len(stored) and (stored[-1 - count] == JPEG_FILL).all():
        count += 1
    is_large = count * stored.shape[1] >= MIN_FILLED_PIXELS
    return count / len(stored) if is_large else 0.0


def check_num_pixels(width: int, height: int, name: str, max_pixels: int, weight: int = 1) -> None:
    """Check an image's size against the limit.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        name: Name of the image, for the message.
        max_pixels: Limit on width x height.
        weight: Memory that decoding takes per pixel, relative to a plain JPEG or PNG.

    Raises:
        ImageError: The image has more pixels than max_pixels / weight.
    """
    limit = max_pixels // weight
    if width * height > limit:
        raise ImageError(
            f"{name}: {width}x{height} are too many pixels, at most {limit} are decoded; "
            "raise max_pixels (--max-pixels) if you trust the file"
        )


def _read_header(data: bytes, name: str, max_pixels: int) -> ImageHeader:
    if not data:
        raise ImageError(f"{name}: the file is empty")
    try:
        header = read_header(data)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None
    if header is None:
        raise ImageError(f"{name}: {describe_other(data)}")
    check_num_pixels(header.width, header.height, name, max_pixels, header.weight)
    return header


def _check_whole(data: bytes, name: str, header: ImageHeader) -> None:
    try:
        check_whole(data, header)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from None


def _decode(data: bytes, name: str, header: ImageHeader, flags: int) -> NDArray[Any]:
    import cv2

    is_large = header.width * header.height >= LARGE_PIXELS
    try:
        image = _decode_in_place(data, flags) if is_large else None
        if image is None:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        reason = str(error)
        if "MAX_IMAGE" in reason:
            reason = "OpenCV has a limit of its own; set OPENCV_IO_MAX_IMAGE_PIXELS to raise it"
        raise ImageError(f"{name}: the image cannot be decoded: {reason}") from error
    if image is None:
        raise ImageError(f"{name}: the image cannot be decoded; it is damaged or cut off")
    return np.asarray(image)


def _decode_in_place(data: bytes, flags: int) -> NDArray[Any] | None:
    """Decode by `imread`, which writes to an array; `imdecode` holds the pixels twice at its end.

    Returns:
        The image; None where the system has no files in memory (all but Linux), and for what
        OpenCV does not read, of which `imdecode` tells more.
    """
    import cv2

    if not hasattr(os, "memfd_create"):
        return None
    try:
        with open(os.memfd_create("image"), "wb") as file:
            file.write(data)
            file.flush()
            image = cv2.imread(f"/proc/self/fd/{file.fileno()}", np.empty(0, np.uint8), flags)
    except (OSError, TypeError, cv2.error):  # TypeError: OpenCV 4.10 takes no array
        return None
    return np.asarray(image) if image is not None and image.size else None


def _decode_with_alpha(data: bytes, name: str, header: ImageHeader, upright: bool) -> NDArray[Any]:
    """Decode an image that may have transparent pixels; an opaque one is decoded by `_decode`."""
    import cv2

    image = _decode(data, name, header, cv2.IMREAD_UNCHANGED)
    if header.transparent_gray is not None and image.ndim == 2:
        image = mark_transparent_gray(image, header.transparent_gray)
    if image.ndim == 3 and image.shape[2] == 4:
        if image.dtype == np.uint16:
            image = (image >> 8).astype(np.uint8)
        alpha = image[:, :, 3]
        if image.dtype == np.uint8 and alpha.min() != alpha.max():
            flat = flatten(image)
            is_turned = header.kind == "TIFF"  # by the decoder
            return _turn(flat, header.orientation) if upright and not is_turned else flat
    del image
    pixels = _decode(data, name, header, _flags(upright, header))
    return to_8_bits(pixels, name, header.max_value)


def _decode_gray_alpha(
    data: bytes, name: str, header: ImageHeader, upright: bool
) -> NDArray[np.uint8]:
    """Decode gray with alpha in a format of which OpenCV drops the alpha, by Pillow."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise ImageError(
            f"{name}: a {header.kind} of gray with alpha, which OpenCV does not read; "
            "`pip install pillow`, or save it as PNG"
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            pixels = np.asarray(opened.convert("LA"))
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        raise ImageError(
            f"{name}: a {header.kind} of gray with alpha, which cannot be decoded ({error}); save "
            "it as PNG"
        ) from error
    flat = np.ascontiguousarray(flatten(pixels[:, :, [0, 0, 0, 1]]))
    # As OpenCV does, a TIFF is turned in either case.
    return _turn(flat, header.orientation) if upright or header.kind == "TIFF" else flat


def _flags(upright: bool, header: ImageHeader) -> int:
    import cv2

    flags = cv2.IMREAD_COLOR if upright else cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    return flags | cv2.IMREAD_ANYDEPTH if header.bits > 8 else flags


def _turn(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Rotate or flip an image according to its EXIF orientation."""
    import cv2

    if orientation not in _TURNS:
        return image
    is_swapped, flip = _TURNS[orientation]
    turned = cv2.transpose(image) if is_swapped else image
    return np.asarray(turned if flip is None else cv2.flip(turned, flip), np.uint8)


def _shown(path: str | os.PathLike[str]) -> str:
    """Return a path for a message, with NUL characters escaped."""
    return str(path).replace("\0", "\\0")
