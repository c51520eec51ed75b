# SPDX-License-Identifier: Apache-2.0
"""Backgrounds, fills and occluders for synthetic text."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Mask = NDArray[np.uint8]
Color = NDArray[np.float32]


def random_background(photos: list[Image], size: int, rng: np.random.Generator) -> Image:
    """Draw a background without text: a part of a photograph, or a surface, with clutter.

    Args:
        photos: Photographs (H, W, 3) uint8 BGR; may be empty.
        size: Side of the background, in pixels.
        rng: Source of random numbers.

    Returns:
        (size, size, 3) uint8 BGR.
    """
    if photos and rng.random() < 0.7:
        scene = _photo_part(photos[int(rng.integers(len(photos)))], size, rng)
    else:
        scene = _invent(size, rng)
    for _ in range(int(rng.integers(0, 5))):
        _draw_clutter(scene, rng)
    return scene


def _photo_part(photo: Image, size: int, rng: np.random.Generator) -> Image:
    height, width = photo.shape[:2]
    side = int(min(height, width) * rng.uniform(0.6, 1.0))
    x, y = int(rng.integers(width - side + 1)), int(rng.integers(height - side + 1))
    part = photo[y : y + side, x : x + side]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    scene = np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
    gain, bias = rng.uniform(0.6, 1.2), rng.uniform(-20, 20)
    return np.asarray(cv2.convertScaleAbs(scene, alpha=gain, beta=bias), np.uint8)


def _invent(size: int, rng: np.random.Generator) -> Image:
    """Draw a (size, size, 3) uint8 surface with a gradient and a soft texture."""
    first, second = random_color(rng), random_color(rng)
    second = first + (second - first) * rng.uniform(0, 0.5)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    share = (ramp * math.cos(angle) + ramp[:, None] * math.sin(angle) + 1.5) / 3
    scene = first + share[..., None] * (second - first)
    scene += texture(size, rng) * rng.uniform(0, 30)
    return np.clip(scene, 0, 255).astype(np.uint8)


def texture(size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw noise of two random grain sizes: (size, size, 1) float32, roughly in [-2, 2]."""
    total = np.zeros((size, size), np.float32)
    for _ in range(2):
        cells = np.array((4, 4)) * 2 ** rng.uniform(0, 6, 2)
        grain = rng.standard_normal(cells.astype(int)).astype(np.float32)
        total += cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    return total[..., None] * np.float32(0.7)


def random_color(rng: np.random.Generator) -> Color:
    """Draw a BGR colour, often a gray, as paint and ink are: (3,) float32 in [0, 255]."""
    gray = rng.uniform(0, 255)
    chroma = rng.uniform(-1, 1, 3) * (rng.uniform(0, 110) if rng.random() < 0.6 else 6)
    return np.clip(gray + chroma, 0, 255).astype(np.float32)


def contrasting_color(surface: Color, rng: np.random.Generator) -> Color:
    """Draw a (3,) float32 colour that differs in brightness from a (3,) surface by 45 or more."""
    for _ in range(20):
        color = random_color(rng)
        if abs(float(color.mean() - surface.mean())) > rng.uniform(45, 120):
            return color
    return np.full(3, 0 if surface.mean() > 127 else 255, np.float32)


def _tuple(color: Color) -> tuple[float, ...]:
    return tuple(float(value) for value in color)


def _draw_clutter(scene: Image, rng: np.random.Generator) -> None:
    """Draw something that resembles text but is not text."""
    kind = rng.integers(5)
    size = len(scene)
    x, y = (int(v) for v in rng.integers(0, size, 2))
    color = _tuple(random_color(rng))
    extent = int(rng.integers(20, size // 2))
    if kind == 0:  # windows or tiles: cells of one colour at equal distances
        _draw_grid(scene, (x, y), extent, color, rng)
    elif kind == 1:  # a fence, railings or blinds
        _draw_stripes(scene, (x, y), extent, color, rng)
    elif kind == 2:
        angle = float(rng.uniform(0, 180))
        axes = (extent, int(extent * rng.uniform(0.2, 1)))
        thickness = int(rng.choice((-1, 2, 4, 8)))
        cv2.ellipse(scene, (x, y), axes, angle, 0, 360, color, thickness, cv2.LINE_AA)
    elif kind == 3:
        offsets = rng.normal(0, extent / 2, (int(rng.integers(3, 7)), 2))
        points = (offsets + np.array((x, y))).astype(np.int32)
        cv2.fillPoly(scene, [points], color, cv2.LINE_AA)
    else:
        for _ in range(int(rng.integers(1, 8))):
            start, end = rng.integers(0, size, (2, 2)).tolist()
            cv2.line(scene, start, end, color, int(rng.integers(1, 6)), cv2.LINE_AA)


def _draw_grid(
    scene: Image,
    start: tuple[int, int],
    extent: int,
    color: tuple[float, ...],
    rng: np.random.Generator,
) -> None:
    pitch_x, pitch_y = (int(v) for v in rng.integers(8, 60, 2))
    fill = rng.uniform(0.4, 0.85)
    for x in range(start[0], start[0] + extent, pitch_x):
        for y in range(start[1], start[1] + extent, pitch_y):
            end = (x + int(pitch_x * fill), y + int(pitch_y * fill))
            cv2.rectangle(scene, (x, y), end, color, -1)


def _draw_stripes(
    scene: Image,
    start: tuple[int, int],
    extent: int,
    color: tuple[float, ...],
    rng: np.random.Generator,
) -> None:
    pitch = int(rng.integers(5, 30))
    length = int(rng.integers(10, 200))
    width = max(1, int(pitch * rng.uniform(0.2, 0.6)))
    upright = rng.random() < 0.5
    for offset in range(0, extent, pitch):
        x, y = start[0] + (offset if upright else 0), start[1] + (0 if upright else offset)
        end = (x, y + length) if upright else (x + length, y)
        cv2.line(scene, (x, y), end, color, width)


def paint_letters(
    scene: Image, mask: Mask, quad: NDArray[np.float64], rng: np.random.Generator
) -> None:
    """Paint letters into a scene; at random with a board behind them, a shadow and an outline.

    Args:
        scene: (h, w, 3) uint8 BGR; it is changed.
        mask: (h, w) uint8: coverage of each pixel by letters, 0 to 255.
        quad: (4, 2): corners of the board, (x, y) in pixels.
        rng: Source of random numbers.
    """
    if rng.random() < 0.4:
        _paint_board(scene, quad, rng)
    inked = mask > 0
    if not inked.any():
        return
    surface = scene[inked].mean(axis=0, dtype=np.float32)
    color = contrasting_color(surface, rng)
    if rng.random() < 0.25:
        _paint_shadow(scene, mask, rng)
    if rng.random() < 0.2:
        radius = int(rng.integers(1, 4))
        wide = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2))
        _blend(scene, wide.astype(np.uint8), contrasting_color(color, rng), 1.0)
    opacity = 1.0 if rng.random() < 0.6 else rng.uniform(0.65, 1.0)
    if rng.random() < 0.25:
        grain = texture(max(scene.shape[:2]), rng)[: scene.shape[0], : scene.shape[1]]
        _blend(scene, mask, np.clip(color + grain * rng.uniform(5, 25), 0, 255), opacity)
    else:
        _blend(scene, mask, color, opacity)


