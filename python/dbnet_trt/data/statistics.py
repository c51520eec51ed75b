# SPDX-License-Identifier: Apache-2.0
"""Statistics of a data set: counts, text sizes and problems."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .dataset import DataSet
from .samples import Polygon, Problem, Sample

HEIGHT_BOUNDS = (8, 16, 32, 64, 128)
"""Limits between the rows of the table of heights, in pixels."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts, text sizes and problems of a data set.

    Attributes:
        num_images: Number of images that can be used.
        num_texts: Number of their texts, ignored ones included.
        num_ignored: Number of ignored texts.
        heights: (N,) float64, heights of texts that are not ignored, in pixels of the image in its
            original aspect ratio.
        aspects: (N,) float64, length over height of the same texts.
        empty: Images without text.
        same_name: Files that share a name, by that name.
        problems: Problems of images and annotations.
    """

    num_images: int
    num_texts: int
    num_ignored: int
    heights: NDArray[np.float64]
    aspects: NDArray[np.float64]
    empty: tuple[Path, ...]
    same_name: dict[str, list[Path]]
    problems: tuple[Problem, ...]

    @property
    def kinds(self) -> list[tuple[str, int]]:
        """Number of problems of each kind, the most frequent first."""
        return Counter(str(problem.kind) for problem in self.problems).most_common()

    @property
    def height_table(self) -> list[tuple[str, int]]:
        """Rows of the table of text heights: (range in pixels, number of texts)."""
        counts = np.bincount(
            np.digitize(self.heights, HEIGHT_BOUNDS), minlength=len(HEIGHT_BOUNDS) + 1
        )
        names = [
            f"under {HEIGHT_BOUNDS[0]}",
            *(f"{low} to {high}" for low, high in pairwise(HEIGHT_BOUNDS)),
            f"{HEIGHT_BOUNDS[-1]} and more",
        ]
        return list(zip(names, counts.tolist(), strict=True))


def compute_statistics(found: DataSet) -> Statistics:
    """Compute the counts, text sizes and problems of a data set."""
    sizes = [
        ribbon_size(text.polygon * sample.stretch)
        for sample in found.samples
        for text in sample.texts
        if not text.ignore
    ]
    heights, lengths = np.array(sizes, np.float64).reshape(-1, 2).T
    by_name: dict[str, set[Path]] = defaultdict(set)
    for sample in found.samples:
        by_name[sample.image.name].add(sample.image)
    return Statistics(
        len(found.samples),
        sum(len(sample.texts) for sample in found.samples),
        sum(text.ignore for sample in found.samples for text in sample.texts),
        heights,
        lengths / np.maximum(heights, 1e-9),
        tuple(sample.image for sample in found.samples if not sample.texts),
        {name: sorted(paths) for name, paths in sorted(by_name.items()) if len(paths) > 1},
        tuple(found.problems),
    )


def ribbon_size(polygon: Polygon) -> tuple[float, float]:
    """Compute (height, length) of the rectangle with the area A and perimeter L of an outline.

    Both solve s^2 - s L / 2 + A = 0. Unlike the smallest rectangle around the outline, this also
    suits curved text.
    """
    points = polygon.astype(np.float32)
    half, area = cv2.arcLength(points, True) / 2, cv2.contourArea(points)
    root = max(half * half - 4 * area, 0) ** 0.5
    return (half - root) / 2, (half + root) / 2


def spread(samples: list[Sample], count: int) -> list[Sample]:
    """Choose at most `count` samples, evenly spread."""
    if count >= len(samples):
        return samples
    places = np.linspace(0, len(samples) - 1, count).round().astype(int)
    return [samples[place] for place in places]
