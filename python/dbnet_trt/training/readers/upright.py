# SPDX-License-Identifier: Apache-2.0
"""Points that were drawn on an image as EXIF turns it upright, brought to its stored pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets import Polygon

EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True)
class Upright:
    """How viewers show an image.

    Attributes:
        size: (height, width) in pixels, as shown.
        orientation: EXIF's number, 1 to 8; 1 is as stored, 5 and more swap the sides.
    """

    size: tuple[int, int]
    orientation: int = 1

    def to_stored(self, polygon: Polygon) -> Polygon:
        """(K, 2) points as shown -> (K, 2) points in pixels of the file."""
        if self.orientation == 1 or polygon.ndim != 2 or polygon.shape[1] != 2:
            return polygon  # one of another shape is reported when the sample is added
        turned = self.orientation >= 5
        height, width = self.size[::-1] if turned else self.size
        x, y = polygon.T[::-1] if turned else polygon.T
        if self.orientation in (2, 3, 7, 8):
            x = width - 1 - x
        if self.orientation in (3, 4, 6, 7):
            y = height - 1 - y
        return np.column_stack([x, y])


def read_upright(image: Path, labelled_size: tuple[int, int] = (0, 0)) -> Upright:
    """How an image file was shown to whoever labelled it.

    Args:
        image: The file; one that cannot be read is taken as 1x1, and reported when its sample is
            added to the data set.
        labelled_size: (height, width) that the labels name. If it is the stored one, the labelling
            tool did not follow EXIF.
    """
    from PIL import Image

    try:
        with Image.open(image) as opened:
            size = (opened.height, opened.width)
            orientation = int(opened.getexif().get(EXIF_ORIENTATION, 1))
    except (OSError, Image.DecompressionBombError):
        return Upright((1, 1))
    if orientation not in range(2, 9):
        return Upright(size)
    if orientation < 5:
        return Upright(size, orientation)
    return (
        Upright(size) if labelled_size == size != size[::-1] else Upright(size[::-1], orientation)
    )
