# SPDX-License-Identifier: Apache-2.0
"""Reader of COCO-Text and TextOCR: one JSON file of images and annotations by number."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from ..dataset import DataSet, ImageAnnotation
from ..samples import Problem, Text
from .files import ImageFinder, flat_points, read_labels
from .icdar import box_corners

TABLES = ("imgs", "anns")


def read_cocotext(path: Path) -> DataSet:
    """Read cocotext.v2.json, or TextOCR_0.1_train.json.

    Expected beside or above it: the images, as train2014/ or train_images/. `imgs` has the images,
    `anns` the texts: their outline is `mask` (COCO-Text 2), `points` (TextOCR), or else `bbox`.
    Illegible texts, and those that TextOCR writes as ".", are ignored. Samples carry the `set` of
    their image, so that #train and #val are the data set's own. Images of the set "test" that have
    no texts were not annotated; they are left out. Points are in pixels of the images as they are
    stored, unless the labels fit only the upright images. Defined at
    https://bgshih.github.io/cocotext/ and https://textvqa.org/textocr/dataset/.

    Raises:
        ValueError: The file is not in this format.
    """
    file, contents = read_labels(path, 'with "imgs" and "anns"')
    if not isinstance(contents, dict) or not all(map(_is_table, map(contents.get, TABLES))):
        raise ValueError(f'expected {file} to hold "imgs" and "anns", as COCO-Text and TextOCR do')
    found = DataSet()
    images = ImageFinder(file.parent)
    texts: dict[str, list[Any]] = defaultdict(list)
    for number, text in contents["anns"].items():
        owner = str(text.get("image_id"))
        if owner in contents["imgs"]:
            texts[owner].append((number, text))
        else:
            message = f"annotation {number}: expected an image of imgs, got {owner!r}; dropped"
            found.problems.append(Problem(file, 0, message, "image missing"))
    annotations = []
    for number, image in contents["imgs"].items():
        part = str(image.get("set", ""))
        if part == "test" and not texts[number]:
            continue
        name = str(image.get("file_name", ""))
        annotation = ImageAnnotation(images.find(name) or file.parent / name, file, part=part)
        for text_number, text in texts[number]:
            what = f"image {number}, annotation {text_number}"
            annotation.read(0, _parse, text, what)
        annotations.append(annotation)
    found.add_all(annotations, upright=False)
    return found


def _is_table(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(row, dict) for row in table.values())


def _parse(text: dict[str, Any]) -> Text:
    outline = text.get("points") or text.get("mask")
    if outline:
        polygon = flat_points(outline)
    else:
        x, y, width, height = (float(value) for value in text["bbox"])
        polygon = box_corners(x, y, x + width, y + height)
    content = str(text.get("utf8_string") or "")
    ignore = text.get("legibility") == "illegible" or content == "."
    return Text(polygon, ignore, content)
