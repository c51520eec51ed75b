# SPDX-License-Identifier: Apache-2.0
"""Scores of one image and of several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.floating]
"""(K, 2) outline (x, y) in pixels, K at least 3."""


@dataclass(frozen=True, slots=True)
class Score:
    """Precision, recall and their harmonic mean, from sums over images."""

    recall_hits: float = 0.0
    """Sum of the credits for texts found, the numerator of recall."""

    num_truths: int = 0
    """Number of texts to find."""

    precision_hits: float = 0.0
    """Sum of the credits for right detections, the numerator of precision."""

    num_detections: int = 0
    """Number of detections that are not ignored."""

    @property
    def precision(self) -> float:
        """Share of the detections that are right; 0 if there are none."""
        return self.precision_hits / self.num_detections if self.num_detections else 0.0

    @property
    def recall(self) -> float:
        """Share of the texts that were found; 0 if there are none."""
        return self.recall_hits / self.num_truths if self.num_truths else 0.0

    @property
    def f(self) -> float:
        """Harmonic mean of precision and recall, 2 P R / (P + R)."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.recall_hits + other.recall_hits,
            self.num_truths + other.num_truths,
            self.precision_hits + other.precision_hits,
            self.num_detections + other.num_detections,
        )

    def __str__(self) -> str:
        return f"precision {self.precision:.5f}  recall {self.recall:.5f}  F {self.f:.5f}"


@dataclass(frozen=True, slots=True)
class ImageScore:
    """Score of one image, and the matches behind it."""

    score: Score
    """Sums over the texts and detections of the image."""

    truth_hits: tuple[int, ...]
    """Indices of the texts that were found, ascending."""

    detection_hits: tuple[int, ...]
    """Indices of the detections that are right, ascending."""

    detection_ignored: tuple[int, ...]
    """Indices of the ignored detections, ascending."""
