# SPDX-License-Identifier: Apache-2.0
"""Augmentation: random crops by one affine map for pixels and polygons, then colour changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.checks import clip_polygon
from ..data.samples import Polygon, Text
from ..images.degrade import compress, motion_blur

Image = NDArray[np.uint8]
Affine = NDArray[np.float64]
"""(2, 3) float64 matrix that maps a point (x, y, 1) of the image to (x, y) of the crop."""


@dataclass(frozen=True, slots=True)
class AugmentConfig:
    """Ranges and probabilities of the augmentation."""

    crop_size: int = 640
    """Side of the square crops, in pixels; a multiple of 32."""

    scale: tuple[float, float] = (0.5, 3.0)
    """Range of the image's short side after scaling, as a multiple of crop_size; the logarithm is
    drawn uniformly."""

    stretch: float = 1.15
    """Largest factor by which the aspect ratio changes."""

    max_rotation_deg: float = 10.0
    """Largest rotation in either direction, in degrees."""

    quarter_turn_prob: float = 0.0
    """Probability of an additional rotation by 90 degrees, left or right."""

    flip_prob: float = 0.5
    """Probability of a horizontal flip."""

    text_prob: float = 0.8
    """Probability that the crop is placed near a text; otherwise its place is random."""

    min_visible: float = 0.3
    """Smallest share of a text's area that must lie inside the crop; texts below it are ignored."""

    color_prob: float = 0.8
    """Probability of a change of brightness, contrast, saturation and tint."""

    sharpen_prob: float = 0.0
    """Probability of sharpening, for photos that were resized before."""

    degrade_prob: float = 0.3
    """Probability of blur, noise or JPEG artefacts."""

    def __post_init__(self) -> None:
        if self.crop_size < 32 or self.crop_size % 32:
            raise ValueError(f"crop_size must be a multiple of 32, got {self.crop_size}")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two numbers above 0, low and high, got {self.scale}")
        if not self.stretch >= 1:
            raise ValueError(f"stretch must be a factor of 1 or more, got {self.stretch}")
        for name in (
            "quarter_turn_prob", "flip_prob", "text_prob", "color_prob", "sharpen_prob",
            "degrade_prob",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")


def augment(
    image: Image,
    texts: Sequence[Text],
    stretch: tuple[float, float],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> tuple[Image, list[Text], Affine]:
    """Cut a random crop out of an image.

    Args:
        image: (H, W, 3) uint8 BGR.
        texts: Texts of the image; polygons (K, 2) in its pixels.
        stretch: Factors (x, y) that restore the image's aspect ratio; applied first.
        config: Ranges and probabilities.
        rng: Source of random numbers.

    Returns:
        The crop, (crop_size, crop_size, 3) uint8 BGR; its texts, clipped at its border; and the
        (2, 3) matrix that maps pixels of the image to pixels of the crop.
    """
    matrix = _random_affine(image.shape[:2], texts, stretch, config, rng)
    size = config.crop_size
    fill = tuple(float(value) for value in rng.integers(0, 256, 3))
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=fill)
    found = []
    for text in texts:
        polygon = text.polygon @ matrix[:, :2].T + matrix[:, 2]
        clipped = clip_polygon(polygon, size)
        if len(clipped) < 3:
            continue
        visible = _area(clipped) / max(_area(polygon), 1e-9)
        found.append(Text(clipped, text.ignore or visible < config.min_visible, text.content))
    crop = np.asarray(crop, np.uint8)
    if rng.random() < config.color_prob:
        crop = jitter_color(crop, rng)
    if config.sharpen_prob and rng.random() < config.sharpen_prob:
        crop = sharpen(crop, rng)
    if rng.random() < config.degrade_prob:
        crop = degrade(crop, rng)
    return crop, found, matrix


def cut_prob_map(
    prob_map: Image, image_size: tuple[int, int], matrix: Affine, crop_size: int
) -> NDArray[np.float32]:
    """Cut the crop of an image out of its probability map.

    Args:
        prob_map: (h, w) uint8, 255 for P = 1; covers the whole image.
        image_size: (height, width) of the image in pixels.
        matrix: (2, 3) matrix that maps pixels of the image to pixels of the crop.
        crop_size: Side of the crop, in pixels.

    Returns:
        (crop_size, crop_size) float32 in [0, 1]; 0 outside the image.
    """
    height, width = prob_map.shape
    # Pixel centres lie at whole numbers: subtract half a pixel before scaling, add it afterwards.
    scale = np.array([image_size[1] / width, image_size[0] / height])
    linear = matrix[:, :2] * scale
    offset = matrix[:, 2] + matrix[:, :2] @ (scale - 1) / 2
    crop = cv2.warpAffine(prob_map, np.column_stack([linear, offset]), (crop_size, crop_size))
    return np.divide(crop, 255, dtype=np.float32)


def _random_affine(
    size: tuple[int, int],
    texts: Sequence[Text],
    stretch: tuple[float, float],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw the (2, 3) float64 matrix that maps pixels of the image to pixels of the crop."""
    height, width = size[0] * stretch[1], size[1] * stretch[0]
    low, high = np.log(config.scale)
    scale = config.crop_size * math.exp(rng.uniform(low, high)) / min(height, width)
    aspect = math.exp(rng.uniform(-1, 1) * math.log(config.stretch) / 2)
    angle = math.radians(rng.uniform(-1, 1) * config.max_rotation_deg)
    if rng.random() < config.quarter_turn_prob:
        angle += math.pi / 2 * float(rng.choice((-1, 1)))
    mirror = -1.0 if rng.random() < config.flip_prob else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.diag([mirror * scale * aspect * stretch[0], scale / aspect * stretch[1]])
    target = _crop_center(size, texts, linear, config, rng)
    offset = config.crop_size / 2 - linear @ target
    return np.column_stack([linear, offset])


def _crop_center(
    size: tuple[int, int],
    texts: Sequence[Text],
    linear: NDArray[np.float64],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Choose the point (x, y) of the image, in pixels, that becomes the crop's centre."""
    readable = [text for text in texts if not text.ignore]
    half_crop = config.crop_size / 2
    center = rng.random(2) * np.array(size[::-1], np.float64)
    if readable and rng.random() < config.text_prob:
        polygon = readable[rng.integers(len(readable))].polygon
        along = rng.random((len(polygon), 1))
        within = (polygon * along).sum(axis=0) / along.sum()
        center = within + np.linalg.solve(linear, rng.uniform(-0.7, 0.7, 2) * half_crop)
    # Move it towards the middle, so that little of the crop lies outside the image.
    reach = np.abs(np.linalg.inv(linear)) @ np.full(2, half_crop)
    middle = np.array(size[::-1]) / 2
    room = np.maximum(middle - reach, 0)
    return np.clip(center, middle - room, middle + room)


def _area(polygon: Polygon) -> float:
    x, y = polygon.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def jitter_color(image: Image, rng: np.random.Generator) -> Image:
    """Change brightness, contrast, saturation and tint at random.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        rng: Source of random numbers.

    Returns:
        (H, W, 3) uint8 BGR. One image in ten comes back as its negative.
    """
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3)
    gray = image.mean()
    bias = rng.uniform(-30, 30) + gray * (1 - gain)
    # Mix each channel with the mean of all: below 1 the colours are paler, above 1 stronger.
    saturation = rng.uniform(0.4, 1.4)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    matrix = np.column_stack([gain[:, None] * mix, bias])
    changed = np.asarray(cv2.transform(image, matrix), np.uint8)
    if rng.random() < 0.1:
        changed = 255 - changed
    return changed


def degrade(image: Image, rng: np.random.Generator) -> Image:
    """Blur an image, add noise to it, or compress it, chosen at random.

    Args:
        image: (H, W, 3) uint8 BGR; it is not changed.
        rng: Source of random numbers.

    Returns:
        (H, W, 3) uint8 BGR.
    """
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if kind == 1:
        return motion_blur(image, rng.uniform(2, 6), rng.uniform(0, math.pi))
    if kind == 2:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape)
        return np.clip(image + noise, 0, 255).astype(np.uint8)
    return compress(image, int(rng.integers(20, 70)))


def sharpen(image: Image, rng: np.random.Generator) -> Image:
    """Sharpen an image by an unsharp mask of random width and strength.

    Args:
        image: (H, W, 3) uint8.
        rng: Source of randomness.

    Returns:
        (H, W, 3) uint8.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0))
    amount = rng.uniform(0.3, 1.5)
    return np.asarray(cv2.addWeighted(image, 1 + amount, blurred, -amount, 0), np.uint8)
