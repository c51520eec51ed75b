# SPDX-License-Identifier: Apache-2.0
"""Check outlines: which texts are used, ignored or dropped, and which make an image unusable."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .samples import Kind, Polygon, Text

OUTSIDE_LIMIT = 0.1
"""Share of the image's sides by which text may reach out of it, as annotators overshoot."""

COORDINATE_LIMIT = 1e6
"""Limit on coordinates in pixels; larger ones, and those that are not numbers, are refused."""


class NoOutlineError(ValueError):
    """A text has no usable outline."""


def check_text(text: Text, size: tuple[int, int]) -> tuple[Text | None, str, Kind]:
    """Check the outline of a text.

    Args:
        text: The text, with a polygon of any shape.
        size: (height, width) of its image.

    Returns:
        The text to use, or None if it covers no pixel; its problem, "" if there is none; and the
        kind of the problem.

    Raises:
        NoOutlineError: The outline has fewer than 3 points, or coordinates that are not numbers.
    """
    polygon = text.polygon
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise NoOutlineError(
            f"expected an outline of 3 or more points (x, y), got shape {polygon.shape}"
        )
    x, y = polygon.T.tolist()  # plain numbers: NumPy's calls take longer than 4 points do
    if not all(abs(value) < COORDINATE_LIMIT for value in x + y):
        raise NoOutlineError(f"expected an outline in pixels, got {text.polygon.tolist()}")
    height, width = size
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    bounds = f"{width}x{height} image: x {left:g} to {right:g}, y {top:g} to {bottom:g}"
    if right < 0 or bottom < 0 or left >= width or top >= height:
        return None, f"{_show(text)} is not in its {bounds}; dropped", "out of bounds"
    points = polygon.astype(np.float32)
    is_far_out = (
        max(-left, right - width) > width * OUTSIDE_LIMIT
        or max(-top, bottom - height) > height * OUTSIDE_LIMIT
    )
    has_area = cv2.contourArea(points) >= 1
    if has_area and not is_far_out and not crosses_itself(polygon):
        return text, "", "other"
    hull = cv2.convexHull(points)
    if cv2.contourArea(hull) < 1:
        return None, f"{_show(text)} covers less than one pixel; dropped", "outline"
    ignored = Text(hull.reshape(-1, 2).astype(np.float64), True, text.content)
    if is_far_out:
        return ignored, f"{_show(text)} reaches far out of its {bounds}; ignored", "out of bounds"
    return ignored, f"the outline of {_show(text)} crosses itself; ignored", "outline"


def crosses_itself(polygon: Polygon) -> bool:
    """Return whether two edges of a (K, 2) outline cross; touching does not count."""
    # Shortcut for most outlines; a longer one can be convex at each corner and yet wind twice.
    if len(polygon) <= 4 and cv2.isContourConvex(polygon.astype(np.float32)):
        return False
    start, end = polygon, np.roll(polygon, -1, axis=0)
    along = end - start

    def side(points: Polygon) -> NDArray[np.float64]:
        """Return at [i, j] the side of edge i on which point j lies."""
        offset = points[None] - start[:, None]
        cross = along[:, None, 0] * offset[..., 1] - along[:, None, 1] * offset[..., 0]
        return np.asarray(np.sign(cross), np.float64)

    parted = side(start) * side(end) < 0
    return bool((parted & parted.T).any())


def _show(text: Text) -> str:
    return f"text {text.content!r}" if text.content else "a text"


def clip_polygon(polygon: Polygon, size: int) -> Polygon:
    """Clip a (K, 2) outline to the square from 0 to `size` - 1; (0, 2) if nothing is left."""
    limit = size - 1.0
    for axis, sign, bound in ((0, 1, 0.0), (0, -1, -limit), (1, 1, 0.0), (1, -1, -limit)):
        if len(polygon) == 0:
            break
        depth = sign * polygon[:, axis] - bound
        if (depth >= 0).all():
            continue
        points = []
        for i in range(len(polygon)):
            before, here = depth[i - 1], depth[i]
            if (before >= 0) != (here >= 0):
                share = before / (before - here)
                points.append(polygon[i - 1] + share * (polygon[i] - polygon[i - 1]))
            if here >= 0:
                points.append(polygon[i])
        polygon = np.array(points, np.float64).reshape(-1, 2)
    return polygon
