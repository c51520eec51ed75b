# SPDX-License-Identifier: Apache-2.0
"""The competitions' formats, and MSRA-TD500: an annotation file an image, a line a text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import ImageError
from ...images.load import image_size
from ..dataset import DataSet
from ..samples import Polygon, Text
from .files import find_annotations, numbers, read_lines

ICDAR2013_LINE = re.compile(
    r'^\s*(-?[\d.]+)[,\s]\s*(-?[\d.]+)[,\s]\s*(-?[\d.]+)[,\s]\s*(-?[\d.]+)[,\s]\s*"(.*)"\s*$'
)

MLT_SCRIPTS = (
    "Arabic",
    "Latin",
    "Chinese",
    "Japanese",
    "Korean",
    "Bangla",
    "Hindi",
    "Symbols",
    "Mixed",
    "None",
)


def read_icdar2013(folder: Path) -> DataSet:
    """Read ICDAR 2013 focused scene text (and 2011 born-digital).

    Expected: X.jpg and gt_X.txt below the folder, as Challenge2_Training_Task12_Images/100.jpg and
    Challenge2_Training_Task1_GT/gt_100.txt. Lines are `x1 y1 x2 y2 "text"` in the training set and
    `x1, y1, x2, y2, "text"` in the test set: upright boxes of words.
    """
    return _read_folder(folder, parse_icdar2013)


def parse_icdar2013(line: str) -> Text:
    """A text of one line; see `read_icdar2013`."""
    match = ICDAR2013_LINE.match(line)
    if match is None:
        raise ValueError(f'expected x1 y1 x2 y2 "text", commas optional, got {line!r}')
    return Text(box_corners(*numbers(match.groups()[:4])), match[5] == "###", match[5])


def read_icdar2015(folder: Path) -> DataSet:
    """Read ICDAR 2015 incidental scene text.

    Expected: X.jpg and gt_X.txt below the folder, as in images/ and gts/, or in the official
    ch4_training_images/ and ch4_training_localization_transcription_gt/. Where both parts lie in
    one folder, name the images: icdar2015:ic15/ch4_training_images. Lines are
    `x1,y1,...,x4,y4,text`; `###` is ignored. The images are all 1280x720: those of a copy that was
    scaled to 960x640 are stretched back.
    """
    return _read_folder(folder, parse_icdar2015, _icdar2015_stretch)


def parse_icdar2015(line: str) -> Text:
    """A text of one line; see `read_icdar2015`."""
    parts = line.split(",", 8)
    if len(parts) < 9:
        raise ValueError(f"expected x1,y1,...,x4,y4,text, got {len(parts)} fields in {line!r}")
    content = parts[8].strip()
    return Text(np.array(numbers(parts[:8])).reshape(4, 2), content == "###", content)


def _icdar2015_stretch(image: Path) -> tuple[float, float]:
    try:
        height, width = image_size(image)
    except ImageError:  # reported when the sample is added
        return 1.0, 1.0
    return (1280 / width, 720 / height) if (height, width) == (640, 960) else (1.0, 1.0)


def read_mlt(folder: Path) -> DataSet:
    """Read ICDAR 2017 or 2019 MLT, multi-lingual scene text.

    Expected: X.jpg (or png, gif) with gt_X.txt (2017) or X.txt (2019) below the folder, as
    ch8_training_images_1/img_1.jpg and ch8_training_localization_transcription_gt_v2/gt_img_1.txt,
    or ImagesPart1/tr_img_00001.jpg and train_gt_t13/tr_img_00001.txt. Lines are
    `x1,y1,...,x4,y4,script,text`; `###` is ignored.
    """
    return _read_folder(folder, parse_mlt)


def parse_mlt(line: str) -> Text:
    """A text of one line; see `read_mlt`."""
    parts = line.split(",", 9)
    if len(parts) < 10:
        raise ValueError(
            f"expected x1,y1,...,x4,y4,script,text, got {len(parts)} fields in {line!r}"
        )
    if parts[8].strip() not in MLT_SCRIPTS:
        raise ValueError(f"expected one of {', '.join(MLT_SCRIPTS)}, got script {parts[8]!r}")
    content = parts[9].strip()
    return Text(np.array(numbers(parts[:8])).reshape(4, 2), content == "###", content)


def read_td500(folder: Path) -> DataSet:
    """Read MSRA-TD500: `X.JPG` with `X.gt` beside it, in train/ or test/.

    Lines are `index difficult x y width height angle`: an upright box, turned about its centre by
    an angle in radians. Difficult lines are ignored.
    """
    return _read_folder(folder, parse_td500, suffixes=(".gt",))


def parse_td500(line: str) -> Text:
    """A text of one line; see `read_td500`."""
    parts = line.split()
    if len(parts) != 7:
        raise ValueError(
            f"expected index difficult x y width height angle, got {len(parts)} fields in {line!r}"
        )
    x, y, width, height, angle = numbers(parts[2:])
    return Text(turned_box(x, y, width, height, angle, about_center=True), parts[1] == "1")


def box_corners(x_min: float, y_min: float, x_max: float, y_max: float) -> Polygon:
    """(4, 2) float64, the corners of an upright box, clockwise from the top left."""
    return np.array([[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]], np.float64)


def turned_box(
    x: float, y: float, width: float, height: float, angle: float, about_center: bool
) -> Polygon:
    """(4, 2) float64, a box turned clockwise by an angle in radians.

    Args:
        x: Left side before the turn, in pixels.
        y: Upper side before the turn.
        width: In pixels.
        height: In pixels.
        angle: In radians.
        about_center: Turn about its centre, else about its top left corner.
    """
    sine, cosine = math.sin(angle), math.cos(angle)
    corners = box_corners(x, y, x + width, y + height)
    pivot = corners.mean(axis=0) if about_center else corners[0]
    return (corners - pivot) @ np.array([[cosine, sine], [-sine, cosine]]) + pivot


def _read_folder(
    folder: Path,
    parse: Callable[[str], Text],
    stretch: Callable[[Path], tuple[float, float]] = lambda _: (1.0, 1.0),
    suffixes: tuple[str, ...] = (".txt",),
) -> DataSet:
    found = DataSet()
    for annotation in find_annotations(folder, suffixes, found):
        read_lines(annotation, parse)
        found.add(annotation, stretch(annotation.image))
    return found
