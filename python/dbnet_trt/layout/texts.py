# SPDX-License-Identifier: Apache-2.0
"""Measures of texts, whichever way they run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

TALL_RATIO = 1.5
"""Ratio of height to width from which the text in a quad runs downwards."""


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Measures of N texts, in pixels and radians."""

    quads: NDArray[np.float64]
    """(N, 4, 2)."""

    angles: NDArray[np.float64]
    """(N,) direction of the text in (-pi/2, pi/2]; 0 runs to the right."""

    lengths: NDArray[np.float64]
    """(N,) along the text."""

    heights: NDArray[np.float64]
    """(N,) across the text, more than 0."""

    @property
    def neutral(self) -> NDArray[np.bool_]:
        """(N,) whether the quad is too square to show a direction."""
        return self.lengths < TALL_RATIO * self.heights

    @property
    def crossing(self) -> NDArray[np.bool_]:
        """(N,) whether the text runs up or down."""
        return ~self.neutral & (abs(self.angles) > np.pi / 4)

    @property
    def centers(self) -> NDArray[np.float64]:
        """(N, 2)."""
        return self.quads.mean(axis=1)

    @classmethod
    def measure(cls, quads: NDArray[np.float64]) -> Texts:
        """Measure (N, 4, 2) quads whose corners follow each other around the text."""
        side = quads[:, 1] - quads[:, 0] + quads[:, 2] - quads[:, 3]
        other = quads[:, 3] - quads[:, 0] + quads[:, 2] - quads[:, 1]
        side, other = side / 2, other / 2
        lengths = np.linalg.norm(side, axis=1), np.linalg.norm(other, axis=1)
        # The longer side is the text's direction, unless they are near: then the flatter one.
        flatter = abs(side[:, 1]) * lengths[1] <= abs(other[:, 1]) * lengths[0]
        near = np.maximum(*lengths) < TALL_RATIO * np.minimum(*lengths)
        first = np.where(near, flatter, lengths[0] >= lengths[1])
        along = np.where(first[:, None], side, other)
        angles = np.arctan2(along[:, 1], along[:, 0])
        angles = np.where(angles > np.pi / 2, angles - np.pi, angles)
        angles = np.where(angles <= -np.pi / 2, angles + np.pi, angles)
        across = np.where(first, lengths[1], lengths[0])
        return cls(quads, angles, np.where(first, *lengths), np.maximum(across, 1e-3))

    def skew(self) -> float:
        """Return the median direction of the text that runs to the right, weighted by length."""
        flat = ~self.neutral & (abs(self.angles) <= np.pi / 4)
        if not flat.any():
            return 0.0
        angles, weights = self.angles[flat], self.lengths[flat]
        order = np.argsort(angles, kind="stable")
        passed = np.cumsum(weights[order])
        return float(angles[order][np.searchsorted(passed, passed[-1] / 2)])

    def with_upright_letters(self) -> Texts:
        """Treat what is tall but no longer than a letter, as "1", as text that runs right."""
        flat = ~self.crossing
        if not flat.any():
            return self
        letter = self.crossing & (self.lengths < TALL_RATIO * np.median(self.heights[flat]))
        return Texts(
            self.quads,
            np.where(letter, 0.0, self.angles),
            np.where(letter, self.heights, self.lengths),
            np.where(letter, self.lengths, self.heights),
        )

    def turned_by(self, angle: float) -> Texts:
        """Rotate around the origin by an angle in radians, clockwise on the screen."""
        return self if angle == 0 else Texts.measure(rotate(self.quads, angle))


def main_direction(quads: FloatArray) -> int:
    """Return 90 if most of the text in (N, 4, 2) quads runs downwards, otherwise 0, in degrees."""
    texts = Texts.measure(quads.astype(np.float64))
    signed = np.where(abs(texts.angles) > np.pi / 4, -texts.lengths, texts.lengths)
    return 90 if signed[~texts.neutral].sum() < 0 else 0


def read_direction(quads: FloatArray) -> int:
    """Return the direction in which most of the text in (N, 4, 2) quads was read: 0, 90, 180 or
    270 degrees clockwise from left-to-right; each text runs along the first side of its quad."""
    along = (quads[:, 1] - quads[:, 0]).astype(np.float64)
    lengths = np.hypot(along[:, 0], along[:, 1])
    quarters = np.round(np.arctan2(along[:, 1], along[:, 0]) / (np.pi / 2)).astype(int) % 4
    return int(np.bincount(quarters, lengths, minlength=4).argmax()) * 90


def rotate(points: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """Rotate points (..., 2) around the origin by an angle in radians, clockwise on the screen."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])
