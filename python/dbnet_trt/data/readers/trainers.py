# SPDX-License-Identifier: Apache-2.0
"""Readers of the JSON of other trainers and competitions: mmocr, docTR, LSVT and ArT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..dataset import BROKEN_DATA, DataSet, ImageAnnotation
from ..samples import Problem, Text
from .coco import size_of
from .files import ImageFinder, flat_points, point_array, read_labels
from .icdar import box_corners
from .marks import parse_flag


def read_mmocr(path: Path) -> DataSet:
    """Read an annotation file of mmocr 1.x for detection, as textdet_train.json.

    Expected beside, above or below it: the images. `data_list` has the images, each with
    `instances`, whose outline is `polygon` (x1, y1, ..., xn, yn), or else `bbox` (left, top, right,
    bottom); `ignore` makes a text ignored. `height` and `width` decide whether an image is meant
    as EXIF turns it; where they do not tell, it is. Files of mmocr 0.x are of the format coco.
    Defined at https://mmocr.readthedocs.io/en/dev-1.x/migration/dataset.html.

    Raises:
        ValueError: The file is not in this format.
    """
    file, contents = read_labels(path, 'with "metainfo" and "data_list"')
    entries = contents.get("data_list") if isinstance(contents, dict) else None
    if not isinstance(entries, list):
        raise ValueError(f'expected {file} to hold a list "data_list", as mmocr 1.x writes it')
    found = DataSet()
    images = ImageFinder(file.parent)
    for index, entry in enumerate(entries):
        try:
            name, texts = str(entry["img_path"]), list(entry["instances"])
        except BROKEN_DATA as error:
            message = f"image {index}: expected img_path and instances ({error!r}); skipped"
            found.problems.append(Problem(file, 0, message, "line not understood"))
            continue
        annotation = ImageAnnotation(images.find(name) or file.parent / name, file, upright=True)
        annotation.shown_size = size_of(entry.get("height"), entry.get("width"))
        for number, text in enumerate(texts):
            annotation.read(0, _parse_mmocr, text, f"{name}, instance {number}")
        found.add(annotation)
    return found


def _parse_mmocr(text: Mapping[str, Any]) -> Text:
    if text.get("polygon"):
        polygon = flat_points(text["polygon"])
    else:
        left, top, right, bottom = (float(value) for value in text["bbox"])
        polygon = box_corners(left, top, right, bottom)
    content = str(text.get("text") or "")
    return Text(polygon, parse_flag(text.get("ignore"), "ignore") or content == "###", content)


def read_doctr(path: Path) -> DataSet:
    """Read docTR's labels.json for detection.

    Expected beside it: images/, or the images. The file has, by image name, `img_dimensions`
    (height, width) and `polygons`: a list of outlines, or lists of outlines by class. All count.
    `img_dimensions` decides whether an image is meant as EXIF turns it; where it does not tell, it
    is meant as stored. Defined at
    https://github.com/mindee/doctr/blob/main/references/detection/README.md.

    Raises:
        ValueError: The file is not in this format.
    """
    file, contents = read_labels(path, 'with "polygons" by image')
    if not isinstance(contents, dict) or not all(map(_is_doctr, contents.values())):
        raise ValueError(f'expected {file} to hold "polygons" by image, as docTR\'s labels.json')
    found = DataSet()
    images = ImageFinder(file.parent)
    for name, entry in contents.items():
        image = images.find(f"images/{name}") or images.find(name) or file.parent / name
        annotation = ImageAnnotation(image, file)
        size = entry.get("img_dimensions")
        if isinstance(size, list) and len(size) == 2:
            annotation.shown_size = size_of(*size)
        outlines = entry["polygons"]
        if isinstance(outlines, dict):
            outlines = [outline for each in outlines.values() for outline in each]
        for number, outline in enumerate(outlines):
            annotation.read(0, _parse_doctr, outline, f"{name}, polygon {number}")
        found.add(annotation)
    return found


def _is_doctr(entry: Any) -> bool:
    if not isinstance(entry, dict):
        return False
    outlines = entry.get("polygons")
    if isinstance(outlines, dict):
        return all(isinstance(each, list) for each in outlines.values())
    return isinstance(outlines, list)


def _parse_doctr(outline: Any) -> Text:
    return Text(point_array(outline))


def read_lsvt(path: Path) -> DataSet:
    """Read the JSON of LSVT and ArT, as train_full_labels.json and train_labels.json.

    Expected beside, above or below it: the images, as train_full_images_0/gt_0.jpg. The file has,
    by image name without suffix, texts with `transcription`, `points` and `illegibility`; illegible
    ones and `###` are ignored. Points are in pixels of the images as they are stored, unless the
    labels fit only the upright images. Defined at https://rrc.cvc.uab.es/?ch=16&com=tasks and
    https://rrc.cvc.uab.es/?ch=14&com=tasks.

    Raises:
        ValueError: The file is not in this format.
    """
    file, contents = read_labels(path, "with texts by image")
    if not isinstance(contents, dict) or not all(map(_is_texts, contents.values())):
        raise ValueError(f"expected {file} to hold lists of texts by image, as LSVT and ArT do")
    found = DataSet()
    images = ImageFinder(file.parent)
    annotations = []
    for name, texts in contents.items():
        annotation = ImageAnnotation(images.find_stem(name) or file.parent / f"{name}.jpg", file)
        for number, text in enumerate(texts):
            annotation.read(0, _parse_lsvt, text, f"{name}, text {number}")
        annotations.append(annotation)
    found.add_all(annotations, upright=False)
    return found


def _is_texts(texts: Any) -> bool:
    return isinstance(texts, list) and all(isinstance(text, dict) for text in texts)


def _parse_lsvt(text: Mapping[str, Any]) -> Text:
    content = str(text.get("transcription", ""))
    ignore = parse_flag(text.get("illegibility"), "illegibility") or content == "###"
    return Text(point_array(text["points"]), ignore, content)
