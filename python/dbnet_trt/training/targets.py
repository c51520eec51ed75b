# SPDX-License-Identifier: Apache-2.0
"""Label maps of DBNet from text polygons.

The maps follow from one number per pixel: its distance to the nearest edge of a polygon. The shrunk
text is the set of inner pixels at distance D or more, the dilated text adds the outer pixels at
distance D or less. This equals Vatti clipping with round corners.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core

FloatArray = NDArray[np.float32]
Polygon = NDArray[np.float64]

BORDER_PX = 0.5
"""Distance outside the shrunk text, in pixels, up to which a pixel's centre still counts as inside.
The rectangle around the centres is then as large as the shrunk text on average; without it, it
would be one pixel smaller."""


MAX_WINDOW_PX = 1024
"""Longest side of the window in which an outline is looked at for thin waists."""


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Parameters of the label maps. The defaults are the paper's."""

    shrink_ratio: float = 0.4
    """Shrink ratio r of D = A (1 - r^2) / L, in (0, 1); the unclip ratio must undo it. Long lines
    need 0.7 and an unclip ratio near 0.85: at 0.4 and 1.5 they come back at half their height."""

    min_text_side: float = 8.0
    """Smallest short side of a text, in pixels of the crop; smaller texts are ignored."""

    thresh_min: float = 0.3
    """Value of T far from the edges of a text."""

    thresh_max: float = 0.7
    """Value of T on the edges of a text."""

    def __post_init__(self) -> None:
        if not 0 < self.shrink_ratio < 1:
            raise ValueError(
                f"shrink_ratio must lie between 0 and 1, both excluded, got {self.shrink_ratio}"
            )
        if not 0 <= self.thresh_min < self.thresh_max <= 1:
            raise ValueError(
                "thresh_min and thresh_max must lie in [0, 1], the first below the second, "
                f"got {self.thresh_min} and {self.thresh_max}"
            )


class TargetMaps(NamedTuple):
    """Label maps of one image, each (H, W) float32."""

    shrink_map: FloatArray
    """1 inside shrunk text, else 0."""

    shrink_mask: FloatArray
    """0 inside ignored text, else 1."""

    thresh_map: FloatArray
    """Label of T, in [thresh_min, thresh_max]."""

    thresh_mask: FloatArray
    """1 inside dilated text, else 0."""


def make_targets(
    polygons: Sequence[Polygon],
    ignore: Sequence[bool],
    size: tuple[int, int],
    config: TargetConfig = TargetConfig(),
) -> TargetMaps:
    """Draw the label maps of one image.

    Args:
        polygons: N outlines, each (K, 2): (x, y) in pixels, K >= 3; they may reach outside the
            image.
        ignore: N flags; a text with a true flag is masked out.
        size: (height, width) of the maps in pixels.
        config: Ratios and limits.

    Returns:
        The maps. A text that is too small, vanishes when shrunk, or shrinks to several parts, is
        ignored.

    Raises:
        ValueError: An outline has another shape, the number of flags differs, or the size is
            empty.
    """
    outlines = [np.ascontiguousarray(polygon, np.float64) for polygon in polygons]
    ignored = [
        skip or short_side(outline) < config.min_text_side or comes_apart(outline, config)
        for outline, skip in zip(outlines, ignore, strict=True)
    ]
    maps = _core.draw_targets(
        outlines,
        ignored,
        size,
        config.shrink_ratio,
        config.thresh_min,
        config.thresh_max,
        BORDER_PX,
    )
    return TargetMaps(*maps)


def make_targets_reference(
    polygons: Sequence[Polygon],
    ignore: Sequence[bool],
    size: tuple[int, int],
    config: TargetConfig = TargetConfig(),
) -> TargetMaps:
    """Compute the result of `make_targets` in NumPy: slow, the reference in tests.

    Args:
        polygons: N outlines, each (K, 2): (x, y) in pixels.
        ignore: N flags; a text with a true flag is masked out.
        size: (height, width) of the maps in pixels.
        config: Ratios and limits.

    Returns:
        The maps.
    """
    maps = TargetMaps(
        np.zeros(size, np.float32),
        np.ones(size, np.float32),
        np.zeros(size, np.float32),
        np.zeros(size, np.float32),
    )
    for polygon, skip in zip(polygons, ignore, strict=True):
        outline = np.asarray(polygon, np.float64)
        _draw(outline, skip or comes_apart(outline, config), maps, config)
    span = config.thresh_max - config.thresh_min
    thresh_map = (maps.thresh_map * span + config.thresh_min).astype(np.float32)
    return maps._replace(thresh_map=thresh_map)


