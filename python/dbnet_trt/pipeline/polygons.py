# SPDX-License-Identifier: Apache-2.0
"""Polygons that follow curved text, and the steps shared with the reference implementation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..settings import PostprocessParams

FloatArray = NDArray[np.float32]

ProbMap = NDArray[np.float32] | NDArray[np.uint8]

MIN_SIDE_PX = 3.0
"""Minimum short side of a text before unclip, in pixels of the map; after it, 2 more."""

POLYGON_TOLERANCE = 0.002
"""Tolerance of the simplification of polygons, as a share of their perimeter."""

CLIPPER_SCALE = 1024
"""Steps per pixel for pyclipper, which takes whole numbers; rounding is then invisible."""


def find_polygons(
    prob_map: ProbMap,
    params: PostprocessParams,
    logits: bool,
    first_pixels: NDArray[np.uint32] | None,
) -> tuple[FloatArray, FloatArray, list[FloatArray]]:
    """Find the text in one map as polygons.

    Args:
        prob_map: (h, w) float32, probabilities, or logits if `logits`; or uint8, probabilities
            times 255.
        params: Thresholds and ratios.
        logits: Whether the map holds logits.
        first_pixels: (h, w) uint32, components found on the GPU: 1 + the first pixel of each,
            counted y * w + x; 0 elsewhere. None finds them here.

    Returns:
        Quads (N, 4, 2) float32, scores (N,) float32 and N polygons (K, 2) float32, the best score
        first, in pixels of the map.
    """
    if prob_map.dtype != np.uint8:
        prob_map = np.ascontiguousarray(to_probability(prob_map, logits))
    found = []
    for (x_min, y_min), mask in _components(prob_map, params.binary_threshold, first_pixels):
        outline = _outer_contour(mask) + np.array([x_min, y_min], np.int32)
        text = _read_polygon(outline, prob_map, params)
        if text is not None:
            found.append(text)
    found.sort(key=lambda text: -text[1])  # stable: equal scores stay in raster order
    del found[int(params.max_candidates) :]
    quads = np.array([quad for quad, _, _ in found], np.float32).reshape(-1, 4, 2)
    scores = np.array([score for _, score, _ in found], np.float32)
    return quads, scores, [polygon for _, _, polygon in found]


def _components(
    prob_map: ProbMap,
    threshold: float,
    first_pixels: NDArray[np.uint32] | None,
) -> Iterator[tuple[tuple[int, int], NDArray[np.uint8]]]:
    """Yield the top left corner (x, y) and the mask of each component that is not a speck."""
    if first_pixels is None:
        components = _core.Components(prob_map, threshold)
        boxes = components.boxes
    else:
        labels, boxes = _core.number_components(first_pixels)
    for index, (x_min, y_min, x_max, y_max) in enumerate(boxes.tolist()):
        if (x_max - x_min) * (y_max - y_min) < MIN_SIDE_PX**2:
            continue
        if first_pixels is None:
            yield (x_min, y_min), components.mask(index)
        else:
            window = labels[y_min : y_max + 1, x_min : x_max + 1]
            yield (x_min, y_min), (window == index + 1).view(np.uint8)


def _read_polygon(
    contour: NDArray[np.int32],
    prob_map: ProbMap,
    params: PostprocessParams,
) -> tuple[FloatArray, float, FloatArray] | None:
    """Turn a component's (K, 2) contour into (quad, score, polygon); None if a filter drops it."""
    import cv2

    outline = simplify(contour)
    if len(outline) < 3 or short_side(outline) < MIN_SIDE_PX:
        return None
    score = mean_probability(prob_map, outline)
    if np.float32(score) < np.float32(params.score_threshold):
        return None
    polygon = unclip(outline, params.unclip_ratio)
    if len(polygon) < 3 or short_side(polygon) < MIN_SIDE_PX + 2:
        return None
    quad = order_corners(cv2.boxPoints(cv2.minAreaRect(polygon)))
    return quad, score, polygon


