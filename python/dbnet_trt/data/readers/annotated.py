# SPDX-License-Identifier: Apache-2.0
"""Readers of PaddleOCR's label files, Label Studio's export, and our own JSON Lines."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np
from numpy.typing import NDArray

from ...errors import ImageError
from ...files import parse_json, write_atomically
from ...images.load import image_size
from ..dataset import BROKEN_DATA, DataSet, ImageAnnotation
from ..samples import Polygon, Problem, Sample, Text
from .files import ImageFinder, only_file, point_array, read_labels, read_text
from .icdar import turned_box
from .marks import is_ignored, parse_flag

PADDLE_IGNORED = ("###", "*")
MARKED = (True, 1, "true", "True", "1")

MOSTLY_DIFFICULT = 0.5
"""Share of texts marked difficult above which a note says so."""

UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
"""Prefix that Label Studio adds to the names of uploaded files."""


def read_jsonl(path: Path) -> DataSet:
    """Read JSON Lines: {"image": path, "texts": [{"polygon": [[x, y], ...], "ignore": false}]}.

    Paths are relative to the file; a text may have a "content". Points are in pixels of the upright
    image, as EXIF turns it and as `dbnet detect` gives them. An image may have a "prob_map", the
    path of a gray picture of P to learn instead of the shrunk texts (see `Sample`). `dbnet synth`
    also writes this format. The path is that of the file, or of a folder with one such file.
    The format is defined here; its lines are those of https://jsonlines.org.

    Raises:
        ValueError: There is no such file, or it cannot be read.
    """
    file = only_file(path, "*.jsonl")
    found = DataSet()
    for number, line in _lines(file, found):
        try:
            record = parse_json(line)
            annotation = ImageAnnotation(file.parent / record["image"], file, number, upright=True)
            if "prob_map" in record:
                annotation.prob_map = file.parent / record["prob_map"]
            texts = record["texts"]
            if not isinstance(texts, list):
                raise TypeError("texts is not a list")
        except (ValueError, KeyError, TypeError) as error:
            reason = f"there is no {error}" if isinstance(error, KeyError) else error
            message = (
                f'expected {{"image": path, "texts": [...]}}, got {line[:80]!r} ({reason}); skipped'
            )
            found.problems.append(Problem(file, number, message, "line not understood"))
            continue
        for text in texts:
            annotation.read(number, _parse_json_text, text)
        found.add(annotation)
    return found


def _parse_json_text(text: Any) -> Text:
    if not isinstance(text, dict) or "polygon" not in text:
        raise ValueError(f'expected {{"polygon": [[x, y], ...]}}, got {str(text)[:80]}')
    ignore = text.get("ignore", False)
    if not isinstance(ignore, bool):  # "false" would be true
        raise ValueError(f'expected "ignore" to be true or false, got {ignore!r}')
    return Text(point_array(text["polygon"]), ignore, str(text.get("content", "")))


def write_jsonl(file: Path, samples: list[Sample]) -> None:
    """Write samples in the format of `read_jsonl`, atomically.

    Args:
        file: File to write. The paths of images and probability maps below its folder are relative
            to it, others are absolute.
        samples: The samples.

    Raises:
        OSError: The file cannot be written.
    """

    def write(temporary: Path) -> None:
        """Write all lines to a temporary file."""
        with temporary.open("w", encoding="utf-8") as lines:
            lines.writelines(_to_json(sample, file.parent) + "\n" for sample in samples)

    write_atomically(file, write)


def _to_json(sample: Sample, folder: Path) -> str:
    texts = [
        {"polygon": text.polygon.round(2).tolist(), "ignore": text.ignore, "content": text.content}
        for text in sample.texts
    ]
    record = {"image": _to_name(sample.image, folder), "texts": texts}
    if sample.prob_map is not None:
        record["prob_map"] = _to_name(sample.prob_map, folder)
    return json.dumps(record)


def _to_name(path: Path, folder: Path) -> str:
    below = path.relative_to(folder) if path.is_relative_to(folder) else path.absolute()
    return below.as_posix()


def read_paddleocr(path: Path) -> DataSet:
    """Read a label file of PaddleOCR or PPOCRLabel.

    Lines are an image's path, a tab, and [{"transcription": "text", "points": [[x, y], ...]}]. The
    path is relative to the file or to the folder above it. `###`, `*` and texts marked difficult
    are ignored. Points are in pixels of the upright image, as EXIF turns it. Defined at
    https://github.com/PaddlePaddle/PaddleOCR/blob/main/docs/datasets/ocr_datasets.en.md.

    Raises:
        ValueError: There is no such file, or it cannot be read.
    """
    file = only_file(path, "*abel*.txt")
    found = DataSet()
    images = ImageFinder(file.parent)
    marked: list[bool] = []
    for number, line in _lines(file, found):
        name, tab, labels = line.partition("\t")
        try:
            texts = parse_json(labels)
            if not tab or not isinstance(texts, list):
                raise ValueError("no list after a tab")
        except ValueError as error:
            message = f"expected path<tab>[{{...}}], got {line[:80]!r} ({error}); skipped"
            found.problems.append(Problem(file, number, message, "line not understood"))
            continue
        image = images.find(name.strip()) or file.parent / name.strip()
        annotation = ImageAnnotation(image, file, number, upright=True)
        for text in texts:
            annotation.read(number, parse_paddle, text)
            marked.append(isinstance(text, dict) and text.get("difficult") in MARKED)
        found.add(annotation)
    if sum(marked) > MOSTLY_DIFFICULT * len(marked):
        found.notes.append(
            f"{sum(marked)} of {len(marked)} texts are marked difficult, and thus ignored; "
            "PPOCRLabel marks boxes so by a key: set difficult to false where it is a mistake"
        )
    return found


def parse_paddle(text: Any) -> Text:
    """Parse one text of a label file's list; see `read_paddleocr`.

    Raises:
        ValueError: The text is not in the format.
    """
    if not isinstance(text, dict) or "points" not in text:
        raise ValueError(f'expected {{"transcription": ..., "points": ...}}, got {str(text)[:80]}')
    content = str(text.get("transcription", ""))
    ignore = content in PADDLE_IGNORED or parse_flag(text.get("difficult"), "difficult")
    return Text(point_array(text["points"]), ignore, content)


def read_labelstudio(path: Path) -> DataSet:
    """Read Label Studio's export "JSON" (not "JSON-MIN"): polygons and rotated rectangles.

    Images are found by name below the file's folder, also without the prefix that an upload gave
    them. Of several annotations of a task the last that was not cancelled counts. A label such as
    "ignore", "illegible" or "don't care" makes a text ignored; a text area has its transcription.
    Defined at https://labelstud.io/guide/export and https://labelstud.io/guide/task_format.

    Raises:
        ValueError: The file is not such an export.
    """
    file, tasks = read_labels(path, "a list of tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f"expected {file} to be a list of tasks; export as JSON")
    if tasks and not any("annotations" in task for task in tasks):
        raise ValueError(f'{file} has tasks without "annotations"; export as JSON, not JSON-MIN')
    found = DataSet()
    images = ImageFinder(file.parent)
    for task in tasks:
        try:
            _read_task(task, file, images, found)
        except BROKEN_DATA as error:
            message = f"expected a task with data and results, got {str(task)[:80]} ({error})"
            found.problems.append(Problem(file, 0, f"{message}; skipped", "line not understood"))
    return found


def _read_task(task: dict[str, Any], file: Path, images: ImageFinder, found: DataSet) -> None:
    what = f"task {task.get('id', '?')}"
    annotations = [each for each in task["annotations"] if not each.get("was_cancelled")]
    if not annotations:
        message = f"{what}: expected an annotation that is not cancelled, found none; skipped"
        found.problems.append(Problem(file, 0, message, "annotation missing"))
        return
    image = _find_task_image(task["data"], images)
    if image is None:
        message = f"{what}: expected its image below {file.parent}, found none of {task['data']}"
        found.problems.append(Problem(file, 0, message, "image missing"))
        return
    annotation = ImageAnnotation(image, file)
    size, annotation.upright = _shown_size(image, annotations[-1]["result"])
    regions: dict[str, list[dict[str, Any]]] = {}
    for index, result in enumerate(annotations[-1]["result"]):
        regions.setdefault(str(result.get("id", index)), []).append(result)
    for name, region in regions.items():
        if any("original_width" in result for result in region):  # else it is of the whole image
            annotation.read(0, partial(_parse_region, size), region, f"{what}, {name}")
    found.add(annotation)


def _shown_size(image: Path, results: list[dict[str, Any]]) -> tuple[tuple[int, int], bool]:
    """Return (height, width) in the labelling tool, and whether it followed EXIF."""
    try:
        stored, upright = image_size(image), image_size(image, upright=True)
    except ImageError:  # reported when the sample is added
        return (1, 1), True
    named = [(each.get("original_height"), each.get("original_width")) for each in results]
    if stored != upright and stored in named:
        return stored, False
    return upright, True


def _find_task_image(data: dict[str, Any], images: ImageFinder) -> Path | None:
    for value in data.values():
        if not isinstance(value, str):
            continue
        url = urlparse(value)
        inner = parse_qs(url.query).get("d", [unquote(url.path)])[0]  # ?d= of local files
        name = Path(inner).name
        image = (
            images.find(inner.lstrip("/"))
            or images.find(name)
            or images.find(UPLOAD_PREFIX.sub("", name))
        )
        if image is not None:
            return image
    return None


def _parse_region(size: tuple[int, int], region: list[dict[str, Any]]) -> Text:
    """Parse the results that share an id: a shape, perhaps labels and a transcription.

    `size` is the (height, width) of the image in pixels.
    """
    value: dict[str, Any] = {}
    labels: list[str] = []
    content = ""
    for result in region:
        value = result["value"] | value
        labels += result["value"].get(str(result.get("type")), [])  # rectanglelabels, labels, ...
        if result.get("type") == "textarea":
            said = result["value"].get("text", [])
            content = said if isinstance(said, str) else " ".join(map(str, said))
        if result.get("image_rotation", 0):
            raise ValueError(f"expected image_rotation 0, got {result['image_rotation']}")
    polygon = _shape(value, np.array(size[::-1]) / 100)
    return Text(polygon, is_ignored(*labels), content)


def _shape(value: dict[str, Any], scale: NDArray[np.float64]) -> Polygon:
    """Return a polygon or rectangle given in percent as (K, 2) float64 in pixels.

    Args:
        value: The shape, as Label Studio writes it.
        scale: (2,), pixels per percent of the width and of the height.
    """
    if "points" in value:
        return point_array(value["points"]) * scale
    if not {"x", "y", "width", "height"} <= value.keys():
        raise ValueError(f"expected a polygon or a rectangle, got {sorted(value)}")
    x, y, width, height = (float(value[key]) for key in ("x", "y", "width", "height"))
    angle = math.radians(float(value.get("rotation", 0)))
    sides = (x * scale[0], y * scale[1], width * scale[0], height * scale[1])
    return turned_box(*sides, angle, about_center=False)


def _lines(file: Path, found: DataSet) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of each line that is not blank."""
    annotation = ImageAnnotation(file, file)
    text = read_text(annotation) or ""
    found.problems += annotation.problems
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.strip("\r")
