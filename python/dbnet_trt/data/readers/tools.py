# SPDX-License-Identifier: Apache-2.0
"""Readers of annotation tools: LabelMe, CVAT and the VGG Image Annotator (VIA)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...files import decode_text, is_file, read_json
from ..dataset import DataSet, ImageAnnotation
from ..samples import Polygon, Problem, Text
from .coco import size_of
from .files import (
    ImageFinder,
    numbers,
    only_file,
    parse_xml,
    point_array,
    read_annotations,
    read_labels,
)
from .icdar import box_corners, turned_box
from .marks import is_ignored, parse_flag

CONTENT = ("transcription", "text", "description", "content", "caption")
"""Names of attributes that hold a transcription; the first that exists is used."""


def read_labelme(path: Path) -> DataSet:
    """Read LabelMe's files, also as X-AnyLabeling writes them: X.json beside X.jpg.

    Shapes are polygons, rectangles (of two corners or four), or rotated rectangles; an
    image with other shapes is skipped. Ignored are shapes whose label, description or set flag is a
    mark of `marks`, and those marked difficult. `imageWidth` and `imageHeight` decide whether an
    image is meant as EXIF turns it; if they do not decide, it is. The path is that of a folder or
    of one such file. Defined at
    https://github.com/wkentaro/labelme/blob/main/labelme/label_file.py.

    Raises:
        ValueError: No file is in this format.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.json"))
    found = DataSet()
    num_files = 0
    for file in files:
        try:
            contents = read_json(file, expected='JSON with "shapes" and "imagePath"')
            shapes, name = contents["shapes"], str(contents["imagePath"])
            if not isinstance(shapes, list):
                raise TypeError
        except (KeyError, TypeError):  # another tool's
            continue
        except ValueError as error:
            found.problems.append(Problem(file, 0, f"{error}; skipped", "annotation unreadable"))
            continue
        num_files += 1
        found.add(_read_labelme(file, contents, shapes, name))
    if not num_files and not found.problems:
        raise ValueError(f'expected files with "shapes" and "imagePath" in {path}; found none')
    return found


def _read_labelme(
    file: Path, contents: dict[str, Any], shapes: list[Any], name: str
) -> ImageAnnotation:
    name = name.replace("\\", "/")  # written on Windows
    named = [file.parent / name, file.parent / Path(name).name]
    image = next((choice for choice in named if is_file(choice)), named[0])
    annotation = ImageAnnotation(image, file, upright=True)
    annotation.shown_size = size_of(contents.get("imageHeight"), contents.get("imageWidth"))
    for index, shape in enumerate(shapes):
        annotation.read(0, _parse_labelme, shape, f"shape {index}")
    return annotation


