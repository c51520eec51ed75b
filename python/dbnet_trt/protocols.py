# SPDX-License-Identifier: Apache-2.0
"""Published protocols that score detections against ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.floating]


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
    """One image's part of a score.

    Attributes:
        score: Its sums.
        truth_hits: Indices of the texts that were found.
        detection_hits: Indices of the detections that are right.
        detection_ignored: Indices of the detections that do not count.
    """

    score: Score
    truth_hits: tuple[int, ...]
    detection_hits: tuple[int, ...]
    detection_ignored: tuple[int, ...]


def score_icdar2015(
    truths: Sequence[Polygon],
    ignore: Sequence[bool],
    detections: Sequence[Polygon],
    min_iou: float = 0.5,
) -> ImageScore:
    """Score one image by the protocol of ICDAR 2015, task 4.1.

    A detection of which more than half lies inside one text to ignore does not count. The others
    are matched one to one: each text, in its order, takes the first free detection whose IoU with
    it is greater than `min_iou`.

    Args:
        truths: N outlines (K, 2), in pixels.
        ignore: N flags.
        detections: M outlines (K, 2), in pixels.
        min_iou: Limit, excluded.
    """
    true_shapes, found_shapes = [_shape(p) for p in truths], [_shape(p) for p in detections]
    ignored = tuple(
        index
        for index, found in enumerate(found_shapes)
        if any(
            skip and found.area > 0 and found.intersection(shape).area / found.area > 0.5
            for shape, skip in zip(true_shapes, ignore, strict=True)
        )
    )
    free = [index for index in range(len(found_shapes)) if index not in ignored]
    num_detections = len(free)
    pairs = []
    for truth, (shape, skip) in enumerate(zip(true_shapes, ignore, strict=True)):
        if skip:
            continue
        hit = next((index for index in free if _iou(shape, found_shapes[index]) > min_iou), None)
        if hit is not None:
            free.remove(hit)
            pairs.append((truth, hit))
    num_truths = sum(not skip for skip in ignore)
    score = Score(len(pairs), num_truths, len(pairs), num_detections)
    return ImageScore(score, tuple(t for t, _ in pairs), tuple(d for _, d in pairs), ignored)


def _shape(polygon: Polygon):  # type: ignore[no-untyped-def]  # a shapely geometry
    """The area of an outline, also of one that crosses itself."""
    import shapely

    shape = shapely.Polygon(polygon)
    return shape if shape.is_valid else shapely.make_valid(shape)


def _iou(first, second) -> float:  # type: ignore[no-untyped-def]
    overlap = first.intersection(second).area
    union = first.area + second.area - overlap
    return overlap / union if union > 0 else 0.0
