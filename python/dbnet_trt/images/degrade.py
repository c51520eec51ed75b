# SPDX-License-Identifier: Apache-2.0
"""Degrade images: motion blur and JPEG compression."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .load import Image


def motion_blur(image: Image, length_px: float, angle: float) -> Image:
    """Blur an image along a direction.

    Args:
        image: (H, W, 3) uint8.
        length_px: Length of the blur in pixels.
        angle: Direction in radians.

    Returns:
        (H, W, 3) uint8.
    """
    size = int(length_px) | 1
    weights = np.zeros((size + 2, size + 2), np.float32)
    middle = (size + 1) / 2
    offset = np.array([math.cos(angle), math.sin(angle)]) * size / 2
    start, end = np.rint(middle - offset).astype(int), np.rint(middle + offset).astype(int)
    cv2.line(weights, start.tolist(), end.tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, weights / weights.sum()), np.uint8)


def compress(image: Image, quality: int) -> Image:
    """Compress a (H, W, 3) uint8 image as JPEG of a quality from 1 to 100, and decode it again."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