def _outer_contour(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Trace the one component of a (h, w) mask: its (K, 2) int32 border pixels."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(contours[0], np.int32).reshape(-1, 2)


def to_probability(values: NDArray[Any], logits: bool) -> FloatArray:
    """Convert a map to probabilities in [0, 1]; NaN becomes 0.

    Args:
        values: Float32 of any shape.
        logits: Whether the values are logits; otherwise they are only clipped.

    Returns:
        Float32 of the same shape.
    """
    if logits:
        with np.errstate(over="ignore"):
            values = (1 / (1 + np.exp(-values))).astype(np.float32)
    return np.clip(np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


def simplify(contour: NDArray[np.int32]) -> NDArray[np.int32]:
    """Simplify a closed (K, 2) int32 contour by Douglas-Peucker at 0.002 of its perimeter."""
    import cv2

    tolerance = POLYGON_TOLERANCE * cv2.arcLength(contour, True)
    return np.asarray(cv2.approxPolyDP(contour, tolerance, True), np.int32).reshape(-1, 2)


def short_side(points: NDArray[np.int32] | FloatArray) -> float:
    """Measure the short side, in pixels, of the smallest rectangle around (K, 2) points."""
    import cv2

    return float(min(cv2.minAreaRect(points)[1]))


def order_corners(quad: NDArray[np.floating]) -> FloatArray:
    """Order the (4, 2) corners of a rectangle clockwise from the text's top left.

    The first corner is the upper one of the two leftmost.
    """
    left_to_right = quad[np.lexsort((quad[:, 1], quad[:, 0]))]
    left, right = left_to_right[:2], left_to_right[2:]
    left, right = left[np.argsort(left[:, 1])], right[np.argsort(right[:, 1])]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def mean_probability(prob_map: ProbMap, outline: NDArray[np.floating | np.integer]) -> float:
    """Average a (h, w) map inside a (K, 2) outline, whose corners are truncated to pixels.

    The map is float32, or uint8: the probability times 255.
    """
    import cv2

    last = np.array(prob_map.shape[::-1]) - 1
    x_min, y_min = np.clip(np.floor(outline.min(axis=0)), 0, last).astype(int)
    x_max, y_max = np.clip(np.ceil(outline.max(axis=0)), 0, last).astype(int)
    mask = np.zeros((y_max - y_min + 1, x_max - x_min + 1), np.uint8)
    cv2.fillPoly(mask, [(outline - [x_min, y_min]).astype(np.int32)], 1)
    mean = float(cv2.mean(prob_map[y_min : y_max + 1, x_min : x_max + 1], mask)[0])
    return mean / 255 if prob_map.dtype == np.uint8 else mean


def unclip(outline: NDArray[np.floating | np.integer], unclip_ratio: float) -> FloatArray:
    """Grow an outline by D' = A' r' / L' (Vatti clipping, round corners).

    Args:
        outline: (K, 2) outline of area A' and perimeter L', in pixels.
        unclip_ratio: r'.

    Returns:
        (M, 2) float32, the largest part if there are several; (0, 2) if nothing is left.
    """
    import cv2
    import pyclipper

    points = outline.astype(np.float32)
    perimeter = cv2.arcLength(points, True)
    if perimeter == 0:
        return np.zeros((0, 2), np.float32)
    distance = cv2.contourArea(points) * unclip_ratio / perimeter
    offset = pyclipper.PyclipperOffset(2.0, 0.25 * CLIPPER_SCALE)
    offset.AddPath(
        np.rint(outline * float(CLIPPER_SCALE)).astype(np.int64).tolist(),
        pyclipper.JT_ROUND,
        pyclipper.ET_CLOSEDPOLYGON,
    )
    parts = offset.Execute(distance * CLIPPER_SCALE)
    if not parts:
        return np.zeros((0, 2), np.float32)
    return (
        np.array(max(parts, key=lambda part: abs(pyclipper.Area(part)))) / CLIPPER_SCALE
    ).astype(np.float32)
