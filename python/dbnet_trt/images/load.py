# SPDX-License-Identifier: Apache-2.0
"""Load images as BGR uint8 from files, bytes, arrays, PIL images and folders."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from ..files import write_atomically
from .alpha import flatten
from .decode import MAX_PIXELS, check_num_pixels, decode, read_file, read_file_header
from .depth import to_8_bits
from .gpu_memory import is_on_device
from .nv12 import Nv12Frame, read_nv12

logger = logging.getLogger("dbnet_trt")

Image: TypeAlias = NDArray[np.uint8]
ImageSource: TypeAlias = Image | str | os.PathLike[str] | bytes | bytearray | memoryview | Any

JPEG_SUFFIXES = frozenset((".jpg", ".jpeg"))
WRITTEN_SUFFIXES = JPEG_SUFFIXES | {".png", ".webp", ".bmp", ".tif", ".tiff"}
READ_SUFFIXES = WRITTEN_SUFFIXES | {".jpe", ".jfif", ".ppm", ".pgm", ".jp2", ".gif", ".avif"}
"""Suffixes of image files that OpenCV reads."""

IMAGE_SUFFIXES = READ_SUFFIXES | {".heic", ".heif", ".jxl", ".pdf"}
"""Suffixes of files that are taken for images in a folder; unreadable ones are reported."""

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"))


def load_image(source: ImageSource, *, upright: bool = True, max_pixels: int = MAX_PIXELS) -> Image:
    """Load an image as (H, W, 3) uint8 BGR.

    Transparent pixels are laid on a gray that contrasts with the visible ones, where alpha varies;
    otherwise alpha is dropped. Files of 16 bits are brought to 8; a warning names those that use 9
    to 12 bits only, which are brightened.

    Args:
        source: An array (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8; the path of a
            file or its bytes; a PIL image; or an `Nv12Frame`. An array that is BGR already is not
            copied.
        upright: Whether to turn files and PIL images as their EXIF orientation says; otherwise
            pixels come as stored.
        max_pixels: Limit on width x height of files and PIL images; it is checked before anything
            is decoded. Formats whose decoders take more memory have a part of it, see
            `decode.MAX_PIXELS`.

    Raises:
        ImageError: The file is missing, damaged or too large, or the array is not an image.
        TypeError: The source is none of these.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Nv12Frame):
        if is_on_device(source):
            raise ImageError(
                "the frame is in GPU memory and is needed in main memory, to draw or to read it; "
                "read the video without gpu=…"
            )
        return read_nv12(source).to_bgr()
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = "the bytes given"
        return decode(bytes(source), name, upright=upright, max_pixels=max_pixels)
    if isinstance(source, str) and re.match(r"\w+://", source):
        raise ImageError(f"{source} is not on this machine; download it and give its bytes")
    if isinstance(source, (str, os.PathLike)):
        data = read_file(source, max_pixels)
        return decode(data, str(source), upright=upright, max_pixels=max_pixels)
    if any(kind.__module__.startswith("PIL.") for kind in type(source).__mro__):
        return _from_pil(source, upright, max_pixels)
    hint = "; detect_batch takes many" if isinstance(source, (list, tuple)) else ""
    if hasattr(source, "getvalue"):
        hint = "; give its getvalue()"
    raise TypeError(
        "an image must be a NumPy array, a path, the bytes of a file, a PIL image, or an "
        f"Nv12Frame, got {type(source).__name__}{hint}"
    )


def image_size(path: str | os.PathLike[str], *, upright: bool = False) -> tuple[int, int]:
    """Read (height, width) of an image file from its header, as stored or as EXIF turns it.

    It is the size of the image that `load_image` with the same `upright` returns.

    Raises:
        ImageError: The file is missing, no image, or one that is not read.
    """
    header = read_file_header(path)
    # A TIFF is turned by its decoder in either case.
    is_turned = upright or header.kind == "TIFF"
    return header.upright_size if is_turned else (header.height, header.width)


def _from_array(array: NDArray[Any]) -> Image:
    if array.dtype != np.uint8:
        hint = "use .astype(numpy.uint8) if its values run from 0 to 255"
        if array.dtype.kind in "fb":
            hint = "multiply by 255 and use .astype(numpy.uint8) if its values run from 0 to 1"
        elif array.dtype == np.uint16:
            hint = "use (image >> 8).astype(numpy.uint8) if it uses all 16 bits"
        raise ImageError(f"an image array must be uint8, got {array.dtype}; {hint}")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            "an image array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), "
            f"got shape {array.shape}"
        )
    if array.size == 0:
        raise ImageError(f"an image must have at least one pixel, got shape {array.shape}")
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    if array.shape[2] == 4:
        array = flatten(array)
    rows_are_dense = array.strides[1:] == (3, 1) and array.strides[0] > 0
    return array if rows_are_dense else np.ascontiguousarray(array)


def _from_pil(image: Any, upright: bool, max_pixels: int) -> Image:
    from PIL import ImageOps

    width, height = image.size
    check_num_pixels(width, height, "the PIL image", max_pixels)
    try:
        if getattr(image, "is_animated", False) and image.tell() == 0:
            logger.warning("only the first of the PIL image's %d frames is read", image.n_frames)
        turned = ImageOps.exif_transpose(image) if upright else image
        if turned.mode.startswith("I;16"):  # convert would clip it
            return to_8_bits(np.asarray(turned), "the PIL image")
        if turned.mode in ("I", "F"):  # of any range: convert would clip it as well
            return _from_array(np.asarray(turned))
        mode = "RGBA" if _may_be_transparent(turned) else "RGB"
        pixels = np.asarray(turned.convert(mode))
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of many kinds
        raise ImageError(f"the PIL image cannot be read: {error}") from error
    order = [2, 1, 0, 3][: pixels.shape[2]]
    return _from_array(np.ascontiguousarray(pixels[:, :, order]))


def _may_be_transparent(image: Any) -> bool:
    return "A" in image.mode or "a" in image.mode or "transparency" in image.info


def write_image(path: str | os.PathLike[str], image: Image, *, jpeg_quality: int = 95) -> None:
    """Write an image atomically, in the format of the file's suffix.

    Args:
        path: File to write.
        image: (H, W, 3) uint8 BGR.
        jpeg_quality: Quality of a JPEG, 1 to 100.

    Raises:
        ImageError: The format is not known or the file cannot be written.
    """
    import cv2

    path = Path(path)
    is_jpeg = path.suffix.lower() in JPEG_SUFFIXES
    try:
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if is_jpeg else []
        done, data = cv2.imencode(path.suffix, image, options)
    except cv2.error:
        done = False
    if not done and path.suffix.lower() in WRITTEN_SUFFIXES:
        height, width = image.shape[:2]
        raise ImageError(
            f"{path}: {width}x{height} pixels are too many for {path.suffix}; write .png or .tif"
        )
    if not done:
        raise ImageError(f"{path}: images are written as .jpg, .png, .webp, .bmp or .tif")
    try:
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{path} cannot be written: {reason}") from error
