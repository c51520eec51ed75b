# SPDX-License-Identifier: Apache-2.0
"""Identities of texts over the frames of a video."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from .motion import Motion
from .overlap import assign, find_solver, quad_overlap

NUM_TO_KNOW = 3
"""Number of frames in which a text is seen until its track comes before newer ones."""

MAX_KNOWN = 30
"""Number of frames up to which a longer track comes before a shorter one; each frame in which it is
missing takes one away."""

MIN_NEARNESS = 1e-6


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """How texts are followed from frame to frame."""

    min_overlap: float = 0.2
    """Minimum intersection over union of an outline and where its track was expected."""

    max_missing: int = 30
    """Number of frames in a row in which a text may be missing and keep its identity."""

    def __post_init__(self) -> None:
        overlap, missing = self.min_overlap, self.max_missing
        if not isinstance(overlap, (int, float, np.number)) or not 0 < overlap <= 1:
            raise ValueError(f"min_overlap must be a number between 0 and 1, got {overlap!r}")
        if not isinstance(missing, (int, np.integer)) or missing < 0:
            raise ValueError(f"max_missing must be a whole number of frames, got {missing!r}")


class Tracker:
    """Gives the same text the same number in each frame of one video.

    Outlines are matched with where their tracks are expected at constant speed, by overlap; what is
    left, by distance and size. Every detection gets a number, from the first frame it is in.

    >>> tracker = Tracker()
    >>> for frame, found in detector.stream(frames):
    ...     found = tracker.update(found)
    ...     print(found.track_ids)
    """

    def __init__(self, config: TrackConfig | None = None) -> None:
        """Begin before the first frame.

        Raises:
            DBNetError: SciPy is missing.
        """
        find_solver()
        self._config = config or TrackConfig()
        self._frame = -1
        self._next_id = 1
        self._ids = np.zeros(0, np.int64)
        self._last_seen = np.zeros(0, np.int64)
        self._times_seen = np.zeros(0, np.int64)
        self._motion = Motion()

    @property
    def track_ids(self) -> NDArray[np.int64]:
        """Numbers of the tracks that may go on: seen, or missing for `max_missing` frames."""
        return self._ids.copy()

    def update(self, found: Detections, frame: int | None = None) -> Detections:
        """Number the texts of the next frame.

        Args:
            found: Detections of the frame.
            frame: Number of the frame, greater than the last one's; frames in between count as
                missing. None is the next one.

        Returns:
            The same detections with `track_ids`, from 1; no number is used twice.

        Raises:
            ValueError: The frame is not later than the last one, or a coordinate is not finite.
        """
        if not np.isfinite(found.quads).all():
            raise ValueError("quads must be finite, but some hold NaN or infinity; leave them out")
        frame = self._frame + 1 if frame is None else frame
        if frame <= self._frame:
            raise ValueError(
                f"frames must come in order, got frame {frame} after {self._frame}; use one "
                "Tracker for each video"
            )
        self._motion.advance(frame - self._frame)
        self._frame = frame
        self._forget()
        pairs = self._match(found.quads)
        ids = np.zeros(len(found), np.int64)
        ids[pairs[:, 1]] = self._ids[pairs[:, 0]]
        self._motion.correct(pairs[:, 0], found.quads[pairs[:, 1]])
        self._last_seen[pairs[:, 0]] = frame
        self._times_seen[pairs[:, 0]] += 1
        new = np.flatnonzero(ids == 0)
        ids[new] = self._next_id + np.arange(len(new))
        self._next_id += len(new)
        self._begin(ids[new], found.quads[new])
        return dataclasses.replace(found, track_ids=ids)

    def _forget(self) -> None:
        """End the tracks that were missing for too long."""
        kept = self._frame - self._last_seen <= self._config.max_missing + 1
        if kept.all():
            return
        self._ids, self._last_seen = self._ids[kept], self._last_seen[kept]
        self._times_seen = self._times_seen[kept]
        self._motion.keep(kept)

    def _begin(self, ids: NDArray[np.int64], quads: NDArray[np.float32]) -> None:
        self._ids = np.concatenate([self._ids, ids])
        self._last_seen = np.concatenate([self._last_seen, np.full(len(ids), self._frame)])
        self._times_seen = np.concatenate([self._times_seen, np.ones(len(ids), np.int64)])
        self._motion.begin(quads)

    def _match(self, quads: NDArray[np.float32]) -> NDArray[np.intp]:
        """Pair tracks with outlines: (K, 2) indices.

        Known tracks by overlap with what is expected, then with that moved as the camera moved
        those that were found; then all by overlap; then by distance and size.
        """
        pairs = np.zeros((0, 2), np.intp)
        free, outlines = np.arange(len(self._ids)), np.arange(len(quads))
        for step in range(4):
            if step == 1 and len(free) > 0:
                self._motion.follow_camera(pairs[:, 0], quads[pairs[:, 1]])
            tracks = free[self._known(free) >= NUM_TO_KNOW] if step < 2 else free
            if len(tracks) == 0 or len(outlines) == 0:
                continue
            if step < 3:
                worth = quad_overlap(self._motion.expected[tracks], quads[outlines])
                more = assign(worth, self._config.min_overlap, before=self._known(tracks)[:, None])
            else:
                more = assign(self._motion.nearness(tracks, quads[outlines]), MIN_NEARNESS)
            if len(more) == 0:
                continue
            added = np.stack([tracks[more[:, 0]], outlines[more[:, 1]]], axis=1)
            pairs = np.concatenate([pairs, added])
            free, outlines = np.setdiff1d(free, added[:, 0]), np.setdiff1d(outlines, added[:, 1])
        return pairs

    def _known(self, tracks: NDArray[np.intp]) -> NDArray[np.int64]:
        """Rate how well tracks are known: false outlines take no place from texts."""
        missing = self._frame - 1 - self._last_seen[tracks]
        return np.maximum(np.minimum(self._times_seen[tracks], MAX_KNOWN) - missing, 0)
