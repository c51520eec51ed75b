# SPDX-License-Identifier: Apache-2.0
"""Readers of Total-Text and CTW1500, data sets of curved text, in every published style."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...files import read_limited
from ..dataset import DataSet, ImageAnnotation
from ..lines import is_relative
from ..mat import MAX_BYTES, load_mat
from ..samples import Polygon, Text
from .files import find_annotations, numbers, parse_xml, read_lines, read_text, stem_key

TOTALTEXT_RECORD = re.compile(
    r"x:\s*\[\[(?P<x>[^\]]*)\]\],\s*y:\s*\[\[(?P<y>[^\]]*)\]\],\s*"
    r"ornt:\s*\[(?:u?['\"](?P<ornt>.*?)['\"])?\],\s*"
    r"transcriptions:\s*\[(?:u?['\"](?P<content>.*)['\"])?\]",
)

BARE_AMPERSAND = re.compile(r"&(?!#?\w+;)")

CTW_NUMBERS = 28
"""Number of coordinates of an outline of 14 points."""


def read_totaltext(folder: Path) -> DataSet:
    """Read Total-Text.

    Expected: Images/Train/img11.jpg with a file poly_gt_img11.txt or poly_gt_img11.mat in any
    folder of the same part, as txt_format/Train or Groundtruth/Polygon/Train; the text files are
    taken where there are both. Name the images: totaltext:data/totaltext/Images/Train. A text that
    whose transcription or orientation is `#` is ignored. Points are in pixels as stored: the EXIF
    rotation of img651.jpg is not for them, nor for `load_sample_image`. Defined at
    https://github.com/cs-chan/Total-Text-Dataset/tree/master/Groundtruth/Text.
    """
    found = DataSet()
    annotations = list(find_annotations(folder, (".txt", ".mat"), found))
    for annotation in annotations:
        if annotation.file.suffix.lower() == ".mat":
            _read_totaltext_mat(annotation)
        else:
            _read_totaltext_txt(annotation)
    found.add_all(annotations, upright=False)
    return found


def _read_totaltext_txt(annotation: ImageAnnotation) -> None:
    for line, record in _totaltext_records(read_text(annotation) or ""):
        annotation.read(line, parse_totaltext, record)


def _totaltext_records(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, record) of each text; a long one takes several lines."""
    record: list[str] = []
    first = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if line.lstrip().startswith("x:") and record:
            yield first, "\n".join(record)
            record = []
        if line.strip():
            if not record:
                first = number
            record.append(line)
    if record:
        yield first, "\n".join(record)


def parse_totaltext(record: str) -> Text:
    """Parse `x: [[1 2 3]], y: [[1 2 3]], ornt: [u'c'], transcriptions: [u'text']`.

    Raises:
        ValueError: The record is not of this form.
    """
    match = TOTALTEXT_RECORD.match(record.strip())
    if match is None:
        raise ValueError(
            "expected x: [[...]], y: [[...]], ornt: [u'c'], transcriptions: [u'text'], "
            f"got {record.strip()[:120]!r}"
        )
    x, y = (numbers(match[axis].replace(",", " ").split()) for axis in "xy")
    return _totaltext(np.array(x), np.array(y), match["content"] or "", match["ornt"] or "")


def _totaltext(x: Polygon, y: Polygon, content: str, orientation: str) -> Text:
    if len(x) != len(y):
        raise ValueError(f"expected as many x as y, got {len(x)} and {len(y)}")
    ignore = content == "#" or orientation == "#"
    return Text(np.column_stack([x, y]).astype(np.float64), ignore, content)


def _read_totaltext_mat(annotation: ImageAnnotation) -> None:
    try:
        contents = load_mat(read_limited(annotation.file, max_bytes=MAX_BYTES))
        rows = contents["polygt"] if "polygt" in contents else contents["gt"]
    except (ValueError, KeyError) as error:
        message = f"expected a .mat file with polygt or gt, got {error!r}; image skipped"
        annotation.report(0, message, "annotation unreadable")
        annotation.complete = False
        return
    for number, row in enumerate(rows, start=1):
        annotation.read(0, _parse_row, row, f"row {number}")


