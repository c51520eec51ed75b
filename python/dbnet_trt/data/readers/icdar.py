# SPDX-License-Identifier: Apache-2.0
"""Readers of ICDAR's, RCTW's and MSRA-TD500's formats: one annotation file per image.

Points are in pixels of the images as they are stored, unless the labels of a set fit only the
images as EXIF turns them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..dataset import DataSet
from ..lines import SCRIPTS, show, split_outline, split_quad
from ..samples import Polygon, Text
from .files import MAX_NUMBER, numbers, read_folder

ICDAR2013_LINE = re.compile(
    r'^\s*(-?[\d.]+)[,\s]\s*(-?[\d.]+)[,\s]\s*(-?[\d.]+)[,\s]\s*(-?[\d.]+)[,\s]\s*"(.*)"\s*$'
)

RCTW_LINE = re.compile(r'^((?:[^,]*,){8})\s*([01])\s*,\s*(?:"(.*)"|(.*?))\s*$')


def read_icdar2013(folder: Path) -> DataSet:
    """Read ICDAR 2013 focused scene text (and 2011 born-digital).

    Expected: X.jpg and gt_X.txt below the folder, as Challenge2_Training_Task12_Images/100.jpg and
    Challenge2_Training_Task1_GT/gt_100.txt. Lines are `x1 y1 x2 y2 "text"` in the training set and
    `x1, y1, x2, y2, "text"` in the test set: upright boxes of words. Defined at
    https://rrc.cvc.uab.es/?ch=2&com=tasks.
    """
    return _read_folder(folder, parse_icdar2013)


def parse_icdar2013(line: str) -> Text:
    """Parse one line; see `read_icdar2013`.

    Raises:
        ValueError: The line is not in the format.
    """
    match = ICDAR2013_LINE.match(line)
    if match is None:
        raise ValueError(f'expected x1 y1 x2 y2 "text", commas optional, got {line!r}')
    return Text(box_corners(*numbers(match.groups()[:4])), match[5] == "###", match[5])


def read_icdar2015(folder: Path) -> DataSet:
    """Read ICDAR 2015 incidental scene text.

    Expected: X.jpg and gt_X.txt below the folder, as in images/ and gts/, or in the official
    ch4_training_images/ and ch4_training_localization_transcription_gt/. If both parts lie in
    one folder, name the images: icdar2015:ic15/ch4_training_images. Lines are
    `x1,y1,...,x4,y4,text`; `###` is ignored. The images are all 1280x720; for a copy that was
    scaled to 960x640 write icdar2015:PATH?stretch. Defined at
    https://rrc.cvc.uab.es/?ch=4&com=tasks. Outlines of more points, or without text, are of the
    format polygons.
    """
    return _read_folder(folder, parse_icdar2015)


def parse_icdar2015(line: str) -> Text:
    """Parse one line; see `read_icdar2015`.

    Raises:
        ValueError: The line is not in the format.
    """
    numbers, content = split_quad(line)
    content = content.strip()
    return Text(np.array(numbers).reshape(4, 2), content == "###", content)


def read_mlt(folder: Path) -> DataSet:
    """Read ICDAR 2017 or 2019 MLT, multi-lingual scene text.

    Expected: X.jpg (or png, gif) with gt_X.txt (2017) or X.txt (2019) below the folder, as
    ch8_training_images_1/img_1.jpg and ch8_training_localization_transcription_gt_v2/gt_img_1.txt,
    or ImagesPart1/tr_img_00001.jpg and train_gt_t13/tr_img_00001.txt. Lines are
    `x1,y1,...,x4,y4,script,text`; `###` is ignored. Defined at
    https://rrc.cvc.uab.es/?ch=8&com=tasks and https://rrc.cvc.uab.es/?ch=15&com=tasks.
    """
    return _read_folder(folder, parse_mlt)


def parse_mlt(line: str) -> Text:
    """Parse one line; see `read_mlt`.

    Raises:
        ValueError: The line is not in the format.
    """
    parts = line.split(",", 9)
    if len(parts) < 10:
        raise ValueError(
            f"expected x1,y1,...,x4,y4,script,text, got {len(parts)} fields in {line!r}"
        )
    if parts[8].strip() not in SCRIPTS:
        raise ValueError(f"expected one of {', '.join(SCRIPTS)}, got script {parts[8]!r}")
    content = parts[9].strip()
    return Text(np.array(numbers(parts[:8])).reshape(4, 2), content == "###", content)


def read_rctw(folder: Path) -> DataSet:
    """Read RCTW-17, Chinese text in the wild: image_1.jpg with image_1.txt below the folder.

    Lines are `x1,y1,...,x4,y4,difficult,"text"`; texts whose flag is 1, and `###`, are ignored.
    Defined at https://rctw.vlrlab.net/dataset.
    """
    return _read_folder(folder, parse_rctw)


def parse_rctw(line: str) -> Text:
    """Parse one line; see `read_rctw`.

    Raises:
        ValueError: The line is not in the format.
    """
    match = RCTW_LINE.match(line)
    if match is None or (match[3] is None and len(split_outline(line)[0]) > 8):
        raise ValueError(f'expected x1,y1,...,x4,y4,0 or 1,"text", got {show(line)}')
    polygon = np.array(numbers(match[1].rstrip(",").split(","))).reshape(4, 2)
    content = match[4] if match[3] is None else match[3]
    return Text(polygon, match[2] == "1" or content == "###", content)


def read_td500(folder: Path) -> DataSet:
    """Read MSRA-TD500: `X.JPG` with `X.gt` beside it, in train/ or test/.

    Lines are `index difficult x y width height angle`: an upright box, turned about its centre by
    an angle in radians. Difficult lines are ignored. Defined in the set's readme,
    http://www.iapr-tc11.org/mediawiki/index.php/MSRA_Text_Detection_500_Database_(MSRA-TD500).
    """
    return _read_folder(folder, parse_td500, suffixes=(".gt",))


def parse_td500(line: str) -> Text:
    """Parse one line; see `read_td500`.

    Raises:
        ValueError: The line is not in the format.
    """
    parts = line.split()
    if len(parts) != 7:
        raise ValueError(
            f"expected index difficult x y width height angle, got {len(parts)} fields in {line!r}"
        )
    x, y, width, height, angle = numbers(parts[2:])
    return Text(turned_box(x, y, width, height, angle, about_center=True), parts[1] == "1")


def box_corners(x_min: float, y_min: float, x_max: float, y_max: float) -> Polygon:
    """Return the corners of an upright box, (4, 2) float64, clockwise from the top left.

    Args:
        x_min: Left side in pixels.
        y_min: Upper side in pixels.
        x_max: Right side in pixels.
        y_max: Lower side in pixels.
    """
    return np.array([[x_min, y_min], [x_max, y_min], [x_max, y_max], [x_min, y_max]], np.float64)


def turned_box(
    x: float, y: float, width: float, height: float, angle: float, about_center: bool
) -> Polygon:
    """Return the corners, (4, 2) float64, of a box rotated clockwise.

    Args:
        x: Left side before the rotation, in pixels.
        y: Upper side before the rotation, in pixels.
        width: Width in pixels.
        height: Height in pixels.
        angle: Angle in radians.
        about_center: Whether to rotate about the centre, else about the top left corner.

    Raises:
        ValueError: A number is beyond `MAX_NUMBER`.
    """
    values = (x, y, width, height, angle)
    if not all(abs(value) < MAX_NUMBER for value in values):
        raise ValueError(f"expected a box in pixels, got {values}")
    sine, cosine = math.sin(angle), math.cos(angle)
    corners = box_corners(x, y, x + width, y + height)
    pivot = corners.mean(axis=0) if about_center else corners[0]
    return (corners - pivot) @ np.array([[cosine, sine], [-sine, cosine]]) + pivot


def _read_folder(
    folder: Path, parse: Callable[[str], Text], suffixes: tuple[str, ...] = (".txt",)
) -> DataSet:
    found = DataSet()
    found.add_all(read_folder(folder, parse, suffixes, found), upright=False)
    return found
