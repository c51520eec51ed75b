# SPDX-License-Identifier: Apache-2.0
"""Fake engine whose map is the image's green channel, photos for it, and recorders of batches."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from dbnet_trt import Detections, ModelCard

CARD = ModelCard(name="green", mean=(0, 0, 0), std=(1, 1, 1), short_side=64)


class GreenOnCpu:
    """Engine whose map is the image's green channel."""

    card = CARD
    description = "green, CPU"

    def __init__(self, dtype: type = np.float32) -> None:
        self._dtype = dtype

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return batch[:, 1].astype(self._dtype).astype(np.float32)


def photo(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an image with bars in its green channel: (height, width, 3) uint8."""
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    green = np.zeros((height, width), np.uint8)
    for _ in range(1 + height * width // 1500):
        centre = (rng.uniform(0, width), rng.uniform(0, height))
        bar = cv2.boxPoints((centre, (rng.uniform(12, 30), rng.uniform(7, 12)), rng.uniform(0, 90)))
        cv2.fillPoly(green, [bar.astype(np.int32)], int(rng.integers(120, 256)))
    image[:, :, 1] = green
    return image


def nv12_photo(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an NV12 frame with bars in green, as decoders return: (height * 3 / 2, width) uint8."""
    luma = photo(height, width, rng)[:, :, 1]
    chroma = rng.integers(112, 145, (height // 2, width), dtype=np.uint8)
    return np.concatenate([luma, chroma])


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected)
    np.testing.assert_allclose(found.quads, expected.quads, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert (found.polygons is None) == (expected.polygons is None)
    for polygon, other in zip(found.polygons or (), expected.polygons or (), strict=True):
        np.testing.assert_array_equal(polygon, other)
    assert (found.prob_map is None) == (expected.prob_map is None)
    if found.prob_map is not None:
        np.testing.assert_array_equal(found.prob_map, expected.prob_map)


class Recorder:
    """An engine that records the sizes of its batches."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.card, self.description = engine, engine.card, engine.description
        self.batch_sizes: list[int] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batch_sizes.append(batch.shape[0])
        return np.asarray(self.engine(batch))


class OneByOne(Recorder):
    """The same, for which batches are no faster."""

    runs_one_by_one = True