def comes_apart(polygon: Polygon, config: TargetConfig) -> bool:
    """Whether a (K, 2) outline has a waist so thin that it shrinks to several parts.

    The parts would be learnt as texts of their own. Outlines longer than `MAX_WINDOW_PX` are looked
    at in less detail.
    """
    import cv2

    if len(polygon) < 6 or cv2.isContourConvex(polygon.astype(np.float32)):
        return False
    low = np.floor(polygon.min(axis=0))
    scale = min(1.0, MAX_WINDOW_PX / max(float((polygon.max(axis=0) - low).max()), 1.0))
    moved = np.ascontiguousarray((polygon - low) * scale)
    width, height = np.ceil(moved.max(axis=0)).astype(int) + 1
    maps = _core.draw_targets(
        [moved],
        [False],
        (int(height), int(width)),
        config.shrink_ratio,
        config.thresh_min,
        config.thresh_max,
        BORDER_PX * scale,
    )
    count, _ = cv2.connectedComponents(maps[0].astype(np.uint8), connectivity=8)
    return count > 2  # one is the background


def _draw(polygon: Polygon, ignored: bool, maps: TargetMaps, config: TargetConfig) -> None:
    area, perimeter = measure(polygon)
    if area == 0:
        return
    distance = area * (1 - config.shrink_ratio**2) / perimeter
    limits = maps.shrink_map.shape[::-1]
    x_min, y_min = np.floor(polygon.min(axis=0) - distance).clip(0, limits).astype(int)
    x_max, y_max = (np.ceil(polygon.max(axis=0) + distance) + 1).clip(0, limits).astype(int)
    window = np.s_[y_min:y_max, x_min:x_max]
    ys, xs = np.mgrid[window]
    if xs.size == 0:
        return
    to_edge = edge_distance(xs, ys, polygon)
    inside = contains(xs, ys, polygon)
    shrunk = inside & (to_edge >= max(distance - BORDER_PX, 0))
    if ignored or short_side(polygon) < config.min_text_side or not shrunk.any():
        maps.shrink_mask[window][inside] = 0
        return
    maps.shrink_map[window][shrunk] = 1
    closeness = np.clip(1 - to_edge / distance, 0, None).astype(np.float32)
    np.maximum(maps.thresh_map[window], closeness, out=maps.thresh_map[window])
    maps.thresh_mask[window][inside | (to_edge <= distance)] = 1


def measure(polygon: Polygon) -> tuple[float, float]:
    """Measure a (K, 2) outline: its area in square pixels and its perimeter in pixels."""
    following = np.roll(polygon, -1, axis=0)
    cross = polygon[:, 0] * following[:, 1] - polygon[:, 1] * following[:, 0]
    return abs(float(cross.sum())) / 2, float(np.hypot(*(following - polygon).T).sum())


def short_side(polygon: Polygon) -> float:
    """Measure the short side, in pixels, of the smallest rectangle around (K, 2) points."""
    import cv2

    return float(min(cv2.minAreaRect(polygon.astype(np.float32))[1]))


def edge_distance(xs: NDArray[np.int_], ys: NDArray[np.int_], polygon: Polygon) -> Polygon:
    """Compute the distance of points to the nearest edge of an outline.

    Args:
        xs: x of each point, in pixels; any shape.
        ys: y of each point, of the same shape.
        polygon: (K, 2) outline, (x, y) in pixels.

    Returns:
        Distances in pixels, float64, of the same shape.
    """
    nearest = np.full(xs.shape, np.inf)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        dx, dy = x1 - x0, y1 - y0
        scale = 1 / max(dx * dx + dy * dy, 1e-12)
        along = np.clip(((xs - x0) * dx + (ys - y0) * dy) * scale, 0, 1)
        np.minimum(nearest, (xs - x0 - along * dx) ** 2 + (ys - y0 - along * dy) ** 2, out=nearest)
    return np.sqrt(nearest)


def contains(xs: NDArray[np.int_], ys: NDArray[np.int_], polygon: Polygon) -> NDArray[np.bool_]:
    """Test which points lie inside an outline, by the even-odd rule.

    Args:
        xs: x of each point, in pixels; any shape.
        ys: y of each point, of the same shape.
        polygon: (K, 2) outline, (x, y) in pixels.

    Returns:
        Booleans of the same shape.
    """
    inside = np.zeros(xs.shape, bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        crosses = ((ys >= y0) != (ys >= y1)) & (xs < x0 + (ys - y0) * (x1 - x0) / (y1 - y0))
        inside ^= crosses
    return inside
