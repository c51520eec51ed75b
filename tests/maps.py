# SPDX-License-Identifier: Apache-2.0
"""Probability maps for tests of post-processing: maps of text, and adversarial ones."""

from collections.abc import Callable

import cv2
import numpy as np

Map = np.ndarray


def text_map(height: int, width: int, num_lines: int, rng: np.random.Generator) -> Map:
    """Draw soft rotated bars with a little noise, like a network's map: (height, width) float32."""
    prob_map = np.zeros((height, width), np.float32)
    for _ in range(num_lines):
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        size = (rng.uniform(12, max(13, width / 3)), rng.uniform(6, max(7, height / 16)))
        bar = cv2.boxPoints((centre, size, rng.uniform(-60, 60)))
        cv2.fillPoly(prob_map, [bar.astype(np.int32)], rng.uniform(0.5, 1))
    soft = cv2.GaussianBlur(prob_map, (0, 0), 1.5) + rng.normal(0, 0.02, prob_map.shape)
    return np.clip(soft, 0, 1).astype(np.float32)


def noise(height: int, width: int, density: float, rng: np.random.Generator) -> Map:
    """Draw random pixels of a density; 0.4 is near the 8-connected percolation threshold."""
    return (rng.random((height, width)) < density).astype(np.float32)


def spiral(side: int) -> Map:
    """Draw a spiral: one component with the deepest possible union-find tree."""
    prob_map = np.zeros((side, side), np.float32)
    x, y, dx, dy = 0, 0, 1, 0
    low, high = [0, 2], [side - 1, side - 1]  # bounds of the free area in x and y
    prob_map[0, 0] = 1
    while low[0] <= high[0] + 1 and low[1] <= high[1] + 1:
        nx, ny = x + dx, y + dy
        turn = (
            (dx == 1 and nx > high[0])
            or (dy == 1 and ny > high[1])
            or (dx == -1 and nx < low[0])
            or (dy == -1 and ny < low[1])
        )
        if turn:
            if dx == 1:
                high[0] -= 2
            elif dy == 1:
                high[1] -= 2
            elif dx == -1:
                low[0] += 2
            else:
                low[1] += 2
            dx, dy = -dy, dx
            if high[0] < low[0] or high[1] < low[1]:
                break
            continue
        x, y = nx, ny
        prob_map[y, x] = 1
    return prob_map


def comb(height: int, width: int) -> Map:
    """Draw a comb: columns that only the last row joins."""
    prob_map = np.zeros((height, width), np.float32)
    prob_map[:, ::2] = 1
    prob_map[-1] = 1
    return prob_map


def checkerboard(height: int, width: int) -> Map:
    """Draw a checkerboard: one component whose pixels touch at corners only."""
    y, x = np.mgrid[:height, :width]
    return ((x + y) % 2 == 0).astype(np.float32)


def rings(side: int) -> Map:
    """Draw nested squares, whose rectangles cover the same pixels many times."""
    y, x = np.mgrid[:side, :side]
    return (np.maximum(abs(x - side // 2), abs(y - side // 2)) // 2 % 2).astype(np.float32)


def staircase(side: int) -> Map:
    """Draw diagonals at a distance of two pixels."""
    y, x = np.mgrid[:side, :side]
    return ((x - y) % 3 == 0).astype(np.float32)


def crowded_map() -> Map:
    """Draw 300 squares and a text of 308 rows, (312, 144): blocks take several components in turn,
    and arrays of 128 rows or 256 candidates are filled more than once."""
    prob_map = np.zeros((312, 144), np.float32)
    cv2.fillPoly(prob_map, [np.array([[2, 1], [10, 1], [16, 308], [8, 308]], np.int32)], 1)
    for y in range(5):
        for x in range(5):
            prob_map[y:160:8, 24 + x :: 8] = 1
    return prob_map


ADVERSARIAL: dict[str, Callable[[np.random.Generator], Map]] = {
    "spiral": lambda rng: spiral(101),
    "comb": lambda rng: comb(60, 131),
    "comb upside down": lambda rng: comb(60, 131)[::-1].copy(),
    "checkerboard": lambda rng: checkerboard(65, 129),
    "rings": lambda rng: rings(160),
    "staircase": lambda rng: staircase(97),
    "one pixel": lambda rng: np.ones((1, 1), np.float32),
    "one dark pixel": lambda rng: np.zeros((1, 1), np.float32),
    "single row": lambda rng: noise(1, 200, 0.5, rng),
    "single column": lambda rng: noise(200, 1, 0.5, rng),
    "all ones": lambda rng: np.ones((70, 130), np.float32),
    "all zeros": lambda rng: np.zeros((70, 130), np.float32),
    "sparse noise": lambda rng: noise(120, 190, 0.1, rng),
    "near percolation": lambda rng: noise(150, 200, 0.407, rng),
    "dense noise": lambda rng: noise(120, 190, 0.9, rng),
    "text": lambda rng: text_map(160, 230, 12, rng),
}
