# SPDX-License-Identifier: Apache-2.0
"""NV12, the layout in which video decoders return frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

Matrix: TypeAlias = Literal["bt601", "bt709"]

Colors: TypeAlias = tuple[int, int, int, int, int, int]
"""From YUV to BGR: what is subtracted from luma, and the factors, in units of 2^-20, of luma, of U
in blue, of U in green, of V in green and of V in red."""

SHIFT = 20

NO_COLORS: Colors = (0, 0, 0, 0, 0, 0)
"""In their place for an image that is BGR."""

BT601_LIMITED: Colors = (16, 1220542, 2116026, -409993, -852492, 1673527)
"""Those of OpenCV's COLOR_YUV2BGR_NV12."""

LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}
"""Weights of red and of blue in luma, from ITU-R BT.601 and BT.709."""


@dataclass(frozen=True, slots=True, eq=False)
class Nv12Frame:
    """A video frame: a plane of luma, and a plane of chroma with half the rows and columns.

    By default colours are BT.601 in limited range, and results are those of the BGR image that
    OpenCV's COLOR_YUV2BGR_NV12 makes. The planes are NumPy arrays, or arrays in GPU memory, which
    are not copied; rows may be padded, as decoders' are.

    >>> detector.detect(Nv12Frame(frame))  # both planes in one array
    >>> detector.detect(Nv12Frame(*planes))

    Attributes:
        luma: (H, W) uint8, H and W even; or (H * 3 / 2, W), with the chroma in its last rows.
        chroma: (H / 2, W) or (H / 2, W / 2, 2) uint8, U and V in turn; None where `luma` has it.
        matrix: Standard of the colours: "bt601", or "bt709", which most HD video has.
        full_range: Whether values run from 0 to 255, as in JPEG, instead of 16 to 235 and 240.
    """

    luma: Any
    chroma: Any = None
    matrix: Matrix = "bt601"
    full_range: bool = False

    @property
    def planes(self) -> tuple[Any, ...]:
        """The planes: one array, or two."""
        return (self.luma,) if self.chroma is None else (self.luma, self.chroma)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, 3) of the BGR image.

        Raises:
            ImageError: The planes are not NV12.
        """
        return (*frame_size([tuple(plane.shape) for plane in self.planes]), 3)

    @property
    def colors(self) -> Colors:
        """Conversion of its values to BGR.

        Raises:
            ImageError: The matrix is not known.
        """
        return find_colors(self.matrix, self.full_range)


def find_colors(matrix: str, full_range: bool) -> Colors:
    """Compute the conversion to BGR of a standard of colours; see `Nv12Frame`.

    Raises:
        ImageError: The matrix is not known.
    """
    if matrix not in LUMA_WEIGHTS:
        raise ImageError(
            f'the matrix of an Nv12Frame must be "bt601" or "bt709", got {matrix!r}; convert '
            "frames of other standards to BGR"
        )
    if matrix == "bt601" and not full_range:
        return BT601_LIMITED
    red, blue = LUMA_WEIGHTS[matrix]
    green = 1 - red - blue
    luma, chroma = (1.0, 1.0) if full_range else (255 / 219, 255 / 224)
    of_u, of_v = 2 * (1 - blue) * chroma, 2 * (1 - red) * chroma
    factors = (luma, of_u, -of_u * blue / green, -of_v * red / green, of_v)
    of_luma, *others = (round(each * (1 << SHIFT)) for each in factors)
    return (0 if full_range else 16, of_luma, others[0], others[1], others[2], others[3])


@dataclass(frozen=True, slots=True, eq=False)
class Nv12Image:
    """A checked `Nv12Frame` in host memory.

    Attributes:
        luma: (H, W) uint8, each row contiguous.
        chroma: (H / 2, W) uint8, likewise.
        colors: How its values become BGR.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    colors: Colors = BT601_LIMITED

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, 3) of the BGR image."""
        return (*self.luma.shape, 3)

    def cut(self, y: int, x: int, height: int, width: int) -> Nv12Image:
        """Return a part of the image, in the same memory; all numbers are even."""
        rows, columns = slice(y // 2, (y + height) // 2), slice(x, x + width)
        return Nv12Image(
            self.luma[y : y + height, columns], self.chroma[rows, columns], self.colors
        )

    def to_bgr(self) -> NDArray[np.uint8]:
        """Convert to (H, W, 3) uint8 BGR."""
        if self.colors != BT601_LIMITED:
            return self._to_bgr_by(self.colors)
        import cv2

        height, width = self.luma.shape
        chroma = self.chroma.reshape(height // 2, width // 2, 2)
        return np.asarray(cv2.cvtColorTwoPlane(self.luma, chroma, cv2.COLOR_YUV2BGR_NV12), np.uint8)

    def _to_bgr_by(self, colors: Colors) -> NDArray[np.uint8]:
        """Convert as OpenCV does, by other factors."""
        black, of_luma, blue_u, green_u, green_v, red_v = colors
        luma = np.maximum(self.luma.astype(np.int32) - black, 0) * of_luma + (1 << (SHIFT - 1))
        # Each chroma value is that of 2x2 pixels.
        u, v = (
            each.repeat(2, axis=0).repeat(2, axis=1)
            for each in (
                self.chroma[:, ::2].astype(np.int32) - 128,
                self.chroma[:, 1::2].astype(np.int32) - 128,
            )
        )
        planes = (luma + blue_u * u, luma + green_u * u + green_v * v, luma + red_v * v)
        bgr = np.stack([plane >> SHIFT for plane in planes], axis=2)
        return bgr.clip(0, 255).astype(np.uint8)


def read_nv12(frame: Nv12Frame) -> Nv12Image:
    """Check a frame in host memory and return its planes.

    Raises:
        ImageError: The planes are not NV12, or the matrix is not known.
        TypeError: The planes are not all NumPy arrays.
    """
    for plane in frame.planes:
        if not isinstance(plane, np.ndarray):
            raise TypeError(
                "the planes of an Nv12Frame must all be NumPy arrays, or all arrays in GPU memory, "
                f"got {type(plane).__name__}"
            )
        if plane.dtype != np.uint8:
            raise ImageError(f"NV12 must be uint8, got {plane.dtype}; P010 and P016 are not read")
    height, width = frame_size([plane.shape for plane in frame.planes])
    luma, chroma = (
        (frame.luma[:height], frame.luma[height:])
        if frame.chroma is None
        else (frame.luma, frame.chroma)
    )
    return Nv12Image(_dense(luma, width), _dense(chroma, width), frame.colors)


def frame_size(shapes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """Compute (height, width) of a frame from the shapes of its one or two planes.

    Raises:
        ImageError: The shapes are not those of NV12.
    """
    rows, width = shapes[0][:2] if shapes[0][2:] in ((), (1,)) and len(shapes[0]) > 1 else (0, 0)
    height = rows if len(shapes) == 2 else rows * 2 // 3
    half = (height // 2, width)
    fits = (
        shapes[1] in (half, (*half, 1), (half[0], width // 2, 2))
        if len(shapes) == 2
        else rows % 3 == 0
    )
    if not fits or min(height, width) < 2 or height % 2 or width % 2:
        got = " and ".join(map(str, shapes))
        raise ImageError(
            "NV12 must be one array (H * 3 / 2, W), or luma (H, W) and chroma (H / 2, W) or "
            f"(H / 2, W / 2, 2), with even H and W, got {got}"
        )
    return height, width


def _dense(plane: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Return a plane as (rows, width) with contiguous rows; it is copied only if they are not."""
    plane = plane.reshape(len(plane), width)
    is_dense = plane.strides[1] == 1 and plane.strides[0] >= width
    return plane if is_dense else np.ascontiguousarray(plane)
