# SPDX-License-Identifier: Apache-2.0
"""Drawn pages and sheets with much small text, and where it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Boxes = list[tuple[float, float, float, float]]

LABELS = ("R12", "M8x20", "450", "A-101", "2.5", "DN50", "+3.20", "valve V7")
WORDS = ("level", "north", "valve", "section", "pipe", "drawing", "wall", "total", "steel", "grid")


def font(size: int) -> ImageFont.FreeTypeFont:
    """Load DejaVu Sans, which comes with matplotlib."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def to_bgr(image: Image.Image) -> Picture:
    """Convert a gray or RGB picture to (H, W, 3) uint8 BGR."""
    code = cv2.COLOR_GRAY2BGR if image.mode == "L" else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(np.asarray(image), code), np.uint8)


def draw_page(height: int, width: int, seed: int) -> Picture:
    """Draw lines of 14 to 56 pixels, of one to eight words, over a page."""
    choose = random.Random(seed)
    image = Image.new("L", (width, height), choose.randint(225, 255))
    draw = ImageDraw.Draw(image)
    y = choose.randint(10, 40)
    while y < height - 60:
        size = choose.choice([14, 18, 22, 26, 32, 40, 56])
        x = choose.randint(10, 200)
        while True:
            text = " ".join(choose.choice(WORDS) for _ in range(choose.randint(1, 8)))
            end = x + font(size).getlength(text)
            if end > width - 10:
                break
            draw.text((x, y), text, font=font(size), fill=choose.randint(0, 90))
            x = int(end) + choose.randint(3 * size, 12 * size)
        y += int(size * choose.uniform(1.5, 2.6))
    return to_bgr(image)


def draw_labels(height: int, width: int, step: tuple[int, int]) -> tuple[Picture, Boxes]:
    """Draw labels of 28 pixels, each over a thin line, on a grid of a (y, x) step."""
    choose = random.Random(3)
    image = Image.new("L", (width, height), 255)
    draw, letters, truth = ImageDraw.Draw(image), font(28), []
    for y in range(60, height - 250, step[0]):
        for x in range(60, width - 250, step[1]):
            label = choose.choice(LABELS)
            draw.text((x, y), label, font=letters, fill=0)
            draw.line((x, y + 96, x + 350, y + 96), fill=0, width=2)
            truth.append(draw.textbbox((x, y), label, font=letters))
    return to_bgr(image), truth


def draw_lines(side: int, count: int) -> tuple[Picture, Boxes]:
    """Draw lines of 33 pixels, one below the other, on a square page."""
    choose = random.Random(1)
    image = Image.new("L", (side, side), 255)
    draw, letters, truth = ImageDraw.Draw(image), font(33), []
    for i in range(count):
        text = " ".join(choose.choice(WORDS) for _ in range(choose.randint(6, 9)))
        place = (choose.randint(100, side - 2000), 100 + i * (side - 200) // count)
        draw.text(place, text, font=letters, fill=0)
        truth.append(draw.textbbox(place, text, font=letters))
    return to_bgr(image), truth


def sheets() -> Iterator[tuple[str, Picture, Boxes]]:
    """Draw the sheets whose text is lost where they are shrunk."""
    yield "7000x5000, 140 labels", *draw_labels(5000, 7000, (500, 500))
    yield "10000x7000, 150 labels", *draw_labels(7000, 10000, (669, 646))
    yield "8000x8000, 55 lines", *draw_lines(8000, 55)


def num_found(boxes: NDArray[np.float32], truth: Boxes) -> int:
    """Count the texts of which one box covers at least 70 %."""
    found = 0
    for x_min, y_min, x_max, y_max in truth:
        width = np.minimum(x_max, boxes[:, 2]) - np.maximum(x_min, boxes[:, 0])
        height = np.minimum(y_max, boxes[:, 3]) - np.maximum(y_min, boxes[:, 1])
        shared = width.clip(0) * height.clip(0)
        found += bool(shared.max(initial=0) >= 0.7 * (x_max - x_min) * (y_max - y_min))
    return found
