# SPDX-License-Identifier: Apache-2.0
"""What a protocol says of one image, and of many."""

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
    """Credit on the side of the ground truth."""

    num_truths: int = 0
    """Texts that were to be found."""

    precision_hits: float = 0.0
    """Credit on the side of the detections."""

    num_detections: int = 0
    """Detections that count."""

    @property
    def precision(self) -> float:
        """Share of the detections that are right; 0 if there is none."""
        return self.precision_hits / self.num_detections if self.num_detections else 0.0

    @property
    def recall(self) -> float:
        """Share of the texts that were found; 0 if there is none."""
        return self.recall_hits / self.num_truths if self.num_truths else 0.0

    @property
    def f(self) -> float:
        """2 P R / (P + R)."""
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
    """One image's part of a score."""

    score: Score
    """Its sums."""

    truth_hits: tuple[int, ...]
    """Indices of the texts that were found, ascending."""

    detection_hits: tuple[int, ...]
    """Indices of the detections that are right, ascending."""

    detection_ignored: tuple[int, ...]
    """Indices of the detections that do not count, ascending."""
