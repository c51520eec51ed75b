# SPDX-License-Identifier: Apache-2.0
"""Scores of a detector on a data set, by the published protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .detections import Detections
from .detector import Detector
from .images import load_image
from .protocols import ImageScore, Score, score_icdar2015

if TYPE_CHECKING:
    from .training.datasets import Sample


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A detector's score on a data set.

    Attributes:
        score: Over all images.
        images: Of each image.
        detections: In each image, in pixels of the image as it was shown to the detector.
    """

    score: Score
    images: tuple[ImageScore, ...]
    detections: tuple[Detections, ...]


def evaluate_samples(detector: Detector, samples: Sequence[Sample]) -> Evaluation:
    """Run a detector over samples and score it by the protocol of ICDAR 2015."""
    scores, found = [], []
    for sample in samples:
        image = stretched(load_image(sample.image), sample.stretch)
        detections = detector.detect(image)
        factors = np.array(sample.stretch)
        truths = [text.polygon * factors for text in sample.texts]
        ignore = [text.ignore for text in sample.texts]
        scores.append(score_icdar2015(truths, ignore, list(detections.quads)))
        found.append(detections)
    total = sum((each.score for each in scores), Score())
    return Evaluation(total, tuple(scores), tuple(found))


def stretched(image: NDArray[np.uint8], factors: tuple[float, float]) -> NDArray[np.uint8]:
    """A (H, W, 3) uint8 image, resized by factors (x, y)."""
    if factors == (1.0, 1.0):
        return image
    width, height = round(image.shape[1] * factors[0]), round(image.shape[0] * factors[1])
    return np.asarray(cv2.resize(image, (width, height)), np.uint8)
