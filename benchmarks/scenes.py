# SPDX-License-Identifier: Apache-2.0
"""Drawn scenes and maps, for benchmarks without photos."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def text_scene(
    height: int, width: int, num_lines: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw lines of text, slightly turned, on a soft background: (height, width, 3) uint8."""
    coarse = rng.integers(90, 200, (height // 40 + 2, width // 40 + 2, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    columns = max(1, round(np.sqrt(num_lines * width / height / 6)))
    rows = -(-num_lines // columns)
    for i in range(num_lines):
        row, column = divmod(i, columns)
        word = "".join(rng.choice(list("abcdefghiklmnoprstuvw"), rng.integers(5, 12)))
        scale = 0.022 * height / rows
        (text_width, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
        scale *= min(1.0, 0.8 * width / columns / text_width)
        origin = (int((column + 0.1) * width / columns), int((row + 0.7) * height / rows))
        ink = (20, 20, 20) if rng.random() < 0.5 else (250, 250, 250)
        thickness = max(1, round(2 * scale))
        cv2.putText(
            image, word, origin, cv2.FONT_HERSHEY_DUPLEX, scale, ink, thickness, cv2.LINE_AA
        )
    return np.asarray(image, np.uint8)


def text_map(
    height: int, width: int, num_lines: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a map of lines that do not touch, as a network would: (height, width) float32."""
    prob_map = np.zeros((height, width), np.float32)
    columns = max(1, round(np.sqrt(num_lines * width / height / 6)))
    rows = max(1, -(-num_lines // columns))
    for i in range(num_lines):
        row, column = divmod(i, columns)
        centre = ((column + 0.5) * width / columns, (row + 0.5) * height / rows)
        size = (0.7 * width / columns, max(4.0, min(0.35 * height / rows, 40)))
        bar = cv2.boxPoints((centre, size, float(rng.uniform(-2, 2))))
        cv2.fillPoly(prob_map, [np.rint(bar).astype(np.int32)], float(rng.uniform(0.8, 1)))
    soft = cv2.GaussianBlur(prob_map, (0, 0), 1.2) + rng.normal(0, 0.01, prob_map.shape)
    return np.clip(soft, 0, 1).astype(np.float32)


def dark_scene(
    height: int, width: int, num_lines: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Draw dark bars on white, for the networks of untrained.py: (height, width, 3) uint8."""
    prob_map = text_map(height, width, num_lines, rng)
    return np.repeat((255 * (1 - prob_map)).astype(np.uint8)[..., None], 3, axis=2)
