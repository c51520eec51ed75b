# SPDX-License-Identifier: Apache-2.0
"""Paragraphs: lines of one size that follow each other closely."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .runs import Run

Lines = list[list[Run]]
"""Lines from top to bottom; each is its runs from left to right."""


def paragraphs(lines: Lines) -> list[Lines]:
    """Divide the lines of a column where the size or the distance of lines changes."""
    if not lines:
        return []
    pitches = [
        b[0].y - a[0].y
        for a, b in pairwise(lines)
        if _same_size(a, b) and b[0].y - a[0].y < 2.2 * a[0].height
    ]
    usual = float(np.quantile(pitches, 0.25)) if pitches else np.inf
    blocks = [[lines[0]]]
    for line in lines[1:]:
        last = blocks[-1][-1]
        pitch = line[0].y - last[0].y
        far = pitch > min(1.35 * usual, 2.2 * max(last[0].height, line[0].height))
        apart = min(line[-1].right, last[-1].right) <= max(line[0].left, last[0].left)
        if far or apart or not _same_size(last, line):
            blocks.append([line])
        else:
            blocks[-1].append(line)
    return blocks


def _same_size(a: list[Run], b: list[Run]) -> bool:
    crossing = a[0].inner is not None or b[0].inner is not None
    sizes = sorted((a[0].height, b[0].height))
    return not crossing and sizes[1] < 1.5 * sizes[0]
