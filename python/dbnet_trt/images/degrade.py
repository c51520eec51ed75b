# SPDX-License-Identifier: Apache-2.0
"""Degrade images: motion blur and JPEG compression."""

from __future__ import annotations

import math

import cv2
import numpy as np

from .load import Image


def motion_blur(image: Image, length_px: float, angle: float) -> Image:
    """Blur a uint8 image along a direction, `angle` in radians."""
    size = int(length_px) | 1
    weights = np.zeros((size + 2, size + 2), np.float32)
    middle = (size + 1) / 2
    offset = np.array([math.cos(angle), math.sin(angle)]) * size / 2
    start, end = np.rint(middle - offset).astype(int), np.rint(middle + offset).astype(int)
    cv2.line(weights, start.tolist(), end.tolist(), 1.0)
    return np.asarray(cv2.filter2D(image, -1, weights / weights.sum()), np.uint8)


def compress(image: Image, quality: int) -> Image:
    """A uint8 image after JPEG at a quality of 1 to 100."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
