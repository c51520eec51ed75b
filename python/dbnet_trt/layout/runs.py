# SPDX-License-Identifier: Apache-2.0
"""Runs: words of one line, a space apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .texts import Texts

WORD_GAP = 0.8
"""Maximum gap between words of a line, in heights of the text."""

MAX_OVERLAP = 0.25
"""Maximum overlap of neighbours in a line, in heights of the text (or widths, where smaller), as
outlines are a little wide."""

Block = list[list[int]]
"""Lines of a block; each is the indices of its texts."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A stretch of text that nothing divides: words side by side, or a whole crossing text.

    Attributes:
        members: Indices of its texts, in order.
        left, right: Extent along the line.
        top, bottom: Extent of the middle half of its height, so that lines which touch are apart.
        height: Height of the text.
        x, y, slope: Centre, and direction of its line as dy / dx.
        inner: Blocks of crossing texts, None otherwise.
    """

    members: list[int]
    left: float
    right: float
    top: float
    bottom: float
    height: float
    x: float
    y: float
    slope: float
    inner: list[Block] | None = field(default=None)

    @classmethod
    def of(cls, texts: Texts, members: list[int], inner: list[Block] | None = None) -> Run:
        """Measure a run of these texts; `inner` are their blocks if they cross the page."""
        points = texts.quads[members].reshape(-1, 2)
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        weights = texts.lengths[members] + 1e-3
        weights /= weights.sum()
        x, y = (weights @ texts.quads[members].mean(axis=1)).tolist()
        height = float(np.sort(texts.heights[members])[len(members) // 2])
        slope = 0.0
        if inner is None:
            angles, middle = texts.angles[members], texts.quads[members, :, 1].mean(axis=1)
            half = texts.lengths[members] * np.abs(np.sin(angles)) / 2
            top = float((middle - half).min()) - height / 4
            bottom = float((middle + half).max()) + height / 4
            slope = math.tan(min(max(float(weights @ angles), -1), 1))
        return cls(members, left, right, top, bottom, height, x, y, slope, inner)

    def mirrored(self) -> Run:
        """Mirror left and right, for text that runs to the left."""
        return Run(
            self.members, -self.right, -self.left, self.top, self.bottom,
            self.height, -self.x, self.y, -self.slope, self.inner,
        )  # fmt: skip

    @property
    def size(self) -> float:
        """The smaller of width and height."""
        return min(self.right - self.left, self.height)

    @property
    def aspect(self) -> float:
        """Ratio of width to height."""
        return (self.right - self.left) / self.height


def find_runs(texts: Texts, chosen: NDArray[np.intp], right_to_left: bool) -> list[Run]:
    """Join words of one line that are a space apart.

    Args:
        texts: All texts.
        chosen: Indices of those that run along the page.
        right_to_left: Whether words follow each other from right to left.
    """
    runs = []
    for chain in join_chains(range(len(chosen)), _following(texts, chosen)):
        members = [int(chosen[k]) for k in (reversed(chain) if right_to_left else chain)]
        runs.append(Run.of(texts, members))
    return runs


def join_chains(items: Sequence[int], following: dict[int, int]) -> list[list[int]]:
    """Join items to chains by what follows each; a circle is opened at its first item.

    Args:
        items: All items, in the order in which chains begin.
        following: What follows an item; no two are followed by the same.
    """
    left, chains = set(items), []
    followers = set(following.values())
    for first in [*(item for item in items if item not in followers), *items]:
        chain, item = [], first
        while item in left:
            left.discard(item)
            chain.append(item)
            item = following.get(item, item)
        chains += [chain] if chain else []
    return chains


def _following(texts: Texts, chosen: NDArray[np.intp]) -> dict[int, int]:
    """Map the position in `chosen` of a word to that of the next word of its line."""
    angles, heights, lengths = (
        each[chosen] for each in (texts.angles, texts.heights, texts.lengths)
    )
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    centers = texts.centers[chosen]
    half = direction * lengths[:, None] / 2
    starts, ends = centers - half, centers + half
    following: dict[int, int] = {}
    previous: dict[int, int] = {}
    nearest = np.full(len(chosen), np.inf)
    for i in range(len(chosen)):
        along = direction[i]
        way = starts - ends[i]
        gaps, offsets = way @ along, np.abs(way @ np.array([-along[1], along[0]]))
        smaller, larger = np.minimum(heights, heights[i]), np.maximum(heights, heights[i])
        size = np.minimum(smaller, np.minimum(lengths, lengths[i]))
        fits = (gaps > -MAX_OVERLAP * size) & (gaps < WORD_GAP * larger)
        fits &= (offsets < 0.4 * smaller) & (larger < 2 * smaller)
        fits &= (centers - centers[i]) @ along > 0
        fits[i] = False
        candidates = np.flatnonzero(fits)
        if len(candidates) == 0:
            continue
        j = int(candidates[gaps[candidates].argmin()])
        if gaps[j] < nearest[j]:
            following.pop(previous.get(j, -1), None)
            following[i], previous[j], nearest[j] = j, i, gaps[j]
    return following


def islands(texts: Texts, chosen: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Group texts that are at most a line's height apart."""
    low, high = texts.quads[chosen].min(axis=1), texts.quads[chosen].max(axis=1)
    reach = texts.heights[chosen]
    groups, left = [], set(range(len(chosen)))
    while left:
        group, border = [], [min(left)]
        left.discard(border[0])
        while border:
            i = border.pop()
            group.append(i)
            near = (np.maximum(low, low[i]) - np.minimum(high, high[i])).max(axis=1)
            joined = [int(j) for j in np.flatnonzero(near < (reach + reach[i]) / 2) if j in left]
            left.difference_update(joined)
            border += joined
        groups.append(chosen[sorted(group)])
    return groups