def _parse_row(row: Any) -> Text:
    """Parse the columns x:, xs, y:, ys, transcription and orientation."""
    if len(row) < 5:
        raise ValueError(f"expected x:, xs, y:, ys, text and orientation, got {len(row)} columns")
    x, y = (np.asarray(row[column], np.float64).ravel() for column in (1, 3))
    words = ["".join(map(str, np.asarray(cell).ravel())).strip() for cell in row[4:6]]
    return _totaltext(x, y, words[0], words[1] if len(words) > 1 else "")


def read_ctw1500(folder: Path) -> DataSet:
    """Read CTW1500 in any of its three styles.

    Expected: 0001.jpg, with 0001.xml (training set: <box> with <label> and 14 points in <segs>),
    with 0001001.txt (test set: `x1,y1,...,x14,y14,####text`; numbers are padded by zeros), or with
    a .txt of the first edition (32 numbers: a box, then 14 offsets from its top left). As in
    train_images/ with ctw1500_train_labels/ and test_images/ with gt_ctw1500/: name the images,
    ctw1500:data/ctw1500/train_images. `###` is ignored. Points are in pixels of the images as they
    are stored. Defined at https://github.com/Yuliang-Liu/Curve-Text-Detector.
    """
    found = DataSet()
    annotations = list(find_annotations(folder, (".xml", ".txt"), found, key=_ctw_key))
    for annotation in annotations:
        if annotation.file.suffix.lower() == ".xml":
            _read_ctw_xml(annotation)
        else:
            read_lines(annotation, parse_ctw1500)
    found.add_all(annotations, upright=False)
    return found


def _ctw_key(path: Path) -> str:
    return stem_key(path).lstrip("0")


def parse_ctw1500(line: str) -> Text:
    """Parse one line; see `read_ctw1500`.

    Raises:
        ValueError: The line is not in the format.
    """
    outline, mark, content = line.partition(",####")
    values = numbers(outline.split(","))
    if is_relative(line):
        return Text(np.array(values[4:]).reshape(-1, 2) + values[:2])
    if not mark or len(values) != CTW_NUMBERS:
        raise ValueError(
            "expected 28 numbers and ####text, or 32 numbers, a box and offsets in it, got "
            f"{len(values)} numbers{' and ####' if mark else ''}; "
            "the format polygons has other lines"
        )
    content = content.strip()
    return Text(np.array(values).reshape(-1, 2), content == "###", content)


def _read_ctw_xml(annotation: ImageAnnotation) -> None:
    text = read_text(annotation)
    if text is None:
        return
    try:
        root = parse_xml(BARE_AMPERSAND.sub("&amp;", text))
    except ValueError as error:
        cause = error.__cause__
        line = cause.position[0] if isinstance(cause, ElementTree.ParseError) else 0
        annotation.report(line, f"{error}; its image is skipped", "annotation unreadable")
        annotation.complete = False
        return
    for line, box in zip(_lines_of("<box", text), root.iter("box"), strict=False):
        annotation.read(line, _parse_box, box)


def _lines_of(mark: str, text: str) -> list[int]:
    """Return the line number, from 1, of each occurrence of a mark."""
    return [text.count("\n", 0, match.start()) + 1 for match in re.finditer(re.escape(mark), text)]


def _parse_box(box: ElementTree.Element) -> Text:
    values = numbers(re.split(r"[,\s]+", (box.findtext("segs") or "").strip(", \n")))
    if len(values) != CTW_NUMBERS:
        raise ValueError(f"expected 28 numbers in <segs>, got {len(values)}")
    content = (box.findtext("label") or "").strip()
    return Text(np.array(values).reshape(-1, 2), content == "###", content)
