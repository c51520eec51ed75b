# SPDX-License-Identifier: Apache-2.0
"""Reader of COCO's detection format: one JSON file of images, annotations and categories."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..checks import COORDINATE_LIMIT
from ..dataset import DataSet, ImageAnnotation
from ..samples import Polygon, Problem, Text
from .files import ImageFinder, flat_points, read_labels
from .icdar import box_corners
from .marks import is_ignored, parse_flag

MAX_MASK_PIXELS = 100_000_000
"""Maximum number of pixels of a mask, each of which takes a byte."""


def read_coco(path: Path) -> DataSet:
    """Read a COCO file, as COCO, CVAT, Roboflow, Label Studio and mmocr 0.x write it.

    Expected beside, above or below it: the images. An annotation's outline is its `segmentation`:
    a polygon, several (their convex hull), or a run-length encoded mask (its outline); where it has
    none, its `bbox`. Ignored are texts with `iscrowd`, with `ignore`, and of a category named so.
    `width` and `height` decide whether an image is meant as EXIF turns it; where they do not tell,
    it is. The path is the file's, or a folder's that holds one such file. Defined at
    https://cocodataset.org/#format-data.

    Raises:
        ValueError: The file is not in this format.
    """
    file, contents = read_labels(path, 'with "images" and "annotations"')
    tables = [contents.get(key) if isinstance(contents, dict) else None for key in TABLES]
    if not all(isinstance(table, list) and all(map(_is_row, table)) for table in tables):
        raise ValueError(f'expected {file} to hold lists "images" and "annotations", as COCO does')
    categories = {
        str(each.get("id")): str(each.get("name", ""))
        for each in contents.get("categories") or []
        if isinstance(each, dict)
    }
    found = DataSet()
    texts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    known = {str(image.get("id")) for image in contents["images"]}
    for text in contents["annotations"]:
        owner = str(text.get("image_id"))
        if owner in known:
            texts[owner].append(text)
        else:
            message = f"annotation {text.get('id')}: expected an image, got {owner!r}; dropped"
            found.problems.append(Problem(file, 0, message, "image missing"))
    images = ImageFinder(file.parent)
    for image in contents["images"]:
        number, name = str(image.get("id")), str(image.get("file_name", ""))
        annotation = ImageAnnotation(images.find(name) or file.parent / name, file, upright=True)
        annotation.shown_size = size_of(image.get("height"), image.get("width"))
        for text in texts[number]:
            what = f"image {number}, annotation {text.get('id')}"
            annotation.read(0, lambda raw: _parse(raw, categories), text, what)
        found.add(annotation)
    return found


TABLES = ("images", "annotations")


def _is_row(row: Any) -> bool:
    return isinstance(row, dict)


def size_of(height: Any, width: Any) -> tuple[int, int] | None:
    """Return (height, width) that an annotation states for its image; None if it states none."""
    try:
        size = int(height), int(width)
    except (ValueError, TypeError, OverflowError):
        return None
    return size if min(size) > 0 else None


def _parse(text: dict[str, Any], categories: dict[str, str]) -> Text:
    outline = text.get("segmentation")
    if isinstance(outline, dict):
        polygon = _mask_outline(outline)
    elif outline:
        polygon = _join([flat_points(part) for part in outline])
    else:
        x, y, width, height = (float(value) for value in text["bbox"])
        polygon = box_corners(x, y, x + width, y + height)
    ignore = parse_flag(text.get("iscrowd"), "iscrowd") or parse_flag(text.get("ignore"), "ignore")
    content = next((str(text[key]) for key in CONTENT_KEYS if text.get(key)), "")
    category = categories.get(str(text.get("category_id")), "")
    return Text(polygon, ignore or is_ignored(category) or content == "###", content)


CONTENT_KEYS = ("utf8_string", "transcription", "text", "caption")


def _join(parts: list[Polygon]) -> Polygon:
    """Return one outline for the parts of a text: a single part, or their convex hull."""
    if len(parts) == 1:
        return parts[0]
    points = np.concatenate(parts)
    if not (np.abs(points) < COORDINATE_LIMIT).all():
        return points  # its check names the number
    return np.asarray(cv2.convexHull(points.astype(np.float32)).reshape(-1, 2), np.float64)


def _mask_outline(mask: dict[str, Any]) -> Polygon:
    """Compute the outline, in pixels, of the largest part of a run-length encoded mask.

    Raises:
        ValueError: The mask is broken, too large or empty.
    """
    height, width = (int(side) for side in mask["size"])
    counts = mask["counts"]
    runs = _decode_counts(counts) if isinstance(counts, str) else [int(each) for each in counts]
    if min(height, width) < 1 or height * width > MAX_MASK_PIXELS:
        raise ValueError(f"expected a mask of 1 to {MAX_MASK_PIXELS} pixels, got {width}x{height}")
    if sum(runs) != height * width or min(runs) < 0:
        raise ValueError(f"expected runs of {height * width} pixels in all, got {sum(runs)}")
    values = np.arange(len(runs)) % 2
    flat: NDArray[np.uint8] = np.repeat(values.astype(np.uint8), runs)
    pixels = np.ascontiguousarray(flat.reshape(width, height).T)  # columns come first
    contours, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        raise ValueError("expected a mask with pixels, got an empty one")
    largest = max(contours, key=cv2.contourArea)
    return np.asarray(largest.reshape(-1, 2), np.float64)


def _decode_counts(text: str) -> list[int]:
    """Decode the runs of a compressed mask: five bits per character, differences from run 3 on."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            raise ValueError(f"expected a mask's counts, got the character {character!r}")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return runs
