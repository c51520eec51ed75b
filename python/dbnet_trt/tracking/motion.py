# SPDX-License-Identifier: Apache-2.0
"""Motion of outlines at constant speed, by an alpha-beta filter on their corners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

POSITION_GAIN = 0.6
"""Part of the error of an expected corner by which it is corrected (alpha)."""

SPEED_GAIN = 0.3
"""Part of that error by which its speed is corrected (beta)."""

MAX_SIZE_RATIO = 1.5
"""Ratio of lengths, and of heights, up to which two outlines may be the same text."""

NEAR = 1.0
"""Distance up to which outlines that do not overlap may be the same text, in heights."""

NEAR_IF_NEW = 3.0
"""The same for a text that was seen once, whose speed is not known."""


MIN_IN_COMMON = 4
"""Number of texts from which on a motion in common is looked for."""

TURNS = (np.arange(4)[:, None] + np.arange(4)) % 4
"""Orders of the corners, beginning at each of them."""


class Motion:
    """Expected outlines of all tracks.

    Attributes:
        expected: (T, 4, 2) float32, corners (x, y) in pixels, in the frame to come.
        speeds: (T, 4, 2) float32, in pixels per frame.
        is_new: (T,) bool, whether a track was seen only once.
    """

    def __init__(self) -> None:
        self.expected = np.zeros((0, 4, 2), np.float32)
        self.speeds = np.zeros((0, 4, 2), np.float32)
        self.is_new = np.zeros(0, bool)
        self._elapsed = 1

    def advance(self, num_frames: int) -> None:
        """Move all outlines on by a number of frames."""
        self._elapsed = num_frames
        self.expected = self.expected + num_frames * self.speeds

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop the tracks that are not marked."""
        self.expected, self.speeds = self.expected[kept], self.speeds[kept]
        self.is_new = self.is_new[kept]

    def begin(self, quads: FloatArray) -> None:
        """Add tracks; they move as most of the others do, as when the camera pans."""
        if len(quads) == 0:
            return
        known = self.speeds[~self.is_new]
        speed = np.sort(known.mean(axis=1), axis=0)[len(known) // 2] if len(known) else 0
        speeds = np.broadcast_to(np.asarray(speed, np.float32), quads.shape)
        self.expected = np.concatenate([self.expected, quads])
        self.speeds = np.concatenate([self.speeds, speeds])
        self.is_new = np.concatenate([self.is_new, np.ones(len(quads), bool)])

    def correct(self, tracks: NDArray[np.intp], quads: FloatArray) -> None:
        """Correct tracks by what was seen.

        Args:
            tracks: (K,) indices of tracks.
            quads: (K, 4, 2) float32, their outlines.
        """
        expected = self.expected[tracks]
        error = _same_corner_first(quads, expected) - expected
        # After the first step all of the error is speed; later, noise is averaged away.
        is_new = self.is_new[tracks, None, None]
        self.expected[tracks] += np.where(is_new, 1, POSITION_GAIN).astype(np.float32) * error
        gain = np.where(is_new, 1, SPEED_GAIN).astype(np.float32) / self._elapsed
        speed = np.where(is_new, error.mean(axis=1, keepdims=True), error)
        self.speeds[tracks] += gain * speed
        self.is_new[tracks] = False

    def follow_camera(self, tracks: NDArray[np.intp], quads: FloatArray) -> None:
        """Move the other expected outlines as those that were found moved in common.

        A shift, a turn and a change of scale, as a camera makes them, from what is expected to what
        was seen; texts that move by themselves are left out of the fit.

        Args:
            tracks: (K,) indices of tracks.
            quads: (K, 4, 2) float32, their outlines.
        """
        if len(tracks) < MIN_IN_COMMON:
            return
        before = _as_complex(self.expected[tracks]).mean(axis=1)
        after = _as_complex(quads).mean(axis=1)
        weights = np.ones(len(before))
        for _ in range(2):
            factor, offset = _fit_similarity(before, after, weights)
            error = np.abs(factor * before + offset - after)
            weights = (error <= 3 * np.sort(error)[len(error) // 2] + 0.5).astype(np.float64)
        corners = factor * _as_complex(self.expected) + offset
        moved = np.stack([corners.real, corners.imag], axis=2).astype(np.float32)
        moved[tracks] = self.expected[tracks]
        self.expected = moved

    def nearness(self, tracks: NDArray[np.intp], quads: FloatArray) -> FloatArray:
        """Rate how well outlines fit tracks that they do not overlap.

        Args:
            tracks: (K,) indices of tracks.
            quads: (M, 4, 2) float32.

        Returns:
            (K, M) float32 in [0, 1]; 0 where the distance or the size rules a pair out.
        """
        expected = self.expected[tracks]
        distance = np.linalg.norm(expected.mean(axis=1)[:, None] - quads.mean(axis=1), axis=2)
        sizes, others = _sizes(expected)[:, None], _sizes(quads)[None]
        ratio = np.maximum(sizes / others, others / sizes).max(axis=2)
        height = np.minimum(sizes, others).min(axis=2)
        reach = np.where(self.is_new[tracks, None], NEAR_IF_NEW, NEAR) * height
        fits = (ratio <= MAX_SIZE_RATIO) & (distance <= reach)
        rated = (1 - distance / (reach + 1)) / ratio
        return np.where(fits, rated, 0).astype(np.float32)


def _as_complex(points: FloatArray) -> NDArray[np.complex128]:
    return points[..., 0] + 1j * points[..., 1]


def _fit_similarity(
    before: NDArray[np.complex128], after: NDArray[np.complex128], weights: NDArray[np.float64]
) -> tuple[complex, complex]:
    """Fit after = factor * before + offset by least squares."""
    total = weights.sum()
    middle, target = (weights @ before) / total, (weights @ after) / total
    spread = before - middle
    factor = (weights * spread.conj()) @ (after - target) / max(weights @ np.abs(spread) ** 2, 1.0)
    return factor, target - factor * middle


def _sizes(quads: FloatArray) -> FloatArray:
    """Measure (N, 2) lengths of the longer and the shorter sides, at least 1 pixel."""
    sides = np.linalg.norm(np.roll(quads, -1, axis=1) - quads, axis=2)
    pairs = (sides[:, :2] + sides[:, 2:]) / 2
    return np.maximum(np.sort(pairs, axis=1)[:, ::-1], 1)


def _same_corner_first(quads: FloatArray, like: FloatArray) -> FloatArray:
    """Roll the corners of outlines to where they are nearest to those of others: (K, 4, 2).

    Where text turns past 45 degrees, another corner becomes its first.
    """
    if len(quads) == 0:
        return quads
    rolled = quads[:, TURNS]
    error = rolled.reshape(-1, 4, 8) - like.reshape(-1, 1, 8)
    return rolled[np.arange(len(quads)), np.einsum("kij,kij->ki", error, error).argmin(axis=1)]
