# SPDX-License-Identifier: Apache-2.0
"""Order of lines that no cut divides: who stands above whom, and who stands left."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .paragraphs import Lines, paragraphs
from .runs import MAX_OVERLAP, Run, join_chains


def untangle(runs: list[Run]) -> list[Lines]:
    """Order runs that no cut divides: columns of lines, the upper and the left one first."""
    above = _above(runs)
    chains = _chains(runs, above)
    count = len(chains)
    of = np.empty(len(runs), int)
    for number, chain in enumerate(chains):
        of[chain] = number
    before = np.zeros((count, count), bool)
    upper, lower = np.nonzero(above)
    before[of[upper], of[lower]] = True
    top = np.array([min(runs[i].top for i in chain) for chain in chains])
    bottom = np.array([max(runs[i].bottom for i in chain) for chain in chains])
    x = np.array([np.mean([runs[i].x for i in chain]) for chain in chains])
    beside = (top[:, None] < bottom) & (bottom[:, None] > top) & (x[:, None] < x)
    before |= beside & ~before.T & ~before
    np.fill_diagonal(before, False)
    blocks: list[Lines] = []
    left = np.ones(count, bool)
    while left.any():
        waiting = np.where(left, before[left].sum(axis=0), count)  # fewest first: circles open
        first = min(np.flatnonzero(waiting == waiting.min()), key=lambda i: (top[i], x[i]))
        left[first] = False
        blocks += paragraphs([[runs[i]] for i in chains[first]])
    return blocks


def _above(runs: list[Run]) -> NDArray[np.bool_]:
    """Return (N, N) whether a run overlaps another in x and is above it at their common x."""
    left, right, x, y, slope, height = (
        np.array([getattr(run, name) for run in runs])
        for name in ("left", "right", "x", "y", "slope", "height")
    )
    begin, end = np.maximum(left[:, None], left), np.minimum(right[:, None], right)
    overlap = end - begin > MAX_OVERLAP * np.minimum(height[:, None], height)
    middle = (begin + end) / 2
    line = y[:, None] + slope[:, None] * (middle - x[:, None])
    return np.asarray(overlap & (line < line.T))


def _chains(runs: list[Run], above: NDArray[np.bool_]) -> list[list[int]]:
    """Join each run to the one below it if they are each other's only neighbours."""
    steps = above.astype(np.float32)
    next_below = above & (steps @ steps == 0)  # nothing stands between
    one_below, one_above = next_below.sum(axis=1) == 1, next_below.sum(axis=0) == 1
    joined = next_below & one_below[:, None] & one_above
    following = {int(i): int(j) for i, j in np.argwhere(joined)}
    return join_chains(sorted(range(len(runs)), key=lambda i: runs[i].y), following)
