# SPDX-License-Identifier: Apache-2.0
"""Readers of detectors' formats of rotated boxes: YOLO-OBB and DOTA, one text file per image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ..dataset import DataSet, ImageAnnotation
from ..lines import show
from ..orientation import both_sizes
from ..samples import Text
from .files import find_annotations, numbers, read_lines
from .icdar import box_corners
from .marks import is_ignored

OVERSHOOT = 0.1
"""Amount by which shares of the image's sides may leave 0 to 1; see `checks.OUTSIDE_LIMIT`."""

DOTA_HEADER = re.compile(r"\s*(imagesource|gsd)\s*:", re.IGNORECASE)


def read_yolo(folder: Path) -> DataSet:
    """Read YOLO-OBB, and YOLO's outlines and boxes: images/X.jpg with labels/X.txt.

    Lines are `class x1 y1 x2 y2 x3 y3 x4 y4` (OBB), `class x1 y1 ... xn yn` (outlines), or `class x
    y width height` (boxes, by their centre), in shares of the image's width and height, as
    EXIF turns it. All classes are text. If train/ and val/ lie in one folder, name the images:
    yolo:set/images/train. Defined at https://docs.ultralytics.com/datasets/obb/ and
    https://docs.ultralytics.com/datasets/segment/.
    """
    found = DataSet()
    for annotation in find_annotations(folder, (".txt",), found):
        annotation.upright = True
        read_lines(annotation, parse_yolo)
        try:
            height, width = both_sizes(annotation.image)[1]
        except ImageError:  # reported when it is added
            height, width = 1, 1
        annotation.texts = [
            (line, Text(text.polygon * (width, height))) for line, text in annotation.texts
        ]
        found.add(annotation)
    return found


def parse_yolo(line: str) -> Text:
    """Parse one line, its outline in shares of the image's sides; see `read_yolo`.

    Raises:
        ValueError: The line is not in the format.
    """
    expected = "expected class x1 y1 ... xn yn in shares of the image's sides"
    fields = line.split()
    values = numbers(fields[1:])
    if not fields or not fields[0].isdigit() or len(values) % 2 or len(values) < 4:
        raise ValueError(f"{expected}, got {show(line)}")
    if not all(-OVERSHOOT <= value <= 1 + OVERSHOOT for value in values):
        raise ValueError(f"{expected}, got numbers outside 0 to 1 in {show(line)}")
    if len(values) == 4:
        x, y, width, height = values
        return Text(box_corners(x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return Text(np.array(values).reshape(-1, 2))


def read_dota(folder: Path) -> DataSet:
    """Read DOTA: images/X.png with labelTxt/X.txt.

    Lines are `x1 y1 x2 y2 x3 y3 x4 y4 class difficult` in pixels, below perhaps `imagesource:...`
    and `gsd:...`. All classes are text; those that say so, and difficult ones, are ignored. Points
    are in pixels of the images as they are stored, unless the labels fit only the upright images.
    Defined at https://captain-whu.github.io/DOTA/dataset.html.
    """
    found = DataSet()
    found.add_all(_read_dota(folder, found), upright=False)
    return found


def _read_dota(folder: Path, found: DataSet) -> Iterator[ImageAnnotation]:
    for annotation in find_annotations(folder, (".txt",), found):
        read_lines(annotation, parse_dota, skip=DOTA_HEADER)
        yield annotation


def parse_dota(line: str) -> Text:
    """Parse one line; see `read_dota`.

    Raises:
        ValueError: The line is not in the format.
    """
    fields = line.split()
    if len(fields) not in (9, 10) or (len(fields) == 10 and fields[9] not in ("0", "1", "2")):
        raise ValueError(f"expected x1 y1 ... x4 y4 class difficult, got {show(line)}")
    polygon = np.array(numbers(fields[:8])).reshape(4, 2)
    if len(fields) == 9 and fields[8].replace(".", "").isdigit():
        raise ValueError(f"expected x1 y1 ... x4 y4 class difficult, got {show(line)}")
    difficult = len(fields) == 10 and fields[9] != "0"
    return Text(polygon, difficult or is_ignored(fields[8]))
