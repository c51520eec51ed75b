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
"""Number of slices across an outline that are measured."""

NUM_BORDER = 129
"""Number of points along an outline, or along an arc."""


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
    """Centre line of a curved text.

    Attributes:
        points: (S, 2) float64, (x, y) in pixels of the image, in the direction of reading.
        height: Height of the text, in pixels, more than 0.
    """

    points: NDArray[np.float64]
    height: float


def _fit_curve(polygon: FloatArray, corners: FloatArray) -> _Curve | None:
    """Fit the centre line of an outline; None if it is straight, too short, or no smooth curve."""
    side = (corners[1] - corners[0] + corners[2] - corners[3]).astype(np.float64)
    along = side / max(float(np.linalg.norm(side)), 1e-6)
    axes = np.stack([along, [-along[1], along[0]]])
    points = (polygon - corners[0]) @ axes.T
    xs = np.linspace(points[:, 0].min(), points[:, 0].max(), NUM_SLICES + 2)
    middles, thickness = _slice(points, xs[1:-1])
    size = float(np.median(thickness))
    if size <= 0 or np.ptp(xs) < 2 * size or np.ptp(middles) < MIN_BEND * size / 2:
        return None
    curve = _fit_arc(points) or _fit_cubic(xs[1:-1], middles, thickness)
    if curve is None:
        return None
    return _Curve(curve.points @ axes + corners[0], curve.height)


def _slice(
    points: NDArray[np.float64], xs: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middle and the extent in y of an outline (K, 2) at each of (S,) xs inside it."""
    after = np.roll(points, -1, axis=0)
    left, right = np.where(points[:, :1] <= after[:, :1], (points, after), (after, points))
    crosses = (left[:, 0] <= xs[:, None]) & (xs[:, None] <= right[:, 0])
    run = np.maximum(right[:, 0] - left[:, 0], 1e-9)
    ys = left[:, 1] + (xs[:, None] - left[:, 0]) / run * (right[:, 1] - left[:, 1])
    upper = np.where(crosses, ys, np.inf).min(axis=1)
    lower = np.where(crosses, ys, -np.inf).max(axis=1)
    return (upper + lower) / 2, lower - upper


def _fit_arc(points: NDArray[np.float64]) -> _Curve | None:
    """Fit a ring to an outline (K, 2) of text that runs along x; None if it is none."""
    border = _resample(np.concatenate([points, points[:1]]), NUM_BORDER)
    x, y = border.T
    center_x, center_y, power = np.linalg.lstsq(
        np.stack([2 * x, 2 * y, np.ones(len(x))], axis=1), x**2 + y**2, rcond=None
    )[0]
    radius, height = float(np.sqrt(max(power + center_x**2 + center_y**2, 0))), 0.0
    for _ in range(8):  # Gauss-Newton for centre, radius and height of the ring
        way = border - [center_x, center_y]
        distance = np.maximum(np.hypot(*way.T), 1e-6)
        outside = np.where(distance > radius, 1.0, -1.0)
        angles = _angles(way)
        inner = _between(angles, height / 2 / max(radius, 1e-6))
        if inner.sum() < NUM_BORDER / 3:
            return None
        errors = distance - radius - outside * height / 2
        slopes = np.stack([-way[:, 0] / distance, -way[:, 1] / distance,
                           -np.ones(len(x)), -outside / 2], axis=1)  # fmt: skip
        step = np.linalg.lstsq(slopes[inner], -errors[inner], rcond=None)[0]
        center_x, center_y = center_x + step[0], center_y + step[1]
        radius, height = radius + float(step[2]), height + float(step[3])
    reach = float(np.ptp(angles))
    misfit = np.quantile(np.abs(errors[inner]), 0.9)
    bend = radius * (1 - np.cos(min(reach / 2, np.pi)))
    if not (height > 1 and misfit < MAX_MISFIT * height and bend > MIN_BEND * height):
        return None
    if radius < 0.6 * height or reach > 1.8 * np.pi:
        return None
    first = np.arctan2(*way.mean(axis=0)[::-1])
    around = first + np.linspace(angles.min(), angles.max(), NUM_BORDER)
    line = np.stack([center_x + radius * np.cos(around), center_y + radius * np.sin(around)], 1)
    clockwise = way.mean(axis=0)[1] < 0  # above its centre, text runs clockwise
    return _Curve(line if clockwise else line[::-1], height)


def _angles(way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the angles of (N, 2) vectors from their mean, clockwise in radians."""
    mean = way.mean(axis=0)
    across = mean[0] * way[:, 1] - mean[1] * way[:, 0]
    return np.asarray(np.arctan2(across, way @ mean))


def _between(values: NDArray[np.float64], edge: float) -> NDArray[np.bool_]:
    """Test which values are further than `edge` from both the least and the greatest."""
    return np.asarray((values > values.min() + edge) & (values < values.max() - edge))


def _fit_cubic(
    xs: NDArray[np.float64], middles: NDArray[np.float64], thickness: NDArray[np.float64]
) -> _Curve | None:
    """Fit a wave, y as a cubic of x, to slices of an outline; None if it is none."""
    polynomial = np.polynomial.polynomial
    inner = _between(xs, float(np.median(thickness)) / 2)  # the ends are round
    if inner.sum() < NUM_SLICES / 3:
        return None
    middle = polynomial.polyfit(xs[inner], middles[inner], 3)
    fitted = polynomial.polyval(xs, middle)
    slopes = polynomial.polyval(xs, polynomial.polyder(middle))
    height = float(np.median((thickness / np.sqrt(1 + slopes**2))[inner]))
    chord = polynomial.polyfit(xs[inner], fitted[inner], 1)
    bend = np.ptp((fitted - polynomial.polyval(xs, chord))[inner])
    misfit = np.abs(fitted - middles)[inner].max()
    if misfit > MAX_MISFIT * height or bend < MIN_BEND * height:
        return None
    return _Curve(np.stack([xs, fitted], axis=1), height)


def _resample(line: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return `count` points at equal distances along a line (K, 2), its ends included."""
    passed = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    places = np.linspace(0, passed[-1], count)
    return np.stack([np.interp(places, passed, line[:, axis]) for axis in (0, 1)], axis=1)


def _crop_curve(image: Image, curve: _Curve, margin: float) -> Image:
    """Cut strips across a centre line and set them side by side."""
    import cv2

    points, edge = curve.points, margin * curve.height
    ends = points[[0, -1]] - points[[1, -2]]
    ends *= edge / np.maximum(np.linalg.norm(ends, axis=1, keepdims=True), 1e-6)
    points = np.concatenate([points[:1] + ends[:1], points, points[-1:] + ends[1:]])
    length = float(np.hypot(*np.diff(points, axis=0).T).sum())
    width, height = max(1, round(length)), max(1, round(curve.height + 2 * edge))
    centers = _resample(points, 2 * width + 1)[1::2]
    along = np.gradient(_resample(points, width + 2), axis=0)[1:-1]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    normals = np.stack([-along[:, 1], along[:, 0]], axis=1)
    across = np.arange(height) - (height - 1) / 2
    places = (centers + across[:, None, None] * normals).astype(np.float32)
    crop = cv2.remap(image, places, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8)
