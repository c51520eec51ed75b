# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes: text on photographs or drawn surfaces, with exact outlines."""

from __future__ import annotations

import logging
import math
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.checks import clip_polygon
from ..data.readers.annotated import write_jsonl
from ..data.samples import Polygon, Sample, Text
from ..files import decode_text, read_limited
from ..images.degrade import compress, motion_blur
from ..images.lettering import SYSTEM_FONTS
from ..images.load import IMAGE_SUFFIXES, load_image, write_image
from ..settings import MAX_SIDE
from . import surfaces
from .text_rendering import (
    COMMON_WORDS,
    Block,
    Line,
    Typeface,
    find_typefaces,
    random_word,
    render_block,
)

logger = logging.getLogger("dbnet_trt")

Image = NDArray[np.uint8]

MIN_SIZE = 32
"""Minimum side of a picture, in pixels."""

JPEG_QUALITY = 92
"""Quality of the pictures as files; before that each is compressed at a random quality."""

PLACEMENT_TRIES = 6
"""Number of places tried for a block of text before it is left out."""

OCCLUDED_SHARE = 0.35
"""Maximum share of a text's letters that may be covered; beyond it the text is ignored."""


@dataclass(frozen=True, slots=True)
class SynthConfig:
    """Contents of synthetic scenes."""

    size: int = 640
    """Side of the square images, in pixels."""

    text_level: Literal["word", "line"] = "word"
    """Unit of text that gets one outline: word or line."""

    fonts: tuple[Path, ...] = SYSTEM_FONTS
    """Font files (.ttf, .otf, .ttc), or folders with such files."""

    words: Path | None = None
    """Text file with one word per line; by default a small built-in list."""

    backgrounds: Path | None = None
    """Folder of photographs without text; by default all backgrounds are drawn surfaces."""

    text_height: tuple[int, int] = (10, 110)
    """Range of font sizes, in pixels; the logarithm is drawn uniformly."""

    max_blocks: int = 7
    """Maximum number of text blocks per image."""

    tiny_px: float = 7.0
    """Minimum height of a text, in pixels; smaller texts are ignored."""

    chinese: float = 0.25
    """Share of Chinese blocks, if a font has the characters."""

    seed: int = 0
    """Random seed; the same seed gives the same pictures."""

    def __post_init__(self) -> None:
        if self.text_level not in ("word", "line"):
            raise ValueError(f'text_level must be "word" or "line", got {self.text_level!r}')
        if not MIN_SIZE <= self.size <= MAX_SIDE:
            raise ValueError(f"size must lie between {MIN_SIZE} and {MAX_SIDE}, got {self.size}")
        low, high = self.text_height
        if not 1 <= low <= high:
            raise ValueError(f"text_height must be 1 or more and not fall, got {self.text_height}")
        if not 0 <= self.chinese <= 1:
            raise ValueError(f"chinese must lie between 0 and 1, got {self.chinese}")
        if not 0 <= self.tiny_px < math.inf:
            raise ValueError(f"tiny_px must be 0 or more, got {self.tiny_px}")
        for name, least in (("max_blocks", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Materials:
    """Fonts, words and photographs that a configuration names."""

    typefaces: list[Typeface]
    """Fonts for Latin text."""

    chinese_typefaces: list[Typeface]
    """Fonts with Chinese characters."""

    words: list[str]
    """Words for Latin text."""

    photos: list[Image] = field(repr=False)
    """Background photographs, (H, W, 3) uint8 BGR."""


def load_materials(config: SynthConfig) -> Materials:
    """Load the fonts, words and photographs that a configuration names.

    Raises:
        ValueError: There is no font, no word or no photograph where the configuration says.
        ImageError: A photograph is damaged.
        OSError: A folder cannot be read.
    """
    typefaces = find_typefaces(config.fonts)
    words = list(COMMON_WORDS)
    if config.words is not None:
        try:
            lines = decode_text(read_limited(config.words)).splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"expected {config.words} to be UTF-8; {error}") from error
        words = [line.strip() for line in lines if line.strip() and not line.endswith("'s")]
        if not words:
            raise ValueError(f"there is no word in {config.words}")
    photos: list[Image] = []
    if config.backgrounds is not None:
        files = sorted(config.backgrounds.iterdir())
        photos = [load_image(file) for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
        if not photos:
            raise ValueError(f"there is no image in {config.backgrounds}")
    chinese = [typeface for typeface in typefaces if typeface.chinese]
    latin = [typeface for typeface in typefaces if not typeface.chinese] or typefaces
    return Materials(latin, chinese, words, photos)


def make_scene(
    materials: Materials, config: SynthConfig, index: int
) -> tuple[Image, tuple[Text, ...]]:
    """Draw one picture, which depends on the seed and the index alone.

    Args:
        materials: Fonts, words and photographs.
        config: Contents of the scene.
        index: Number of the picture.

    Returns:
        The picture, (size, size, 3) uint8 BGR, and its texts.
    """
    rng = np.random.default_rng((config.seed, index))
    size = config.size
    scene = surfaces.random_background(materials.photos, size, rng)
    taken = np.zeros((size, size), np.uint8)
    lines: list[Line] = []
    letters = np.zeros((size, size), np.uint8)
    for _ in range(int(rng.integers(1, config.max_blocks + 1))):
        block = _random_block(materials, config, rng)
        placed = _place(block, taken, rng)
        if placed is not None:
            lines += _paint(scene, letters, block, placed, rng)
    covered = surfaces.occlude(scene, rng)
    texts = [
        _mark(text, letters, covered, config)
        for line in lines
        for text in _texts(line, config.text_level)
    ]
    return _photograph(scene, rng), tuple(text for text in texts if len(text.polygon) >= 3)


def _random_block(materials: Materials, config: SynthConfig, rng: np.random.Generator) -> Block:
    chinese = bool(materials.chinese_typefaces) and rng.random() < config.chinese
    pool = materials.chinese_typefaces if chinese else materials.typefaces
    typeface = pool[int(rng.integers(len(pool)))]
    low, high = np.log(config.text_height)
    height_px = int(math.exp(rng.uniform(low, high)))
    num_lines = int(rng.choice((1, 2, 3, 4), p=(0.5, 0.25, 0.15, 0.1)))
    room = config.size * 0.95 / height_px / 0.55  # number of letters that fit into a line
    texts = []
    for _ in range(num_lines):
        words = [random_word(materials.words, chinese, rng)]
        for _ in range(int(rng.integers(0, 2 if chinese else 6))):
            word = random_word(materials.words, chinese, rng)
            if (2 if chinese else 1) * (sum(map(len, words)) + len(word)) > room:
                break
            words.append(word)
        texts.append(words)
    return render_block(typeface, texts, height_px, rng)


def _place(
    block: Block, taken: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """Find a free place for a block: a (3, 3) homography from block to scene; None if none fits."""
    height, width = block.mask.shape
    size = len(taken)
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    for _ in range(PLACEMENT_TRIES):
        spread = 25.0 if rng.random() < 0.25 else 6.0
        angle = math.radians(np.clip(rng.normal(0, spread), -90, 90))
        turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        tilt = rng.uniform(-1, 1, (4, 2)) * rng.uniform(0, 0.18) * min(height, width)
        quad = (corners + tilt) @ turn
        low, high = quad.min(axis=0), quad.max(axis=0)
        room = size - (high - low)
        if (room < -0.15 * size).any():
            continue
        quad += rng.random(2) * room - low
        footprint = np.zeros_like(taken)
        cv2.fillConvexPoly(footprint, np.rint(quad).astype(np.int32), 1)
        if (taken & footprint).any():
            continue
        taken |= footprint
        return np.asarray(
            cv2.getPerspectiveTransform(corners.astype(np.float32), quad.astype(np.float32)),
            np.float64,
        )
    return None


def _paint(
    scene: Image,
    letters: NDArray[np.uint8],
    block: Block,
    homography: NDArray[np.float64],
    rng: np.random.Generator,
) -> list[Line]:
    """Paint a block into the scene, and return its lines in pixels of the scene."""
    height, width = block.mask.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    quad = _project(corners, homography)
    x_min, y_min = np.maximum(np.floor(quad.min(axis=0)).astype(int) - 8, 0)
    x_max, y_max = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + 8, len(scene))
    shift = np.array([[1, 0, -x_min], [0, 1, -y_min], [0, 0, 1]], np.float64)
    window = np.s_[y_min:y_max, x_min:x_max]
    mask = cv2.warpPerspective(block.mask, shift @ homography, (x_max - x_min, y_max - y_min))
    np.maximum(letters[window], mask, out=letters[window])
    surfaces.paint_letters(scene[window], mask.astype(np.uint8), quad - [x_min, y_min], rng)
    return [
        Line(
            _project(line.polygon, homography),
            tuple(_project(word, homography) for word in line.words),
            line.contents,
        )
        for line in block.lines
    ]


def _project(points: Polygon, homography: NDArray[np.float64]) -> Polygon:
    projected = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return np.asarray(projected[:, :2] / projected[:, 2:])


def _texts(line: Line, text_level: Literal["word", "line"]) -> Iterator[Text]:
    if text_level == "line":
        yield Text(line.polygon, content=" ".join(line.contents))
    else:
        for polygon, content in zip(line.words, line.contents, strict=True):
            yield Text(polygon, content=content)


def _mark(
    text: Text,
    letters: NDArray[np.uint8],
    covered: NDArray[np.uint8],
    config: SynthConfig,
) -> Text:
    """Clip a text to the scene; it is ignored if tiny, largely covered, or largely outside."""
    inside = np.zeros_like(letters)
    cv2.fillPoly(inside, [np.rint(text.polygon).astype(np.int32)], 1)
    ink = letters * inside
    total = max(int(np.count_nonzero(ink > 127)), 1)
    hidden = int(np.count_nonzero((ink > 127) & (covered > 0))) / total
    side = min(cv2.minAreaRect(text.polygon.astype(np.float32))[1])
    area = cv2.contourArea(text.polygon.astype(np.float32))
    visible = np.count_nonzero(inside) / max(area, 1.0)
    ignore = hidden > OCCLUDED_SHARE or side < config.tiny_px or visible < 0.7
    return Text(clip_polygon(text.polygon, len(letters)), bool(ignore), text.content)


def _photograph(scene: Image, rng: np.random.Generator) -> Image:
    """Imitate a camera: uneven light, blur, noise, JPEG compression."""
    if rng.random() < 0.5:
        scene = surfaces.shade(scene, rng)
    kind = rng.random()
    if kind < 0.45:
        scene = np.asarray(cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.3, 1.4)), np.uint8)
    elif kind < 0.55:
        scene = motion_blur(scene, rng.uniform(2, 7), rng.uniform(0, math.pi))
    if rng.random() < 0.5:
        noise = np.empty(scene.shape, np.int16)
        cv2.setRNGSeed(int(rng.integers(1 << 30)))
        cv2.randn(noise, 0, rng.uniform(1, 12))
        scene = np.asarray(cv2.add(scene, noise, dtype=cv2.CV_8U), np.uint8)
    return compress(scene, int(rng.integers(35, 96)))


