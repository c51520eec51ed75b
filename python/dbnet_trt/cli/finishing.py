# SPDX-License-Identifier: Apache-2.0
"""From outlines to the results of `dbnet detect`: texts read, and followed through each video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..detections import Detections
from ..images.load import Image
from ..reading import Reader, read_text
from .outputs import Label

if TYPE_CHECKING:
    from ..tracking import Track


@dataclass(frozen=True, slots=True)
class Finished:
    """A result as it is written."""

    found: Detections
    same_as: int | None = None
    """Number of the frame that shows the same picture and was searched; None if this one was."""


class Finisher:
    """Reads texts, or follows them through one video after the other and reads each once."""

    def __init__(self, reader: Reader | None, *, track: bool) -> None:
        """Begin before the first image.

        Args:
            reader: What reads texts; None reads none.
            track: Whether to follow texts.

        Raises:
            DBNetError: SciPy is missing.
        """
        self._reader, self._track = reader, track
        self._searched: tuple[Detections, Detections, int | None] | None = None
        self.begin()

    def begin(self) -> None:
        """Forget the tracks of the video before, if there was one."""
        self._searched = None
        if self._track:
            from ..tracking import Tracker, TrackReader

            self._tracker = Tracker()
            self._tracks = None if self._reader is None else TrackReader(self._reader)

    def finish(self, label: Label, image: Image, found: Detections) -> Finished:
        """Number and read the texts of the next image.

        Args:
            label: Its names.
            image: (H, W, 3) uint8 BGR.
            found: Its detections; the same object again if it shows the same picture.
        """
        same_as = None
        if self._searched is not None and self._searched[0] is found:
            same_as = self._searched[2]
        if self._track:
            done = self._tracker.update(found, label.frame)
            if self._tracks is not None:
                self._tracks.add(done, image, label.frame or 0, label.time)
        elif self._reader is None:
            done = found
        elif self._searched is not None and same_as is not None:
            done = self._searched[1]
        else:
            done = read_text(found, image, self._reader)
        if same_as is None:
            self._searched = (found, done, label.frame)
        return Finished(done, same_as)

    def take_tracks(self, *, is_over: bool) -> list[Track]:
        """Read the texts that are gone, or all if the video is over."""
        if not self._track or self._tracks is None:
            return []
        return self._tracks.read(() if is_over else self._tracker.track_ids.tolist())
