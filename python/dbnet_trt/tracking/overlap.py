# SPDX-License-Identifier: Apache-2.0
"""Overlap of outlines, and the assignment that makes most of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DBNetError

FloatArray = NDArray[np.float32]
Float64Array = NDArray[np.float64]

NEXT = (1, 2, 3, 0)
"""Order of the corners that follow each."""

TINY = 1e-9
"""Area in square pixels below which there is none."""


def quad_overlap(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the intersection over union of convex quads.

    Args:
        first: (N, 4, 2) float32, corners (x, y) in pixels.
        second: (M, 4, 2) float32, likewise.

    Returns:
        (N, M) float32 in [0, 1].
    """
    overlap = np.zeros((len(first), len(second)), np.float32)
    low, high = first.min(axis=1)[:, None], first.max(axis=1)[:, None]
    apart = (low >= second.max(axis=1)) | (high <= second.min(axis=1))
    rows, columns = np.nonzero(~(apart[..., 0] | apart[..., 1]))
    if len(rows) == 0:
        return overlap
    (one, areas), (other, others) = _clockwise(first), _clockwise(second)
    pairs = np.concatenate([one[rows], other[columns]])
    common = _common_area(pairs - np.concatenate([one[rows, :1]] * 2))
    union = areas[rows] + others[columns] - common
    overlap[rows, columns] = common / np.maximum(union, TINY)
    return overlap


def _cross(first: Float64Array, second: Float64Array) -> Float64Array:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _clockwise(quads: FloatArray) -> tuple[Float64Array, Float64Array]:
    """Return quads with their corners clockwise, and their areas (N,) in square pixels."""
    exact = quads.astype(np.float64)
    areas = _cross(exact[:, 2] - exact[:, 0], exact[:, 3] - exact[:, 1]) / 2
    is_wrong = areas < 0
    if is_wrong.any():
        exact[is_wrong] = exact[is_wrong, ::-1]
    return exact, np.abs(areas)


def _common_area(pairs: Float64Array) -> Float64Array:
    """Compute the area that convex quads share: (K,).

    By Green's theorem, from the parts of each one's edges that lie inside the other; an edge that
    both have counts once.

    Args:
        pairs: (2 K, 4, 2), the first quad of each pair, then the second of each.
    """
    count = len(pairs) // 2
    steps = pairs[:, NEXT] - pairs
    within = np.concatenate([pairs[count:], pairs[:count]])
    sides = np.concatenate([steps[count:], steps[:count]])
    height = _cross(sides[:, None], pairs[:, :, None] - within[:, None])  # (2 K, edges, sides)
    rise = _cross(sides[:, None], steps[:, :, None])
    is_parallel = rise == 0
    at = -height / np.where(is_parallel, 1, rise)
    enters = np.where(rise > 0, at, 0).max(axis=2, initial=0)
    leaves = np.where(rise < 0, at, 1).min(axis=2, initial=1)
    is_out = height < 0
    is_out[count:] |= height[count:] == 0
    share = np.where((is_parallel & is_out).any(axis=2), 0, np.maximum(leaves - enters, 0))
    parts = (share * _cross(pairs, steps)).sum(axis=1)
    return np.maximum(parts[:count] + parts[count:], 0) / 2


def assign(worth: FloatArray, least: float, before: NDArray[Any] | int = 0) -> NDArray[np.intp]:
    """Choose pairs with the greatest sum of worth, each row and column at most once.

    Args:
        worth: (N, M) float32, 0 to 1.
        least: Minimum worth of a pair.
        before: (N, 1) priority of each row, 0 or more; it counts as so much more worth.

    Returns:
        (K, 2) pairs of row and column.

    Raises:
        DBNetError: SciPy is missing.
    """
    solve = find_solver()
    allowed = worth >= least
    rows, columns = solve(np.where(allowed, worth + before, 0), maximize=True)
    chosen = allowed[rows, columns]
    return np.stack([rows[chosen], columns[chosen]], axis=1)


def find_solver() -> Callable[..., Any]:
    """Return SciPy's solver of the assignment problem.

    Raises:
        DBNetError: SciPy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise DBNetError(
            f"tracking needs SciPy ({error}); pip install 'dbnet-trt[video]', or scipy by itself"
        ) from error
    return linear_sum_assignment