def write_scenes(
    folder: Path, count: int, *, config: SynthConfig = SynthConfig(), processes: int = 1
) -> Path:
    """Write pictures and their ground truth.

    Args:
        folder: Folder for `images/` and `samples.jsonl`; it is created if missing.
        count: Number of pictures, 1 or more.
        config: Contents of the scenes.
        processes: Number of processes that draw; the pictures do not depend on it.

    Returns:
        The JSON Lines file, for `read_jsonl`.

    Raises:
        ValueError: The count is below 1, the folder holds a data set, or a font or photograph is
            missing.
        ImageError: A photograph is damaged, or a picture cannot be written.
        OSError: A file cannot be written.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, got {count}")
    if (folder / "samples.jsonl").exists():
        raise ValueError(f"{folder} holds a data set; choose another folder, or remove that one")
    (folder / "images").mkdir(parents=True, exist_ok=True)
    writer = _SceneWriter(folder, config)
    if processes == 1:
        samples = [writer(index) for index in range(count)]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            samples = pool.map(writer, range(count), chunksize=16)
    write_jsonl(folder / "samples.jsonl", samples)
    return folder / "samples.jsonl"


class _SceneWriter:
    """Writer of scenes; it loads the materials in the process that uses them."""

    def __init__(self, folder: Path, config: SynthConfig) -> None:
        self._folder, self._config = folder, config
        self._materials: Materials | None = None

    def __call__(self, index: int) -> Sample:
        if self._materials is None:
            self._materials = load_materials(self._config)
        image, texts = make_scene(self._materials, self._config, index)
        path = self._folder / "images" / f"{index:06d}.jpg"
        write_image(path, image, jpeg_quality=JPEG_QUALITY)
        return Sample(path, texts)
