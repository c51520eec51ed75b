# SPDX-License-Identifier: Apache-2.0
"""Arrangement of texts in blocks and lines, in reading order.

Everything happens in a frame in which text runs to the right and lines follow downwards. Words
grow to runs; a region is cut into bands by horizontal gaps and into columns by vertical ones,
recursively, and what no cut divides is ordered by who stands above and left of whom.
"""

from __future__ import annotations

import numpy as np

from .cuts import cut
from .paragraphs import Lines
from .runs import Block, Run, find_runs, islands
from .texts import FloatArray, Texts, main_direction, rotate


def arrange(
    quads: FloatArray, *, right_to_left: bool = False, turned: int | None = None
) -> list[Block]:
    """Arrange texts in blocks and lines, in reading order.

    Args:
        quads: (N, 4, 2) float32, corners (x, y) in pixels.
        right_to_left: Whether words and columns follow each other from right to left.
        turned: Direction of the text, in degrees clockwise from left-to-right: 0, 90, 180 or 270;
            None takes 0 or 90, whichever most of the text has.

    Returns:
        Blocks of lines of indices; each index once.

    Raises:
        ValueError: `turned` is another number.
    """
    if turned not in (None, 0, 90, 180, 270):
        raise ValueError(f"turned must be 0, 90, 180, 270 or None, got {turned!r}")
    if len(quads) == 0:
        return []
    if turned is None:
        turned = main_direction(quads)
    texts = Texts.measure(rotate(quads.astype(np.float64), -np.radians(turned)))
    texts = texts.turned_by(-texts.skew()).with_upright_letters()
    crossing = texts.crossing
    runs = find_runs(texts, np.flatnonzero(~crossing), right_to_left)
    for island in islands(texts, np.flatnonzero(crossing)):
        blocks = arrange(
            quads[island], right_to_left=right_to_left, turned=90 if turned % 180 == 0 else 0
        )
        inner = [[[int(island[i]) for i in line] for line in block] for block in blocks]
        runs.append(Run.of(texts, island.tolist(), inner))
    if right_to_left:
        runs = [run.mirrored() for run in runs]
    return _to_blocks(cut(runs))


def _to_blocks(blocks: list[Lines]) -> list[Block]:
    """Replace runs by their texts, and crossing texts by their own blocks."""
    result: list[Block] = []
    for lines in blocks:
        block: Block = []
        for line in lines:
            texts: list[int] = []
            for run in line:
                if run.inner is None:
                    texts += run.members
                    continue
                block += [texts] if texts else []
                result += [block] if block else []
                result += run.inner
                block, texts = [], []
            block += [texts] if texts else []
        result += [block] if block else []
    return result
