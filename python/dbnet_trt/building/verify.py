# SPDX-License-Identifier: Apache-2.0
"""Comparison of the text that two engines find: a built one and ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..detections import Detections
from ..detector import Detector
from ..engines import Engine
from ..images.load import Image
from ..settings import SizePolicy

MIN_IOU = 0.8
"""Minimum intersection over union at which two upright boxes count as the same."""


MIN_BOXES = 5
"""Boxes, expected and found together, from which their agreement says something."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Number of boxes that two engines found and that both found, and how far their maps differ."""

    num_expected: int
    """Number of boxes of the reference."""

    num_found: int
    """Number of boxes of the engine."""

    num_same: int
    """Number of boxes that both found."""

    map_difference: float = 1.0
    """Largest difference of a probability, in [0, 1]; 1 where maps were not compared."""

    @property
    def agreement(self) -> float:
        """2 same / (expected + found), in [0, 1]; 0 where neither found anything."""
        total = self.num_expected + self.num_found
        return 2 * self.num_same / total if total else 0.0

    @property
    def has_boxes(self) -> bool:
        """Whether there are enough boxes to judge by them."""
        return self.num_expected + self.num_found >= MIN_BOXES

    def passes(self, min_agreement: float, max_difference: float) -> bool:
        """Judge agreement by the boxes, or by the maps where there are too few boxes."""
        if self.has_boxes:
            return self.agreement >= min_agreement
        return self.map_difference <= max_difference

    def __str__(self) -> str:
        boxes = f"{self.num_same} of {self.num_expected} boxes the same, {self.num_found} found"
        if self.has_boxes:
            return boxes
        return f"{boxes}: too few to judge by; probabilities differ by {self.map_difference:.2g}"


def compare(engine: Engine, reference: Engine, images: list[Image], size: SizePolicy) -> Comparison:
    """Detect text with two engines, count the boxes that both find, and compare their maps.

    Args:
        engine: Engine to check.
        reference: Engine to compare it with.
        images: Images (H, W, 3) uint8 BGR.
        size: Size of images in the networks.

    Raises:
        EngineError: An engine cannot run.
    """
    expected, found, same, difference = 0, 0, 0, 0.0
    detectors = [Detector(each, size=size, tiles="off") for each in (reference, engine)]
    for image in images:
        first, second = (detector.detect(image, prob_map=True) for detector in detectors)
        expected, found = expected + len(first), found + len(second)
        same += count_same(first, second)
        assert first.prob_map is not None
        assert second.prob_map is not None
        difference = max(difference, float(np.abs(first.prob_map - second.prob_map).max()))
    return Comparison(expected, found, same, difference)


def count_same(expected: Detections, found: Detections) -> int:
    """Count the boxes that can be paired with an overlapping box of the other result."""
    if not len(expected) or not len(found):
        return 0
    a, b = expected.boxes[:, None], found.boxes[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.clip(sides, 0, None).prod(axis=-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (a, b)]
    ious = shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)
    pairs = np.argwhere(ious >= MIN_IOU)
    closest_first = pairs[np.argsort(-ious[tuple(pairs.T)], kind="stable")]
    rows: set[int] = set()
    columns: set[int] = set()
    for row, column in closest_first.tolist():
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
    return len(rows)


def draw_samples(count: int = 3) -> list[Image]:
    """Draw images with lines of text, to compare engines without photographs.

    Args:
        count: Number of images.

    Returns:
        Images (480, 640, 3) uint8 BGR, the same on every call.
    """
    import cv2

    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        image = np.full((480, 640, 3), rng.integers(120, 255, 3), np.uint8)
        for y in range(60, 460, 60):
            words = " ".join(str(number) for number in rng.integers(100, 99999, 3))
            place = (int(rng.integers(10, 60)), y)
            ink = tuple(int(value) for value in rng.integers(0, 80, 3))
            cv2.putText(image, words, place, cv2.FONT_HERSHEY_DUPLEX, 1.0, ink, 2, cv2.LINE_AA)
        images.append(image)
    return images
