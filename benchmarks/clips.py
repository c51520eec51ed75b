# SPDX-License-Identifier: Apache-2.0
"""Drawn clips whose texts have known paths: a moving camera, or texts that move by themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from dbnet_trt.synth.surfaces import contrasting_color, random_color, texture
from dbnet_trt.synth.text_rendering import COMMON_WORDS
from dbnet_trt.tracking.overlap import quad_overlap
from numpy.typing import NDArray
from pages import BOLD, FONTS, SANS
from PIL import Image, ImageDraw, ImageFont

Matrix = NDArray[np.float64]
Pixels = NDArray[np.uint8]

CELL = (250, 58)
"""Width and height of the place that one text has, in pixels."""


@dataclass(frozen=True)
class Sprite:
    """A text as it is drawn: a mask of its ink, where it stands, and how fast it moves."""

    mask: Pixels
    color: tuple[float, ...]
    start: NDArray[np.float64]
    speed: NDArray[np.float64]

    def place(self, time: float) -> Matrix:
        """Map its own pixels to those of the world, 3x3."""
        return move(*(self.start + time * self.speed))

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4, 3) corners in its own pixels, homogeneous; the mask has a rim of 2 pixels."""
        height, width = self.mask.shape
        right, low = width - 2.5, height - 2.5
        return np.array([[1.5, 1.5, 1], [right, 1.5, 1], [right, low, 1], [1.5, low, 1]])


@dataclass(frozen=True)
class Truth:
    """Texts of one frame.

    Attributes:
        quads: (N, 4, 2) float32, of all texts of the clip, in the same order in each frame.
        is_there: (N,) bool, whether a part of it is in the frame.
        counts: (N,) bool, whether all of it is in the frame and nothing touches or hides it.
    """

    quads: NDArray[np.float32]
    is_there: NDArray[np.bool_]
    counts: NDArray[np.bool_]


