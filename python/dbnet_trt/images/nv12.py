# SPDX-License-Identifier: Apache-2.0
"""NV12, the layout in which video decoders return frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError


@dataclass(frozen=True, slots=True, eq=False)
class Nv12Frame:
    """A video frame: a plane of luma, and a plane of chroma with half the rows and columns.

    Colours are BT.601 in limited range: results are those of the BGR image that OpenCV's
    COLOR_YUV2BGR_NV12 makes. The planes are NumPy arrays, or arrays in GPU memory, which are not
    copied; rows may be padded, as decoders' are.

    >>> detector.detect(Nv12Frame(frame))  # both planes in one array
    >>> detector.detect(Nv12Frame(*planes))

    Attributes:
        luma: (H, W) uint8, H and W even; or (H * 3 / 2, W), with the chroma in its last rows.
        chroma: (H / 2, W) or (H / 2, W / 2, 2) uint8, U and V in turn; None where `luma` has it.
    """

    luma: Any
    chroma: Any = None

    @property
    def planes(self) -> tuple[Any, ...]:
        """The planes: one array, or two."""
        return (self.luma,) if self.chroma is None else (self.luma, self.chroma)


@dataclass(frozen=True, slots=True, eq=False)
class Nv12Image:
    """A checked `Nv12Frame` in host memory.

    Attributes:
        luma: (H, W) uint8, each row contiguous.
        chroma: (H / 2, W) uint8, likewise.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (H, W, 3) of the BGR image."""
        return (*self.luma.shape, 3)

    def cut(self, y: int, x: int, height: int, width: int) -> Nv12Image:
        """Return a part of the image, in the same memory; all numbers are even."""
        rows, columns = slice(y // 2, (y + height) // 2), slice(x, x + width)
        return Nv12Image(self.luma[y : y + height, columns], self.chroma[rows, columns])

    def to_bgr(self) -> NDArray[np.uint8]:
        """Convert to (H, W, 3) uint8 BGR."""
        import cv2

        height, width = self.luma.shape
        chroma = self.chroma.reshape(height // 2, width // 2, 2)
        return np.asarray(cv2.cvtColorTwoPlane(self.luma, chroma, cv2.COLOR_YUV2BGR_NV12), np.uint8)


def read_nv12(frame: Nv12Frame) -> Nv12Image:
    """Check a frame in host memory and return its planes.

    Raises:
        ImageError: The planes are not NV12.
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
    return Nv12Image(_dense(luma, width), _dense(chroma, width))


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
