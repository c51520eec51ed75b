# SPDX-License-Identifier: Apache-2.0
"""Images in: files, bytes, arrays, PIL images, folders. Always BGR uint8."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .nv12 import Nv12Frame, read_nv12

Image: TypeAlias = NDArray[np.uint8]
ImageSource: TypeAlias = Image | str | os.PathLike[str] | bytes | bytearray | memoryview | Any

# 0xff and a kind; inside of pixels 0xff is followed by 0 or, between them, by 0xd0 to 0xd7.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")

WRITTEN_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))
READ_SUFFIXES = WRITTEN_SUFFIXES | {".jpe", ".jfif", ".ppm", ".pgm", ".jp2", ".gif", ".avif"}
"""Image files that OpenCV reads."""

IMAGE_SUFFIXES = READ_SUFFIXES | {".heic", ".heif", ".jxl", ".pdf"}
"""Files in a folder that are taken for images, so that those not read are reported."""

EXIF_ORIENTATION = 0x0112
EXIF_LYING = range(5, 9)
"""Orientations in which height and width are swapped."""

VIDEO_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"))


def load_image(source: ImageSource, *, upright: bool = True) -> Image:
    """An image as (H, W, 3) uint8 BGR.

    Args:
        source: An array (H, W), (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, uint8; the path of a
            file or its bytes, whose EXIF orientation is followed; a PIL image; or an `Nv12Frame`.
            Alpha is ignored; 16-bit files are brought to 8 bits. An array that is BGR already is
            not copied.
        upright: Whether to turn files as their EXIF orientation says; otherwise pixels come as
            stored.

    Raises:
        ImageError: The file is missing or broken, or the array is no image.
        TypeError: The source is none of these.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Nv12Frame):
        return read_nv12(source).to_bgr()
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(bytes(source), "the bytes given")
    if isinstance(source, str) and re.match(r"\w+://", source):
        raise ImageError(f"{source} is not on this machine; download it and give its bytes")
    if isinstance(source, (str, os.PathLike)):
        return _decode(_read(Path(source)), str(source), upright)
    if any(kind.__module__.startswith("PIL.") for kind in type(source).__mro__):
        return _from_pil(source)
    hint = "; detect_batch takes many" if isinstance(source, (list, tuple)) else ""
    if hasattr(source, "getvalue"):
        hint = "; give its getvalue()"
    raise TypeError(
        "an image must be a NumPy array, a path, the bytes of a file, a PIL image, or an "
        f"Nv12Frame, got {type(source).__name__}{hint}"
    )


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
    array = array[:, :, :3]
    rows_are_dense = array.strides[1:] == (3, 1) and array.strides[0] > 0
    return array if rows_are_dense else np.ascontiguousarray(array)


def _from_pil(image: Any) -> Image:
    from PIL import ImageOps

    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16"):  # convert would clip it
            return _from_array((np.asarray(upright) >> 8).astype(np.uint8))
        if upright.mode in ("I", "F"):  # of any range: convert would clip it, too
            return _from_array(np.asarray(upright))
        upright = upright.convert("RGB")
    except OSError as error:
        raise ImageError(f"the PIL image cannot be read: {error}") from error
    return _from_array(np.ascontiguousarray(np.asarray(upright)[:, :, ::-1]))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"there is no file {path}") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror or error}") from error


def _decode(data: bytes, name: str, upright: bool = True) -> Image:
    import cv2

    if not data:
        raise ImageError(f"{name}: the file is empty")
    if _is_cut_off(data):
        raise ImageError(f"{name}: the file is cut off before its end; copy or download it again")
    try:
        flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        reason = "it has too many pixels" if "MAX_IMAGE" in str(error) else str(error)
        raise ImageError(f"{name}: the image cannot be decoded: {reason}") from error
    if image is None:
        raise ImageError(f"{name}: {_what_instead(data)}")
    return _from_array(np.asarray(image))


def _what_instead(data: bytes) -> str:
    """What to do with a file that OpenCV does not read."""
    if data.startswith(b"%PDF"):
        return "a PDF; turn its pages into images first, with `pdftoppm -r 150 -png` for example"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heim", b"mif1", b"msf1"):
        return "HEIC, which OpenCV does not read; open it with pillow-heif and give the PIL image"
    return (
        "not an image, or one of a kind that OpenCV does not read "
        "(JPEG, PNG, WebP, BMP and TIFF of 8 or 16 bits are read)"
    )


def _is_cut_off(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end. OpenCV fills the missing part with gray, silently."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_lacks_end(data)
    return data.startswith(b"\x89PNG") and b"IEND" not in data


def _jpeg_lacks_end(data: bytes) -> bool:
    """Follow the segments of a JPEG to its end marker; phones append films and maps after it."""
    at = 2
    while marker := _JPEG_MARKER.search(data, at):
        kind = marker[0][-1]
        if kind == 0xD9:
            return False
        # A segment says its length; the pixels after it (kind 0xDA) run to the next marker.
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return True


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write an image; the suffix says the format.

    Raises:
        ImageError: The format is not known or the file cannot be written.
    """
    import cv2

    path = Path(path)
    try:
        done, data = cv2.imencode(path.suffix, image)
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
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror or error}") from error


def find_sources(inputs: list[str]) -> list[str]:
    """Files, cameras and streams that inputs stand for: folders and globs are listed, in order.

    Args:
        inputs: Files, folders (searched through and through), globs, numbers of cameras,
            addresses of streams (rtsp://…).

    Raises:
        ImageError: A folder holds no image or video, or a glob matches nothing.
    """
    sources: list[str] = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            known = IMAGE_SUFFIXES | VIDEO_SUFFIXES
            found = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in known)
            if not found:
                raise ImageError(f"the folder {given} holds no image and no video")
        elif glob.has_magic(given) and "://" not in given and not path.exists():
            found = sorted(glob.glob(given, recursive=True))
            if not found:
                raise ImageError(f"nothing matches {given}")
        else:
            found = [given]
        sources += found
    return sources


def image_size(path: Path, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) of an image file, as stored or as EXIF turns it, from its header.

    Raises:
        ImageError: It is missing or no image.
    """
    from PIL import Image as PilImage
    from PIL import UnidentifiedImageError

    try:
        with PilImage.open(path) as image:
            lies = upright and image.getexif().get(EXIF_ORIENTATION) in EXIF_LYING
            return (image.width, image.height) if lies else (image.height, image.width)
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no image, or one that is cut off") from error
    except PilImage.DecompressionBombError as error:
        raise ImageError(f"{path} has too many pixels to learn from; make it smaller") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read as an image: {error}") from error
