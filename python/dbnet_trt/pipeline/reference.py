# SPDX-License-Identifier: Apache-2.0
"""Reference for preprocessing and post-processing, in OpenCV, NumPy and pyclipper.

Only tests and benchmarks use it, to compare the compiled core and the GPU kernels with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..card import Normalization
from ..settings import PostprocessParams, ResizePlan
from .polygons import (
    MIN_SIDE_PX,
    FloatArray,
    mean_probability,
    order_corners,
    to_probability,
    unclip,
)


def preprocess_reference(
    image: NDArray[np.uint8], plan: ResizePlan, normalization: Normalization
) -> NDArray[np.float32]:
    """Compute the result of `preprocess` with OpenCV and NumPy, one step after the other.

    Args:
        image: (H, W, 3) uint8 BGR.
        plan: Sizes of the image.
        normalization: Factor and offset per channel.

    Returns:
        (3, h, w) float32, of size `plan.padded`.
    """
    import cv2

    height, width = plan.resized
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if normalization.swap_red_blue:
        resized = resized[:, :, ::-1]
    scaled = resized.astype(np.float32) * normalization.multiplier
    normalized = scaled + normalization.offset
    padded = np.zeros((*plan.padded, 3), np.float32)
    padded[:height, :width] = normalized
    return np.ascontiguousarray(padded.transpose(2, 0, 1))


def postprocess_reference(
    values: FloatArray, params: PostprocessParams, *, logits: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Compute the result of `postprocess` for one map with OpenCV and pyclipper.

    Args:
        values: (h, w) float32, probabilities, or logits if `logits`.
        params: Thresholds and ratios.
        logits: Whether the map holds logits.

    Returns:
        Quads (N, 4, 2) float32 in pixels of the map, and scores (N,) float32, the best first.
    """
    import cv2

    prob_map = to_probability(values, logits)
    binary_map = (prob_map > np.float32(params.binary_threshold)).astype(np.uint8)
    contours, hierarchy = cv2.findContours(binary_map, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for i, contour in enumerate(contours):
        if hierarchy[0][i][3] >= 0:  # the border of a hole
            continue
        rectangle = cv2.minAreaRect(contour)
        if min(rectangle[1]) < MIN_SIDE_PX:
            continue
        quad = cv2.boxPoints(rectangle)
        score = mean_probability(prob_map, quad)
        if score < params.score_threshold:
            continue
        unclipped = cv2.minAreaRect(unclip(quad, params.unclip_ratio))
        if min(unclipped[1]) < MIN_SIDE_PX + 2:
            continue
        found.append((order_corners(cv2.boxPoints(unclipped)), score))
    found.sort(key=lambda text: -text[1])
    del found[int(params.max_candidates) :]
    quads = np.array([quad for quad, _ in found], np.float32).reshape(-1, 4, 2)
    return quads, np.array([score for _, score in found], np.float32)