@dataclass(frozen=True)
class Clip:
    """A clip; `camera` maps the world to the frame at a time, 3x3."""

    kind: str
    size: tuple[int, int]
    ground: Pixels
    sprites: list[Sprite]
    camera: Callable[[int], Matrix]
    hides: Callable[[int], bool] = lambda time: False

    def truth(self, time: int) -> Truth:
        """Compute where the texts are in a frame."""
        camera = self.camera(time)
        placed = [sprite.corners @ (camera @ sprite.place(time)).T for sprite in self.sprites]
        quads = np.stack(placed)[..., :2].astype(np.float32)
        width, height = self.size
        is_inside = (quads >= 0) & (quads <= [width - 1, height - 1])
        is_whole = is_inside.all(axis=(1, 2))
        low, high = quads.min(axis=1), quads.max(axis=1)
        is_there = (low < [width, height]).all(axis=1) & (high > 0).all(axis=1)
        center = quads.mean(axis=1, keepdims=True)
        sides = np.linalg.norm(quads[:, 1] - quads[:, 0], axis=1)[:, None, None]
        grown = center + (quads - center) * (1 + 24 / sides)
        touches = quad_overlap(grown, grown) > 0
        np.fill_diagonal(touches, False)
        counts = is_whole & ~touches.any(axis=1)
        if self.hides(time):
            counts &= high[:, 0] < width // 2 - 8
        return Truth(quads, np.asarray(is_there), np.asarray(counts))

    def frame(self, time: int) -> Pixels:
        """Draw a frame: (H, W, 3) uint8 BGR."""
        camera, width = self.camera(time), self.size[0]
        border = cv2.BORDER_REFLECT
        frame = cv2.warpAffine(self.ground, camera[:2], self.size, None, cv2.INTER_LINEAR, border)
        frame = frame.astype(np.float32)
        shown = self.truth(time).is_there
        for sprite in [self.sprites[i] for i in np.flatnonzero(shown)]:
            matrix = (camera @ sprite.place(time))[:2]
            mask = cv2.warpAffine(sprite.mask, matrix, self.size, flags=cv2.INTER_LINEAR)
            share = mask[..., None].astype(np.float32) / 255
            frame += share * (np.array(sprite.color, np.float32) - frame)
        if self.hides(time):
            frame[:, width // 2 :] = 90
        return np.clip(frame, 0, 255).astype(np.uint8)


def move(x: float, y: float) -> Matrix:
    """Translation, 3x3."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def turn(degrees: float, scale: float, center: tuple[float, float]) -> Matrix:
    """Rotation and scale around a point, 3x3."""
    return np.vstack([cv2.getRotationMatrix2D(center, degrees, scale), [0, 0, 1]])


def make_clip(kind: str, seed: int, size: tuple[int, int] = (640, 384), cells: int = 0) -> Clip:
    """Draw what a clip shows.

    Args:
        kind: One of `KINDS`.
        seed: Seed of texts, places and motion.
        size: Width and height of the frames.
        cells: Number of texts; 0 fills about two thirds of the places.
    """
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    width, height = size
    across, down = width // CELL[0], height // CELL[1]
    margin = (2, 6) if kind in ("pan", "scroll", "turn") else (0, 0)
    places = [
        (x * CELL[0], y * CELL[1])
        for y in range(-margin[1], down + margin[1])
        for x in range(-margin[0], across + margin[0])
    ]
    chosen = rng.permutation(len(places))[: cells or len(places) * 2 // 3]
    # A plain ground: what looks like text, or hides it, would be the detector's affair.
    ground = np.clip(random_color(rng) + 12 * texture(640, rng), 0, 255).astype(np.uint8)
    sprites = [_sprite(np.array(places[i], np.float64), ground, kind, rng) for i in chosen]
    camera = _cameras(size, rng)[kind]
    hides = (lambda time: 15 <= time < 23) if kind == "hidden" else (lambda time: False)
    return Clip(kind, size, ground, sprites, camera, hides)


def _sprite(
    place: NDArray[np.float64], ground: Pixels, kind: str, rng: np.random.Generator
) -> Sprite:
    """Draw a text in its place."""
    file = FONTS / f"{rng.choice([SANS, BOLD])}.ttf"
    font = ImageFont.truetype(str(file), int(rng.integers(17, 30)))
    text = str(rng.choice(COMMON_WORDS)).capitalize()
    for word in rng.choice(COMMON_WORDS, int(rng.integers(0, 3))):
        if font.getlength(f"{text} {word}") < CELL[0] - 60:
            text = f"{text} {word}"
    left, top, right, bottom = font.getbbox(text)
    canvas = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(canvas).text((2 - left, 2 - top), text, 255, font)
    below = ground.reshape(-1, 3).mean(axis=0).astype(np.float32)
    color = tuple(float(each) for each in contrasting_color(below, rng))
    room = np.array(CELL) - canvas.size - [48, 8]  # nearer ones are one line
    jitter = rng.uniform(2, np.maximum(room, 3))
    speed = np.zeros(2)
    if kind == "cross":
        angle = rng.uniform(0, 2 * np.pi)
        speed = rng.uniform(1.5, 5) * np.array([np.cos(angle), np.sin(angle)])
    return Sprite(np.asarray(canvas, np.uint8), color, place + jitter, speed)


def _cameras(size: tuple[int, int], rng: np.random.Generator) -> dict[str, Callable[[int], Matrix]]:
    width, height = size
    center = (width / 2, height / 2)
    speed = rng.uniform(3, 8) * rng.choice([-1, 1])
    drift = rng.uniform(-1, 1)
    noise = rng.normal(0, 1, (400, 3))
    for i in range(1, len(noise)):
        noise[i] += 0.8 * noise[i - 1]
    return {
        "still": lambda time: move(0, 0),
        "pan": lambda time: move(speed * time + 12 * np.sin(time / 5), drift * time),
        "scroll": lambda time: move(0, -abs(speed) / 2 * time),
        "zoom": lambda time: turn(0, 1 + 0.5 * np.sin(time / 20) ** 2, center),
        "shake": lambda time: move(*(2 * noise[time, :2])) @ turn(noise[time, 2] / 2, 1, center),
        "turn": lambda time: turn(1.2 * time, 1, center),
        "cross": lambda time: move(0, 0),
        "hidden": lambda time: move(speed / 6 * time, drift * time),
    }


KINDS = ("still", "pan", "scroll", "zoom", "shake", "turn", "cross", "hidden")
"""Kinds of motion."""
