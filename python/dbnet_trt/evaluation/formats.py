# SPDX-License-Identifier: Apache-2.0
"""Parse and format lines of ground truth and results, in the formats of benchmarks.

Each is named after its benchmark; `polygons` is x1,y1,...,xn,yn,text of any number of points, as
https://github.com/Yuliang-Liu/TIoU-metric/tree/master/curved-tiou has it for Total-Text and
CTW1500. A line that is of another format is refused.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.checks import COORDINATE_LIMIT
from ..data.dataset import BROKEN_DATA
from ..data.lines import check_text_part, is_relative, split_outline, split_quad
from ..data.mat import load_mat
from ..files import decode_text
from .scores import Polygon

Outline = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """One text of the ground truth."""

    polygon: Outline
    """(K, 2) outline (x, y) in pixels."""

    ignore: bool = False
    """Whether the text is not scored."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One detection of a results file."""

    polygon: Outline
    """(K, 2) outline (x, y) in pixels."""

    confidence: float | None = None
    """Confidence in [0, 1], if the file has it."""


class BrokenLine(ValueError):
    """A line that is not in the format."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse_truths(content: bytes, form: str) -> list[Truth]:
    """Parse one file of ground truth, in a format of `FORMATS`.

    Raises:
        BrokenLine: A line is not in the format.
    """
    return _totaltext_truths(content) if form == "totaltext" else _lines(content, _TRUTHS[form])


def parse_results(content: bytes, form: str) -> list[Found]:
    """Parse one results file, in a format of `FORMATS`; the order of lines is kept.

    Raises:
        BrokenLine: A line is not in the format.
    """
    return _lines(content, _RESULTS[form])


def format_result(polygon: Polygon, confidence: float | None, form: str) -> str:
    """Format one line of a results file, in whole pixels.

    Args:
        polygon: (K, 2) outline in pixels.
        confidence: Confidence of the detection, which the format ctw1500 has.
        form: A name in `FORMATS`.

    Raises:
        ValueError: The format takes four corners only, and there are others.
    """
    points = np.rint(polygon).astype(int)
    if form == "deteval":
        points = np.stack([points.min(axis=0), points.max(axis=0)])
    elif form == "icdar2015" and len(points) != 4:
        raise ValueError(
            f"the format icdar2015 takes outlines of 4 corners, got one of {len(points)}; "
            "leave out --polygons"
        )
    elif form == "totaltext":
        points = points[:, ::-1]
    fields = [str(value) for value in points.ravel()]
    if form == "ctw1500" and confidence is not None:
        fields.append(f"{confidence:.4f}")
    return ",".join(fields)


def _lines(content: bytes, parse: Callable[[str], Any]) -> list[Any]:
    texts = []
    # As in the official scripts: whatever is in texts.
    decoded = io.StringIO(decode_text(content, "replace"), newline="\n")
    for number, line in enumerate(decoded, start=1):
        if not line.strip():
            continue
        try:
            texts.append(parse(line.rstrip("\n").replace("\r", "")))
        except ValueError as error:
            raise BrokenLine(number, str(error)) from error
    return texts


def _numbers(fields: Sequence[str], expected: str) -> list[float]:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise ValueError(f"expected {expected}, got {','.join(fields)!r}") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"expected {expected}, got a number that is not finite")
    if not (np.abs(numbers) < COORDINATE_LIMIT).all():
        raise ValueError(f"expected {expected}, got a number beyond {COORDINATE_LIMIT:g} pixels")
    return numbers


def _outline(numbers: Sequence[float], expected: str) -> Outline:
    if len(numbers) < 6 or len(numbers) % 2:
        raise ValueError(f"expected {expected}, got {len(numbers)} numbers")
    return np.array(numbers, np.float64).reshape(-1, 2)


def check_outline(polygon: Outline) -> Outline:
    """Check that an array is an outline (K, 2) in pixels of an image, and return it.

    Raises:
        ValueError: The outline has fewer than 3 points, or numbers too large for pixels.
    """
    if len(polygon) < 3 or not (np.abs(polygon) < COORDINATE_LIMIT).all():
        raise ValueError(f"expected 3 points or more in pixels, got {str(polygon.tolist())[:80]}")
    return polygon


def _split(line: str, count: int, expected: str) -> tuple[list[float], str | None]:
    """Split a line into its first `count` numbers and the text after the next comma."""
    fields = line.split(",", count)
    if len(fields) < count:
        raise ValueError(f"expected {expected}, got {len(fields)} fields")
    return _numbers(fields[:count], expected), fields[count] if len(fields) > count else None


def _is_ignored(content: str | None, expected: str) -> bool:
    if content is None:
        raise ValueError(
            f"expected {expected}, got no text; write ### for one to ignore (the format polygons "
            "has lines without text)"
        )
    quoted = re.fullmatch(r'\s*"(.*)"\s*', content)
    return (quoted[1] if quoted else content) == "###"


def _confidence(rest: str | None) -> float | None:
    first = (rest or "").partition(",")[0].strip()
    return float(first) if re.fullmatch(r"0?\.\d+(e-?\d+)?|[01](\.\d*)?", first) else None


def _icdar2015_truth(line: str) -> Truth:
    expected = "x1,y1,x2,y2,x3,y3,x4,y4,text"
    numbers, content = _split(line, 8, expected)
    ignored = _is_ignored(content, expected)
    split_quad(line)  # raises where the line is of another format
    return Truth(_outline(numbers, expected), ignored)


def _icdar2015_result(line: str) -> Found:
    expected = "x1,y1,x2,y2,x3,y3,x4,y4 and, if wanted, a confidence and a text"
    numbers, rest = _split(line, 8, expected)
    if _confidence(rest) is None:
        _refuse_more_points(line, 4, expected)
    return Found(_outline(numbers, expected), _confidence(rest))


def _refuse_more_points(line: str, count: int, expected: str) -> None:
    numbers, _ = split_outline(line)
    if len(numbers) > 2 * count:
        raise ValueError(
            f"expected {expected}, got an outline of {len(numbers) // 2} points; "
            "the formats polygons, ctw1500 and totaltext have such lines"
        )


def _box(numbers: Sequence[float]) -> Outline:
    left, top, right, bottom = numbers
    if right < left or bottom < top:
        raise ValueError(
            f"expected left,top,right,bottom, got a box from {left:g},{top:g} "
            f"to {right:g},{bottom:g}"
        )
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def _deteval_truth(line: str) -> Truth:
    expected = "left,top,right,bottom,text"
    _refuse_quad(line, expected)
    numbers, content = _split(line, 4, expected)
    return Truth(_box(numbers), _is_ignored(content, expected))


def _deteval_result(line: str) -> Found:
    expected = "left,top,right,bottom and, if wanted, a confidence"
    _refuse_quad(line, expected)
    numbers, rest = _split(line, 4, expected)
    return Found(_box(numbers), _confidence(rest))


def _refuse_quad(line: str, expected: str) -> None:
    numbers, _ = split_outline(line)
    if len(numbers) >= 8:
        raise ValueError(
            f"expected {expected}, got an outline of {len(numbers) // 2} points; "
            "the formats icdar2015, polygons and ctw1500 have such lines"
        )


def _ctw1500_truth(line: str) -> Truth:
    expected = "x1,y1,x2,y2,...,####text, or x1,y1,...,text, or a box and 14 points relative to it"
    points, mark, content = line.partition("####")
    if not mark and not is_relative(line):
        return _polygons_truth(line)
    numbers = _numbers(points.rstrip().rstrip(",").split(","), expected)
    if not mark and len(numbers) == 32:
        return Truth(np.array(numbers[4:]).reshape(-1, 2) + numbers[:2])
    return Truth(_outline(numbers, expected), content.strip() == "###")


def _polygons_truth(line: str) -> Truth:
    expected = "x1,y1,...,xn,yn,text of 3 points or more"
    numbers, content = split_outline(line)
    outline = _outline(_numbers([str(each) for each in numbers], expected), expected)
    check_text_part(content or "", f"expected {expected}", line)
    return Truth(outline, content is not None and _is_ignored(content.strip(), expected))


def _ctw1500_result(line: str) -> Found:
    expected = "x1,y1,x2,y2,... of 3 points or more and, if wanted, a confidence"
    numbers = _numbers(line.rstrip().rstrip(",").split(","), expected)
    confidence = numbers.pop() if len(numbers) % 2 else None
    return Found(_outline(numbers, expected), confidence)


def _totaltext_result(line: str) -> Found:
    expected = "y1,x1,y2,x2,... of 3 points or more"
    numbers = _numbers(line.rstrip().rstrip(",").split(","), expected)
    return Found(_outline(numbers, expected)[:, ::-1])


_TOTALTEXT = re.compile(
    r"x:\s*\[\[(?P<x>[^\]]*)\]\],\s*y:\s*\[\[(?P<y>[^\]]*)\]\],"
    r"\s*ornt:\s*\[(?P<orientation>[^\n]*?)\],\s*transcriptions:\s*\[[^\n]*\]\s*"
)
_TOTALTEXT_LINE = "x: [[...]], y: [[...]], ornt: [u'...'], transcriptions: [u'...']"


def _totaltext_truths(content: bytes) -> list[Truth]:
    """Parse a poly_gt_imgN.mat or .txt file, in which numbers may continue on the next line."""
    if content.startswith(b"MATLAB"):
        return _totaltext_mat(content)
    text = decode_text(content, "replace").replace("\r", "")
    texts, end = [], len(text) - len(text.lstrip())
    while end < len(text):
        match = _TOTALTEXT.match(text, end)
        line = text.count("\n", 0, end) + 1
        if match is None:
            got = text[end:].partition("\n")[0]
            hint = ""
            if len(split_outline(got)[0]) >= 6:
                hint = "; the format polygons has such lines (--format polygons, results too)"
            raise BrokenLine(line, f"expected {_TOTALTEXT_LINE}, got {got[:80]!r}{hint}")
        try:
            x, y = (_numbers(match[name].split(), "whole numbers") for name in ("x", "y"))
            ignored = match["orientation"].strip("u'\" ") == "#"
            texts += _totaltext_truth(x, y, ignored)
        except ValueError as error:
            raise BrokenLine(line, str(error)) from error
        end = match.end()
    return texts


def _totaltext_mat(content: bytes) -> list[Truth]:
    texts = []
    try:
        rows = load_mat(content)["polygt"]
    except (KeyError, ValueError) as error:
        raise BrokenLine(1, f"expected a MATLAB file with polygt, got {error!r}") from error
    for number, row in enumerate(rows, start=1):
        try:
            x, y = (np.asarray(row[at], np.float64).ravel().tolist() for at in (1, 3))
            orientation = "".join(map(str, np.ravel(row[5]).tolist())) if len(row) > 5 else ""
            texts += _totaltext_truth(x, y, orientation == "#")
        except BROKEN_DATA as error:
            raise BrokenLine(number, str(error)) from error
    return texts


def _totaltext_truth(x: list[float], y: list[float], ignored: bool) -> list[Truth]:
    if ignored and len(x) < 3:
        return []  # a mark for ignored text without an outline
    if len(x) != len(y) or len(x) < 3:
        raise ValueError(f"expected as many x as y, 3 or more, got {len(x)} and {len(y)}")
    return [Truth(check_outline(np.array([x, y], np.float64).T), ignored)]


_TRUTHS: dict[str, Callable[[str], Truth]] = {
    "icdar2015": _icdar2015_truth,
    "ctw1500": _ctw1500_truth,
    "deteval": _deteval_truth,
    "polygons": _polygons_truth,
}
_RESULTS: dict[str, Callable[[str], Found]] = {
    "icdar2015": _icdar2015_result,
    "totaltext": _totaltext_result,
    "ctw1500": _ctw1500_result,
    "deteval": _deteval_result,
    "polygons": _ctw1500_result,
}
FORMATS = (*_RESULTS, "paddleocr")
