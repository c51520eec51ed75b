# SPDX-License-Identifier: Apache-2.0
"""Frames that show the same picture as one before them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError
from .gpu_memory import is_on_device
from .load import ImageSource, load_image
from .nv12 import Nv12Frame, read_nv12

CELL_PX = 2
"""Side of the squares whose mean colours are compared."""

MAX_CHANGE = 35
"""Largest change of a square's mean, of 255 levels, in the same picture. In a still picture coded
as H.264 (CRF 23 to 38), MPEG-4 or JPEG the change was up to 23; where an o of 10 pixels, one pixel
thick and white, became an a, 49 or more. Text that is fainter than this may come unnoticed."""


class SamePicture:
    """Compares each frame with the last one that showed another picture.

    A picture that changes slowly is another one as soon as it differs enough from that frame.
    """

    def __init__(self) -> None:
        self._means: NDArray[np.int16] | None = None

    def __call__(self, frame: ImageSource) -> bool:
        """Whether a frame shows the same picture; if not, later ones are compared with it.

        Raises:
            TypeError: The frame is in GPU memory, or not an image.
        """
        if is_on_device(frame):
            raise TypeError(
                "skip_same compares frames in main memory, and this one is in GPU memory; leave "
                "skip_same out, or pass NumPy arrays"
            )
        try:
            means = _means(frame)
        except ImageError:  # the detector says what is wrong with it
            return False
        last = self._means
        if last is not None and _differ_little(means, last):
            return True
        self._means = means
        return False


def _differ_little(means: NDArray[np.int16], last: NDArray[np.int16]) -> bool:
    return means.shape == last.shape and bool(np.abs(means - last).max() <= MAX_CHANGE)


def _means(frame: ImageSource) -> NDArray[np.int16]:
    """Return the mean colours of squares, (h, w, 3) or of luma (h, w)."""
    import cv2

    pixels = read_nv12(frame).luma if isinstance(frame, Nv12Frame) else load_image(frame)
    size = [max(1, side // CELL_PX) for side in pixels.shape[1::-1]]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.int16)
