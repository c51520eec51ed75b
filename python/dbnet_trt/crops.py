# SPDX-License-Identifier: Apache-2.0
"""Upright crops of text, as recognisers take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout.texts import TALL_RATIO, FloatArray

Image = NDArray[np.uint8]

MAX_LEAN = np.radians(30)
"""Angle up to which tall text may lean to either side and still run downwards."""

MIN_BEND = 0.15
"""Rise of a curved line over its chord from which it is straightened, in heights of the text."""

MAX_MISFIT = 0.2
"""Maximum distance of an outline's middle from a smooth curve, in heights of the text."""

NUM_SLICES = 33


def crop_text(
    image: Image, quad: FloatArray, polygon: FloatArray | None = None, margin: float = 0.0
) -> Image:
    """Cut out one text and turn it upright; curved text is straightened along its outline.

    Args:
        image: (H, W, 3) uint8.
        quad: (4, 2) float32, corners (x, y) in pixels, clockwise.
        polygon: (K, 2) float32, outline (x, y) in pixels, or None.
        margin: Width added on each side, in heights of the text; outside the image its border is
            repeated.

    Returns:
        (h, w, 3) uint8, h and w at least 1.
    """
    corners = reading_corners(quad)
    curve = None if polygon is None else _fit_curve(polygon, corners)
    if curve is None:
        return _crop_quad(image, corners, margin)
    return _crop_curve(image, curve, margin)


def reading_corners(quad: FloatArray) -> FloatArray:
    """Order corners clockwise from where reading begins: the text runs along the first side.

    Text whose long side is within 30 degrees of the vertical runs downwards, whichever way it
    leans; other text runs to the right.

    Args:
        quad: (4, 2) float32, corners (x, y) clockwise.
    """
    sides = np.roll(quad, -1, axis=0) - quad
    lengths = np.linalg.norm(sides[:2] - sides[2:], axis=1) / 2
    if lengths.max() < TALL_RATIO * lengths.min():
        return quad
    long = int(lengths.argmax())
    along = sides[long] - sides[long + 2]
    runs_down = abs(along[0]) <= np.tan(MAX_LEAN) * abs(along[1])
    forwards = along[1] > 0 if runs_down else along[0] > 0
    return np.roll(quad, -(long if forwards else long + 2), axis=0)


def _crop_quad(image: Image, corners: FloatArray, margin: float) -> Image:
    import cv2

    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = max(1, round(float(sides[::2].max()))), max(1, round(float(sides[1::2].max())))
    edge = round(margin * height)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) + edge
    # Pixel centres are at whole numbers, so the outline lies half a pixel outside the first one.
    transform = cv2.getPerspectiveTransform(corners, target - np.float32(0.5))
    size = (max(1, width + 2 * edge), max(1, height + 2 * edge))
    crop = cv2.warpPerspective(
        image, transform, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(crop, np.uint8)


# ---- Curved text -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """Centre line of a text, in a frame whose x-axis is the first side of its quad.

    Attributes:
        origin, axes: (2,) and (2, 2): a point (x, y) of the frame is at origin + (x, y) @ axes.
        start, end: Range of x.
        middle, height: Polynomials of x, lowest power first: y of the line, height of the text.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]
    start: float
    end: float
    middle: NDArray[np.float64]
    height: NDArray[np.float64]


def _fit_curve(polygon: FloatArray, corners: FloatArray) -> _Curve | None:
    """Fit the centre line of an outline; None if it is straight, too short, or no smooth curve."""
    side = (corners[1] - corners[0] + corners[2] - corners[3]).astype(np.float64)
    along = side / max(float(np.linalg.norm(side)), 1e-6)
    axes = np.stack([along, [-along[1], along[0]]])
    points = (polygon - corners[0]) @ axes.T
    start, end = points[:, 0].min(), points[:, 0].max()
    xs = np.linspace(start, end, NUM_SLICES + 2)[1:-1]
    upper, lower = _slice(points, xs)
    thickness = float(np.median(lower - upper))
    inner = (xs > start + thickness / 2) & (xs < end - thickness / 2)  # the ends are round
    if thickness <= 0 or inner.sum() < 8:
        return None
    polynomial = np.polynomial.polynomial
    middles = (upper + lower)[inner] / 2
    middle = polynomial.polyfit(xs[inner], middles, 3 if end - start > 4 * thickness else 2)
    chord = polynomial.polyfit(xs[inner], middles, 1)
    slopes = polynomial.polyval(xs[inner], polynomial.polyder(middle))
    heights = (lower - upper)[inner] / np.sqrt(1 + slopes**2)
    size = float(np.median(heights))
    misfit = np.abs(polynomial.polyval(xs[inner], middle) - middles).max()
    bend = np.ptp(polynomial.polyval(xs[inner], middle) - polynomial.polyval(xs[inner], chord))
    if misfit > MAX_MISFIT * size or bend < MIN_BEND * size:
        return None
    angles = np.arctan(polynomial.polyval(np.array([start, end]), polynomial.polyder(middle)))
    cuts = np.abs(np.sin(angles)) * size / 2  # half of each end stands out beyond the line
    height = polynomial.polyfit(xs[inner], heights, 1)
    return _Curve(
        corners[0].astype(np.float64), axes, start + cuts[0], end - cuts[1], middle, height
    )


def _slice(
    points: NDArray[np.float64], xs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and the highest y of an outline (K, 2) at each of (S,) xs inside it."""
    after = np.roll(points, -1, axis=0)
    left, right = np.where(points[:, :1] <= after[:, :1], (points, after), (after, points))
    crosses = (left[:, 0] <= xs[:, None]) & (xs[:, None] <= right[:, 0])
    run = np.maximum(right[:, 0] - left[:, 0], 1e-9)
    ys = left[:, 1] + (xs[:, None] - left[:, 0]) / run * (right[:, 1] - left[:, 1])
    upper = np.where(crosses, ys, np.inf).min(axis=1)
    lower = np.where(crosses, ys, -np.inf).max(axis=1)
    return upper, lower


def _crop_curve(image: Image, curve: _Curve, margin: float) -> Image:
    """Cut strips across a centre line and set them side by side."""
    import cv2

    polynomial = np.polynomial.polynomial
    xs = np.linspace(curve.start, curve.end, 256)
    height = max(1.0, float(np.median(polynomial.polyval(xs, curve.height))))
    ends = polynomial.polyval(xs[[0, -1]], polynomial.polyder(curve.middle))
    before, after = margin * height / np.sqrt(1 + ends**2)
    xs = np.concatenate([[xs[0] - before], xs, [xs[-1] + after]])
    steps = np.hypot(np.diff(xs), np.diff(polynomial.polyval(xs, curve.middle)))
    passed = np.concatenate([[0], np.cumsum(steps)])
    width, rows = max(1, round(float(passed[-1]))), max(1, round(height * (1 + 2 * margin)))
    columns = np.interp((np.arange(width) + 0.5) * passed[-1] / width, passed, xs)
    slopes = polynomial.polyval(columns, polynomial.polyder(curve.middle))
    normals = np.stack([-slopes, np.ones(width)], axis=1) / np.sqrt(1 + slopes**2)[:, None]
    middles = np.stack([columns, polynomial.polyval(columns, curve.middle)], axis=1)
    heights = np.maximum(polynomial.polyval(columns, curve.height), 1) * (1 + 2 * margin)
    across = ((np.arange(rows) + 0.5) / rows - 0.5)[:, None, None] * heights[:, None]
    places = ((middles + across * normals) @ curve.axes + curve.origin).astype(np.float32)
    crop = cv2.remap(image, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)
