# SPDX-License-Identifier: Apache-2.0
"""Recursive cuts (XY-cut): a region into bands, bands into columns or the rows of a table."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from .paragraphs import Lines, paragraphs
from .runs import MAX_OVERLAP, Run
from .tangles import untangle

MIN_GUTTER = 0.3
"""Minimum width of the gap between columns, in heights of the text."""

CELL_ASPECT = 6.0
"""Ratio of width to height below which text is a cell of a table rather than a line of prose."""

CELL_ASPECT_OF_MANY = 9.0
"""The same where three or more columns stand side by side."""


def cut(runs: list[Run]) -> list[Lines]:
    """Divide a region into blocks of lines, in reading order."""
    blocks: list[Lines] = []
    for bands, has_columns in _group(_bands(runs)):
        blocks += _cut_columns(bands) if has_columns else _cut_bands(bands)
    return blocks


def _cut_bands(bands: Lines) -> list[Lines]:
    """Divide bands without columns."""
    blocks: list[Lines] = []
    lines: Lines = []
    for band in bands:
        if _is_row(band):
            lines.append(sorted(band, key=lambda run: run.left))
        else:
            blocks += paragraphs(lines) + untangle(band)
            lines = []
    return blocks + paragraphs(lines)


def _bands(runs: list[Run]) -> Lines:
    """Divide runs by all horizontal gaps, from top to bottom.

    Neighbours whose baselines differ by less than a line are in one band.
    """
    bands: Lines = []
    bottom = -np.inf
    for run in sorted(runs, key=lambda run: run.top):
        if run.top < bottom or (bands and any(_beside(run, other) for other in bands[-1])):
            bands[-1].append(run)
        else:
            bands.append([run])
        bottom = max(bottom, run.bottom)
    return bands


def _beside(run: Run, other: Run) -> bool:
    """Test whether a run, not above the other, is within its line but not below it."""
    near = run.y - other.y < 0.8 * max(run.height, other.height)
    return near and (run.left >= other.right or run.right <= other.left)


def _gutters(band: list[Run]) -> list[tuple[float, float]]:
    """Return the gaps between the runs of a band, and what is left and right of them all."""
    gaps, right = [], -np.inf
    for run in sorted(band, key=lambda run: run.left):
        if run.left > right:
            gaps.append((right, run.left))
        right = max(right, run.right)
    return [*gaps, (right, np.inf)]


def _meet(
    some: list[tuple[float, float]], others: list[tuple[float, float]], width: float
) -> list[tuple[float, float]]:
    """Intersect two lists of intervals; narrow ones are left out."""
    pairs = ((max(a, c), min(b, d)) for a, b in some for c, d in others)
    return [(a, b) for a, b in pairs if b - a > width]


def _min_gutter(runs: list[Run]) -> float:
    return MIN_GUTTER * float(np.median([run.height for run in runs]))


def _own_gutters(band: list[Run]) -> list[tuple[float, float]]:
    """Return the gaps between runs that are wide enough."""
    inner, width = _gutters(band)[1:-1], _min_gutter(band)
    return [(a, b) for a, b in inner if b - a > width]


def _is_row(band: list[Run]) -> bool:
    """Test whether the runs of a band stand side by side."""
    ordered = sorted(band, key=lambda run: run.left)
    return all(a.right - b.left <= MAX_OVERLAP * min(a.size, b.size) for a, b in pairwise(ordered))


def _group(bands: Lines) -> list[tuple[Lines, bool]]:
    """Join bands that share gutters, and those between them; True marks those with gutters."""
    groups: list[tuple[Lines, bool]] = []
    plain: Lines = []  # bands without gutters, and single rows
    i = 0
    while i < len(bands):
        gutters, end = _own_gutters(bands[i]), i + 1
        while gutters and end < len(bands):
            shared = _meet(gutters, _gutters(bands[end]), _min_gutter(bands[end]))
            if not shared or _heads_next(bands, end, gutters) or _is_apart(bands, end):
                break
            far = _distance(bands[end - 1], bands[end]) > 1.5 * bands[end][0].height
            if far and len(shared) < len(gutters):  # other columns begin
                break
            gutters, end = shared, end + 1
        if not gutters or (end == i + 1 and _is_row(bands[i])):
            plain.append(bands[i])
            i += 1
            continue
        start = i
        while plain and _belongs_below(plain[-1], bands[start], gutters):
            start -= 1
            plain.pop()
        groups += [(plain, False)] if plain else []
        groups.append((bands[start:end], True))
        plain, i = [], end
    return groups + ([(plain, False)] if plain else [])


def _heads_next(bands: Lines, i: int, gutters: list[tuple[float, float]]) -> bool:
    """Test whether a band is the heading of the next one, which closes the gutters."""
    if i + 1 >= len(bands) or len(bands[i]) > 1:
        return False
    if _meet(gutters, _gutters(bands[i + 1]), _min_gutter(bands[i + 1])):
        return False
    return _distance(bands[i], bands[i + 1]) < _distance(bands[i - 1], bands[i])


def _is_apart(bands: Lines, i: int) -> bool:
    """Test whether a band is a line by itself below the columns, as the number of a page."""
    if len(bands[i]) > 1:
        return False
    (run,), above = bands[i], bands[i - 1]
    gap = _distance(above, bands[i])
    if _is_row(above) and len(above) > 1 and gap > 1.5 * run.height:
        return True
    aligned = any(abs(run.left - other.left) < run.height for band in bands[:i] for other in band)
    return i == len(bands) - 1 and not aligned and gap > run.height


def _belongs_below(band: list[Run], below: list[Run], gutters: list[tuple[float, float]]) -> bool:
    """Test whether a band is the top of the columns below it."""
    if not _meet(gutters, _gutters(band), _min_gutter(band)):
        return False
    height, size = max(run.height for run in below), max(run.height for run in band)
    return _distance(band, below) < 2.5 * height and size < 1.8 * height


def _distance(upper: list[Run], lower: list[Run]) -> float:
    """Return the gap between two bands, in pixels."""
    return min(run.top for run in lower) - max(run.bottom for run in upper)


def _cut_columns(bands: Lines) -> list[Lines]:
    """Divide bands by their gutters; columns whose rows are aligned stay together as a table."""
    runs = [run for band in bands for run in band]
    gutters = _own_gutters(runs)
    columns: list[list[Run]] = [[] for _ in range(len(gutters) + 1)]
    for run in runs:
        columns[sum(run.left >= right - 1e-6 for _, right in gutters)].append(run)
    limit = CELL_ASPECT if len(columns) == 2 else CELL_ASPECT_OF_MANY
    clusters = [[columns[0]]]
    for column in columns[1:]:
        if _are_aligned(clusters[-1][-1], column, limit):
            clusters[-1].append(column)
        else:
            clusters.append([column])
    blocks: list[Lines] = []
    for cluster in clusters:
        inside = [run for column in cluster for run in column]
        if len(inside) == len(runs) and len(cluster) == 1:  # the gutters are narrow for all
            blocks += untangle(inside)
        elif len(cluster) == 1:
            blocks += cut(inside)
        else:
            blocks.append(_rows(inside))
    return blocks


def _rows(runs: list[Run]) -> Lines:
    """Divide a table into rows, in which no text stands above another."""
    rows: Lines = []
    for run in sorted(runs, key=lambda run: run.y):
        fits = rows and run.y - rows[-1][0].y < 0.5 * run.height and _is_row([*rows[-1], run])
        if fits:
            rows[-1].append(run)
        else:
            rows.append([run])
    return [sorted(row, key=lambda run: run.left) for row in rows]


def _are_aligned(left: list[Run], right: list[Run], limit: float) -> bool:
    """Test whether two columns are cells of a table: short texts at the same heights."""
    if all(_is_prose(column, limit) for column in (left, right)):
        return False
    fewer, more = sorted((left, right), key=len)
    ys = np.array([run.y for run in more])
    num_aligned = sum(abs(ys - run.y).min() < 0.3 * run.height for run in fewer)
    return num_aligned >= 0.7 * len(fewer) and num_aligned >= 0.4 * len(more)


def _is_prose(column: list[Run], limit: float) -> bool:
    """Test whether a column has lines of prose: long ones, or several that fill it."""
    widths = np.array([run.right - run.left for run in column])
    aspect = np.median([run.aspect for run in column])
    fills = len(column) >= 4 and np.median(widths) > 0.85 * widths.max()
    return bool(aspect > (CELL_ASPECT if fills else limit))