def _blend(scene: Image, mask: Mask, color: NDArray[np.float32], opacity: float) -> None:
    share = mask[..., None].astype(np.float32) * np.float32(opacity / 255)
    scene[:] = (scene + share * (color - scene) + np.float32(0.5)).astype(np.uint8)


def _paint_board(scene: Image, quad: NDArray[np.float64], rng: np.random.Generator) -> None:
    board = np.zeros(scene.shape[:2], np.uint8)
    corners = np.rint(quad).astype(np.int32)
    cv2.fillConvexPoly(board, corners, 255, cv2.LINE_AA)
    color = random_color(rng)
    _blend(scene, board, color, 1.0 if rng.random() < 0.7 else rng.uniform(0.4, 1.0))
    if rng.random() < 0.3:
        edge = _tuple(contrasting_color(color, rng))
        cv2.polylines(scene, [corners], True, edge, int(rng.integers(1, 5)), cv2.LINE_AA)


def _paint_shadow(scene: Image, mask: Mask, rng: np.random.Generator) -> None:
    dx, dy = rng.integers(-4, 5, 2)
    shift = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    shadow = cv2.warpAffine(mask, shift, mask.shape[::-1])
    if rng.random() < 0.6:
        shadow = cv2.GaussianBlur(shadow, (0, 0), rng.uniform(0.8, 3))
    tone = np.full(3, 0 if rng.random() < 0.85 else 255, np.float32)
    _blend(scene, shadow.astype(np.uint8), tone, rng.uniform(0.4, 0.9))


def occlude(scene: Image, rng: np.random.Generator) -> Mask:
    """Cover parts of a scene, in one scene out of five.

    Args:
        scene: (size, size, 3) uint8 BGR; it is changed.
        rng: Source of random numbers.

    Returns:
        (size, size) uint8, not 0 where the scene is covered.
    """
    covered = np.zeros(scene.shape[:2], np.uint8)
    if rng.random() > 0.2:
        return covered
    size = len(scene)
    for _ in range(int(rng.integers(1, 4))):
        start, end = rng.integers(0, size, (2, 2)).tolist()
        if rng.random() < 0.5:
            cv2.line(covered, start, end, 255, int(rng.integers(2, 14)))
        else:
            axes = (int(rng.integers(5, 70)), int(rng.integers(5, 70)))
            cv2.ellipse(covered, start, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    color = random_color(rng) + texture(size, rng) * 10
    scene[covered > 0] = np.clip(color[covered > 0], 0, 255)
    return covered


def shade(scene: Image, rng: np.random.Generator) -> Image:
    """Light a scene unevenly, at random with the edge of a cast shadow.

    Args:
        scene: (size, size, 3) uint8 BGR; it is not changed.
        rng: Source of random numbers.

    Returns:
        (size, size, 3) uint8 BGR.
    """
    size = len(scene)
    coarse = rng.uniform(0.55, 1.25, (3, 3)).astype(np.float32)
    light = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.25:
        shadow = np.zeros((size, size), np.uint8)
        points = rng.integers(-size // 4, size * 5 // 4, (4, 2)).astype(np.int32)
        cv2.fillConvexPoly(shadow, cv2.convexHull(points), 1)
        soft = cv2.GaussianBlur(shadow.astype(np.float32), (0, 0), rng.uniform(0.8, 6))
        light = light * (1 - soft * np.float32(rng.uniform(0.2, 0.55)))
    return np.clip(scene * light[..., None], 0, 255).astype(np.uint8)
