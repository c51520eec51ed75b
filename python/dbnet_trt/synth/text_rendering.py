# SPDX-License-Identifier: Apache-2.0
"""Rendering of text blocks for synthetic scenes: fonts, words, lines, curved baselines."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.samples import Polygon

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont

Mask = NDArray[np.uint8]

_WORDS = (
    "a about after all an and are as at back be because but by can come could day even exit first "
    "for from get give go good have he her him his how if in into it its just know like look make "
    "market me most my new no not now of on one only open or other our out over people say see "
    "shop she so some station street take than that the their them then there these they think "
    "this time to two up us use want way we well what when which who will with work would year "
    "you "
)
COMMON_WORDS = tuple(_WORDS.split())


@dataclass(frozen=True, slots=True)
class Typeface:
    """Font file."""

    path: str
    """Path of the file."""

    chinese: bool
    """Whether the font has Chinese characters."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a block.

    Attributes:
        polygon: (K, 2) float64: outline of the line, (x, y) in pixels of the block.
        words: (K, 2) float64 per word: outlines of the words.
        contents: Words of the line.
    """

    polygon: Polygon
    words: tuple[Polygon, ...]
    contents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Block of lines in one font.

    Attributes:
        mask: (h, w) uint8: coverage of each pixel by letters, 0 to 255.
        lines: Lines with outlines in pixels of `mask`.
    """

    mask: Mask
    lines: tuple[Line, ...]


def find_typefaces(fonts: tuple[Path, ...]) -> list[Typeface]:
    """Find all fonts with Latin letters among files and below folders, in the order of paths.

    Raises:
        ValueError: There is no such font.
    """
    files = sorted(
        str(file)
        for font in fonts
        for file in ([font] if font.is_file() else font.rglob("*"))
        if file.suffix.lower() in (".ttf", ".otf", ".ttc")
    )
    found = [Typeface(file, _has(file, "中文")) for file in files if _has(file, "AB")]
    if not found:
        raise ValueError(
            f"there is no font below {', '.join(map(str, fonts))}; "
            "name a folder with .ttf or .otf files (Debian: apt-get install fonts-dejavu-core)"
        )
    return found


def _has(file: str, letters: str) -> bool:
    """Test whether a font has two letters: missing letters are all drawn as the same box."""
    try:
        first, second = (bytes(_load_font(file, 24).getmask(letter)) for letter in letters)
    except OSError:
        return False
    return first != second


@lru_cache(maxsize=256)
def _load_font(path: str, size_px: int) -> ImageFont.FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(path, size_px)


def random_word(words: list[str], chinese: bool, rng: np.random.Generator) -> str:
    """Draw a word, a number, a price or Chinese characters, as on signs.

    Args:
        words: Words to choose from.
        chinese: Whether to return Chinese characters.
        rng: Source of random numbers.
    """
    if chinese:
        count = int(rng.integers(1, 9))
        return "".join(_common_hanzi(int(rng.integers(3755))) for _ in range(count))
    kind = rng.random()
    if kind < 0.1:
        return str(rng.integers(10 ** int(rng.integers(1, 6))))
    if kind < 0.14:
        return f"{rng.choice(['$', '€', '£', ''])}{rng.integers(1, 200)}.{rng.integers(100):02d}"
    word = words[int(rng.integers(len(words)))]
    if kind < 0.45:
        return word.upper()
    return word.capitalize() if kind < 0.75 else word


def _common_hanzi(index: int) -> str:
    """Return one of the 3755 characters of GB 2312's first level: rows of 94 from B0A1 on."""
    row, column = divmod(index, 94)
    return bytes((0xB0 + row, 0xA1 + column)).decode("gb2312")


