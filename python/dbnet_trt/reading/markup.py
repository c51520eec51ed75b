# SPDX-License-Identifier: Apache-2.0
"""Texts that were read, as plain text and Markdown."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from ..detections import Detections
from ..layout.runs import WORD_GAP

HEADING_RATIO = 1.5
"""Height of a line over the usual height from which it is a heading."""

Blocks = list[list[Detections]]


def to_text(found: Detections, *, right_to_left: bool = False) -> str:
    """Return the text in reading order: a line per line, an empty line between blocks.

    Raises:
        ValueError: The text was not read.
    """
    blocks = blocks_of(found, right_to_left)
    return "\n\n".join("\n".join(_join(line) for line in block) for block in blocks)


def to_markdown(found: Detections, *, right_to_left: bool = False) -> str:
    """Return the text as Markdown: paragraphs, tables, and large lines as headings.

    Raises:
        ValueError: The text was not read.
    """
    blocks = blocks_of(found, right_to_left)
    heights = [_height(line) for block in blocks for line in block]
    usual = float(np.median(heights)) if heights else 0.0
    parts = []
    for block in blocks:
        rows = [_cells(line) for line in block]
        if len(rows) > 1 and np.median([len(row) for row in rows]) >= 2:
            parts.append(_table(rows))
        elif len(block) <= 2 and min(map(_height, block)) > HEADING_RATIO * usual:
            parts.append("## " + _escape(" ".join(map(_join, block))))
        else:
            parts.append("\n".join(_escape(_join(line)) for line in block))
    return "\n\n".join(parts)


def blocks_of(found: Detections, right_to_left: bool) -> Blocks:
    """Return the blocks of the texts that have letters.

    Raises:
        ValueError: The text was not read.
    """
    if found.texts is None:
        raise ValueError("the text was not read; pass the detections through read_text first")
    read = found[[bool(text.strip()) for text in found.texts]] if len(found) else found
    return read.blocks(right_to_left=right_to_left)


def _join(line: Detections) -> str:
    return " ".join(line.texts or ())


def _height(line: Detections) -> float:
    return float(np.median(np.linalg.norm(line.quads[:, 3] - line.quads[:, 0], axis=1)))


def _along(line: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Return where texts of a line begin and end along it, (N,) each, in pixels."""
    direction = (line.quads[:, 1] - line.quads[:, 0]).sum(axis=0)
    places = line.quads @ (direction / max(float(np.linalg.norm(direction)), 1e-6))
    return places.min(axis=1), places.max(axis=1)


def _cells(line: Detections) -> list[tuple[float, float, str]]:
    """Join the words of a line to cells: (start, end, text)."""
    starts, ends = _along(line)
    reach = WORD_GAP * _height(line)
    cells: list[tuple[float, float, str]] = []
    for start, end, text in zip(starts, ends, line.texts or (), strict=True):
        gap = max(start - cells[-1][1], cells[-1][0] - end) if cells else np.inf
        cell = (float(start), float(end), text)
        if gap < reach:
            before = cells.pop()
            cell = (min(before[0], start), max(before[1], end), f"{before[2]} {text}")
        cells.append(cell)
    return cells


def _table(rows: list[list[tuple[float, float, str]]]) -> str:
    """Set rows of cells under each other; the first is the head."""
    columns: list[list[float]] = []
    for start, end, _ in sorted(cell for row in rows for cell in row):
        if columns and start < columns[-1][1]:
            columns[-1][1] = max(columns[-1][1], end)
        else:
            columns.append([start, end])
    reverse = any(a[0] > b[0] for row in rows for a, b in pairwise(row))
    lines = []
    for row in rows:
        texts = [
            " ".join(text for start, _, text in row if column[0] <= start < column[1])
            for column in columns
        ]
        texts = texts[::-1] if reverse else texts
        lines.append("| " + " | ".join(map(_escape, texts)) + " |")
    return "\n".join([lines[0], "|" + "---|" * len(columns), *lines[1:]])


def _escape(text: str) -> str:
    """Escape what Markdown would take for markup."""
    text = re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
    return re.sub(r"^(\d+)([.)]\s)|^([#+\-=]|~~~)", r"\1\\\2\3", text) if text else text
