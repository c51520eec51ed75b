# SPDX-License-Identifier: Apache-2.0
"""Decide whether labels are in pixels of an image as stored, or as EXIF turns it.

Annotation tools show photos upright, the authors of the competitions' sets looked at them as they
are stored, and most formats do not say. Where a format has the size that its tool worked on, that
decides for each image. Elsewhere the labels decide, for the whole set: they are in pixels of the
image that they lie in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ImageError
from ..images.load import image_size
from .samples import Text

Size = tuple[int, int]

WITHOUT_EXIF = frozenset((".bmp", ".gif", ".ppm", ".pgm", ".pbm"))


def both_sizes(path: Path) -> tuple[Size, Size]:
    """Read (height, width) of an image as stored, and as EXIF turns it.

    Raises:
        ImageError: The file is missing or not an image.
    """
    stored = image_size(path)
    if path.suffix.lower() in WITHOUT_EXIF:
        return stored, stored
    return stored, image_size(path, upright=True)


def is_upright(image: Path, shown: Size, default: bool) -> bool:
    """Whether an annotation for an image size (height, width) means the image as EXIF turns it.

    Args:
        image: The image file.
        shown: Size of the image in the labelling tool.
        default: The result if both orientations have that size.

    Raises:
        ImageError: The image cannot be read.
        ValueError: The image has this size in neither orientation.
    """
    stored, upright = both_sizes(image)
    if shown not in (stored, upright):
        raise ValueError(
            f"expected an image of {shown[1]}x{shown[0]} pixels, as the annotation says, got one "
            f"of {upright[1]}x{upright[0]}; its image is skipped"
        )
    return default if stored == upright else shown == upright


def fit_orientation(
    labelled: Iterable[tuple[Path, Sequence[Text]]], default: bool
) -> tuple[bool, str]:
    """Find out in which orientation the labels of a set lie inside its images.

    Args:
        labelled: Image files and their texts.
        default: The result if the labels do not decide.

    Returns:
        Whether the labels are in pixels of the upright images; and a note if photos are turned and
        the labels fit both ways, else "".
    """
    outside = {False: 0, True: 0}
    num_turned = 0
    for image, texts in labelled:
        try:
            stored, upright = both_sizes(image)
        except ImageError:  # reported when the image is added
            continue
        if stored == upright or not texts:
            continue
        num_turned += 1
        for text in texts:
            for way, size in ((False, stored), (True, upright)):
                outside[way] += _is_outside(text, size)
    if outside[False] != outside[True]:
        return outside[True] < outside[False], ""
    if not num_turned:
        return default, ""
    how = "as EXIF turns them" if default else "as they are stored"
    note = f"{num_turned} photos are turned by EXIF, and their labels fit both ways; read {how}"
    return default, note


def _is_outside(text: Text, size: Size) -> bool:
    points = text.polygon
    if points.ndim != 2 or points.shape[1:] != (2,) or not len(points):
        return False
    return bool(points[:, 0].max() > size[1] + 1 or points[:, 1].max() > size[0] + 1)