def _parse_labelme(shape: Mapping[str, Any]) -> Text:
    kind = shape.get("shape_type", "polygon")
    points = point_array(shape["points"])
    if kind not in ("polygon", "rectangle", "rotation", "quadrilateral"):
        raise ValueError(f"expected a polygon or a rectangle, got a {str(kind)[:40]}")
    if kind == "rectangle" and len(points) == 2:
        points = box_corners(*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    flags = shape.get("flags") or {}
    labels = [name for name, value in flags.items() if value is True]
    label, content = str(shape.get("label", "")), str(shape.get("description") or "")
    difficult = parse_flag(shape.get("difficult"), "difficult")
    return Text(points, difficult or is_ignored(label, content, *labels), content or label)


def read_cvat(path: Path) -> DataSet:
    """Read CVAT's export "CVAT for images 1.1": annotations.xml.

    Expected beside or below it: the images, as images/. Polygons and boxes (also rotated) count; an
    image with other shapes is skipped. Ignored are shapes whose label or true attribute is a mark
    of `marks`; an attribute "text" or "transcription" holds the transcription. `width` and `height`
    decide whether an image is meant as EXIF turns it; if they do not decide, it is.
    Defined at https://docs.cvat.ai/docs/manual/advanced/xml_format/.

    Raises:
        ValueError: The file is not in this format.
    """
    file = only_file(path, "*.xml")
    data = read_annotations(file)
    try:
        root = parse_xml(decode_text(data))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    if root.tag != "annotations":
        raise ValueError(f"expected {file} to hold <annotations>, got <{root.tag}>")
    if root.find("track") is not None:
        raise ValueError(f'{file} has the tracks of a video; export as "CVAT for images 1.1"')
    found = DataSet()
    images = ImageFinder(file.parent)
    for element in root.iter("image"):
        name = element.get("name", "")
        image = images.find(name) or images.find(f"images/{name}") or file.parent / name
        annotation = ImageAnnotation(image, file, upright=True)
        annotation.shown_size = size_of(element.get("height"), element.get("width"))
        for index, shape in enumerate(element):
            if shape.tag != "tag":  # of the whole image
                annotation.read(0, _parse_cvat, shape, f"{name}, shape {index}")
        found.add(annotation)
    return found


def _parse_cvat(shape: ElementTree.Element) -> Text:
    attributes = {
        each.get("name", "").lower(): (each.text or "").strip() for each in shape.iter("attribute")
    }
    if shape.tag == "polygon":
        points = np.array([numbers(pair.split(",")) for pair in shape.get("points", "").split(";")])
    elif shape.tag == "box":
        left, top, right, bottom = numbers(
            shape.get(key, "") for key in ("xtl", "ytl", "xbr", "ybr")
        )
        angle = math.radians(float(shape.get("rotation", 0)))
        points = turned_box(left, top, right - left, bottom - top, angle, about_center=True)
    else:
        raise ValueError(f"expected a polygon or a box, got <{shape.tag}>")
    ignore = is_ignored(shape.get("label", "")) or _has_ignore(attributes)
    content = _content(attributes)
    return Text(points.astype(np.float64), ignore or content == "###", content)


def _content(attributes: Mapping[str, Any]) -> str:
    return next((str(attributes[name]) for name in CONTENT if attributes.get(name)), "")


def _has_ignore(attributes: Mapping[str, Any]) -> bool:
    """Whether an attribute such as "ignore" or "difficult" is set, or a value is such a mark."""
    for name, value in attributes.items():
        if name in CONTENT:
            continue
        if is_ignored(value):
            return True
        if (is_ignored(name) or name == "difficult") and parse_flag(value, name):
            return True
    return False


def read_via(path: Path) -> DataSet:
    """Read a project or an annotation export (JSON) of the VGG Image Annotator 1 or 2.

    Expected beside or below it: the images. Polygons and rectangles count; an image with other
    shapes is skipped. Ignored are regions with an attribute that is a mark of `marks`; an attribute
    "text" or "transcription" holds the transcription. Points are in pixels of the upright images,
    as browsers show them, unless the labels fit only the images as they are stored. Defined at
    https://www.robots.ox.ac.uk/~vgg/software/via/.

    Raises:
        ValueError: The file is not in this format.
    """
    file, contents = read_labels(path, "of the VGG Image Annotator")
    entries = contents.get("_via_img_metadata", contents) if isinstance(contents, dict) else None
    if not isinstance(entries, dict) or not all(map(_is_via, entries.values())):
        raise ValueError(f'expected {file} to hold images with "filename" and "regions", as VIA')
    found = DataSet()
    images = ImageFinder(file.parent)
    annotations = []
    for entry in entries.values():
        name = str(entry["filename"])
        annotation = ImageAnnotation(images.find(name) or file.parent / name, file)
        regions = entry["regions"]  # a list in VIA 2, a table in VIA 1
        listed = list(regions.values()) if isinstance(regions, dict) else regions
        for index, region in enumerate(listed):
            annotation.read(0, _parse_via, region, f"{name}, region {index}")
        annotations.append(annotation)
    found.add_all(annotations, upright=True)
    return found


def _is_via(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and "filename" in entry
        and isinstance(entry.get("regions"), (list, dict))
    )


def _parse_via(region: Mapping[str, Any]) -> Text:
    shape = region["shape_attributes"]
    attributes = {
        str(name).lower(): value for name, value in (region.get("region_attributes") or {}).items()
    }
    kind = shape.get("name")
    points: Polygon
    if kind in ("polygon", "polyline"):
        x, y = shape["all_points_x"], shape["all_points_y"]
        points = point_array(list(zip(x, y, strict=True)))
    elif kind == "rect":
        x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
        points = box_corners(x, y, x + width, y + height)
    else:
        raise ValueError(f"expected a polygon or a rect, got {str(kind)[:40]!r}")
    content = _content(attributes)
    return Text(points, _has_ignore(attributes) or content == "###", content)
