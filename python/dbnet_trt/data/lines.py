# SPDX-License-Identifier: Apache-2.0
"""Split lines x1,y1,...,xn,yn,text into outline and transcription."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*")

SCRIPTS = (
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
"""Names of scripts, which stand before the transcription in MLT's lines."""

_FLAG_AND_TEXT = re.compile(r"\s*[01]\s*,\s*[^\s\d.,-]")


def split_outline(line: str) -> tuple[list[float], str | None]:
    """Split a line into the numbers of its outline and its transcription.

    The outline has all leading pairs of numbers. A transcription may itself be a number with
    commas: if the last of more than four pairs lies further from the other points than their
    extent, it belongs to the transcription, as in 10,10,60,10,60,30,10,30,1,000.

    Returns:
        The numbers, an even count of them; and the transcription, None if there is none.
    """
    fields = line.split(",")
    count = next(
        (index for index, field in enumerate(fields) if not _NUMBER.fullmatch(field)), len(fields)
    )
    count -= count % 2
    while count > 8 and _is_far([float(field) for field in fields[:count]]):
        count -= 2
    numbers = [float(field) for field in fields[:count]]
    return numbers, ",".join(fields[count:]) if count < len(fields) else None


def _is_far(numbers: list[float]) -> bool:
    """Whether the last point is further from the box around the others than its longer side."""
    xs, ys = numbers[:-2:2], numbers[1:-2:2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    x, y = numbers[-2:]
    longer = max(right - left, bottom - top)
    return max(left - x, x - right, top - y, y - bottom) > longer


def split_quad(line: str) -> tuple[list[float], str]:
    """Split a line x1,y1,...,x4,y4,text into its eight numbers and its transcription.

    Raises:
        ValueError: The line is not of this form; the message names formats with such lines.
    """
    expected = "expected x1,y1,...,x4,y4,text"
    fields = line.split(",", 8)
    numbers, text = split_outline(line)
    if len(numbers) > 8:
        raise ValueError(
            f"{expected}, got an outline of {len(numbers) // 2} points in {show(line)}; "
            f"the format {'ctw1500' if _is_ctw1500(text, line) else 'polygons'} has such lines"
        )
    if len(numbers) < 8:
        wrong = next((field.strip() for field in fields[:8] if not _NUMBER.fullmatch(field)), None)
        if len(fields) < 9 or wrong is None:
            raise ValueError(f"{expected}, got {len(fields)} fields in {show(line)}")
        raise ValueError(f"{expected}; expected a number, got {wrong!r}")
    if text is None:
        raise ValueError(
            f"{expected}, got 8 fields in {show(line)}; the format polygons has lines without text"
        )
    check_text_part(text, expected, line)
    return numbers, text


def check_text_part(text: str, expected: str, line: str) -> None:
    """Check that a line has no field of another format before its transcription.

    Args:
        text: The part of the line after the outline.
        expected: Beginning of the error message, which names the expected line.
        line: The whole line, for the message.

    Raises:
        ValueError: There is such a field; the message names the format.
    """
    script, comma, _ = text.partition(",")
    if comma and script.strip() in SCRIPTS:
        other, what = "mlt", "a script"
    elif _FLAG_AND_TEXT.match(text):
        other, what = "rctw", "a flag before the text"
    elif text.startswith("####"):
        other, what = "ctw1500", "####"
    else:
        return
    raise ValueError(f"{expected}, got {what} in {show(line)}; the format {other} has such lines")


def _is_ctw1500(text: str | None, line: str) -> bool:
    return (text or "").startswith("####") or (text is None and is_relative(line))


def is_relative(line: str) -> bool:
    """Whether a line has the 32 numbers of CTW1500's first edition: a box, and offsets in it."""
    fields = line.split(",")
    if len(fields) != 32 or not all(_NUMBER.fullmatch(field) for field in fields):
        return False
    left, top, right, bottom, *offsets = map(float, fields)
    inside = [
        -1 <= x <= right - left + 1 and -1 <= y <= bottom - top + 1
        for x, y in zip(offsets[::2], offsets[1::2], strict=True)
    ]
    return right > left and bottom > top and all(inside)


def show(line: str) -> str:
    """Quote the first 120 characters of a line, for error messages."""
    return repr(line if len(line) <= 120 else f"{line[:120]}...")