def render_block(
    typeface: Typeface,
    texts: list[list[str]],
    height_px: int,
    rng: np.random.Generator,
) -> Block:
    """Render lines of words with random spacing, alignment and curvature.

    Args:
        typeface: Font.
        texts: Words of each line.
        height_px: Size of the font, in pixels.
        rng: Source of random numbers.

    Returns:
        The mask of the letters, and the outlines of lines and words.
    """
    from PIL import Image, ImageDraw

    font = _load_font(typeface.path, height_px)
    ascent, descent = font.getmetrics()
    pitch = int((ascent + descent) * rng.uniform(0.95, 1.5))
    gap = font.getlength(" ") * rng.uniform(0.8, 1.8)
    tracking = height_px * rng.uniform(0.05, 0.3) if rng.random() < 0.2 else 0.0
    widths = [_line_width(font, words, gap, tracking) for words in texts]
    margin = max(4, height_px // 3)
    width = int(max(widths)) + 2 * margin
    height = pitch * (len(texts) - 1) + ascent + descent + 2 * margin
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    alignment = rng.choice((0.0, 0.5, 1.0))
    boxes = []
    for row, (words, line_width) in enumerate(zip(texts, widths, strict=True)):
        x = margin + alignment * (max(widths) - line_width)
        boxes.append(_draw_line(draw, font, words, (x, margin + row * pitch), gap, tracking))
    mask = np.asarray(canvas, np.uint8)
    curve = _random_curve(width, height_px, rng)
    pad = math.ceil(np.abs(curve).max())
    mask = _bend(mask, curve, pad)
    lines = tuple(
        Line(
            _outline(_union(line), curve, pad),
            tuple(_outline(box, curve, pad) for box in line),
            tuple(words),
        )
        for line, words in zip(boxes, texts, strict=True)
    )
    return Block(mask, lines)


Box = tuple[float, float, float, float]


def _line_width(
    font: ImageFont.FreeTypeFont, words: list[str], gap: float, tracking: float
) -> float:
    letters = sum(len(word) for word in words)
    return sum(map(font.getlength, words)) + gap * (len(words) - 1) + tracking * letters


def _draw_line(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    words: list[str],
    start: tuple[float, float],
    gap: float,
    tracking: float,
) -> list[Box]:
    """Draw words from (x, y) on, and return their boxes."""
    x, y = start
    boxes = []
    for word in words:
        pieces = list(word) if tracking else [word]
        corners = []
        for piece in pieces:
            draw.text((x, y), piece, 255, font)
            left, top, right, bottom = font.getbbox(piece)
            corners.append((x + left, y + top, x + right, y + bottom))
            x += font.getlength(piece) + tracking
        boxes.append(_union(corners))
        x += gap
    return boxes


def _union(boxes: list[Box]) -> Box:
    x_min, y_min, _, _ = map(min, zip(*boxes, strict=True))
    _, _, x_max, y_max = map(max, zip(*boxes, strict=True))
    return x_min, y_min, x_max, y_max


def _random_curve(width: int, height_px: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a (width,) float64 shift of each column, downwards in pixels; 0 in most blocks."""
    if rng.random() > 0.2:
        return np.zeros(width)
    x = np.linspace(-1, 1, width)
    reach = min(width * 0.12, height_px * 1.2) * rng.uniform(0.3, 1) * rng.choice((-1, 1))
    if rng.random() < 0.7:
        return np.asarray(reach * (x**2 - 0.5))
    return np.asarray(reach * 0.6 * np.sin(math.pi * x + rng.uniform(0, 2 * math.pi)))


def _bend(mask: Mask, curve: NDArray[np.float64], pad: int) -> Mask:
    if pad == 0:
        return mask
    mask = np.pad(mask, ((pad, pad), (0, 0)))
    height, width = mask.shape
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    ys -= curve.astype(np.float32)
    return np.asarray(cv2.remap(mask, xs, ys, cv2.INTER_LINEAR), np.uint8)


def _outline(box: Box, curve: NDArray[np.float64], pad: int) -> Polygon:
    """Convert a box to a polygon that follows the curve: 4 points, or 14 on a curved block."""
    x_min, y_min, x_max, y_max = box
    xs = np.linspace(x_min, x_max, 7 if pad else 2)
    shift = np.interp(xs, np.arange(len(curve)), curve) + pad
    top = np.column_stack([xs, y_min + shift])
    bottom = np.column_stack([xs, y_max + shift])
    return np.concatenate([top, bottom[::-1]])
