# SPDX-License-Identifier: Apache-2.0
"""Read PaddleOCR's ground truth and results files: path, tab and a list, one line per image.

Lines are as those of its data sets, path<tab>[{"transcription": ..., "points": [[x, y], ...]}]; its
results may also be bare lists of points, path<tab>[[[x, y], ...], ...]. Defined by
https://github.com/PaddlePaddle/PaddleOCR: tools/infer_det.py, tools/infer/predict_det.py and
predict_system.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..data.dataset import BROKEN_DATA
from ..data.readers.annotated import parse_paddle
from ..data.readers.files import MAX_ANNOTATION_BYTES, point_array
from ..files import decode_text, parse_json, read_limited
from .formats import Found, Truth, check_outline

FORM = "paddleocr"

HEAD_BYTES = 4096


def is_paddleocr(path: Path, form: str) -> bool:
    """Whether a path is a file of PaddleOCR, by the format's name or by a list after a tab."""
    if form == FORM:
        return True
    if path.is_dir() or not path.is_file():
        return False
    with path.open("rb") as file:
        return b"\t[" in file.read(HEAD_BYTES).partition(b"\n")[0]


def parse_paddle_truths(path: Path) -> Iterator[tuple[str, int, list[Truth]]]:
    """Read ground truth, yielding image path, line number and texts per line.

    Raises:
        ValueError: The file cannot be read, or a line is not as it should be.
    """

    def parse(text: Any) -> Truth:
        """Parse one text of the ground truth."""
        read = parse_paddle(text)
        return Truth(check_outline(read.polygon), read.ignore)

    yield from _lines(path, parse)


def parse_paddle_results(path: Path) -> Iterator[tuple[str, int, list[Found]]]:
    """Read results, yielding image path, line number and detections per line.

    Raises:
        ValueError: The file cannot be read, or a line is not as it should be.
    """

    def parse(text: Any) -> Found:
        """Parse one detection."""
        points = text["points"] if isinstance(text, dict) else text
        score = text.get("score") if isinstance(text, dict) else None
        confidence = None if score is None else float(score)
        return Found(check_outline(point_array(points)), confidence)

    yield from _lines(path, parse)


def _lines(path: Path, parse: Callable[[Any], Any]) -> Iterator[tuple[str, int, list[Any]]]:
    content = read_limited(path, max_bytes=MAX_ANNOTATION_BYTES)
    for number, line in enumerate(decode_text(content, "replace").split("\n"), start=1):
        if not line.strip():
            continue
        name, _, listed = line.partition("\t")
        try:
            texts = parse_json(listed)
            if not isinstance(texts, list):
                raise ValueError("no list after a tab")
            yield name.strip(), number, [parse(text) for text in texts]
        except BROKEN_DATA as error:
            raise ValueError(
                f"{path}:{number}: expected path<tab>[...], as PaddleOCR writes it; got "
                f"{line[:80]!r} ({error})"
            ) from error
