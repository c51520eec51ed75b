# SPDX-License-Identifier: Apache-2.0
"""Reading of each text of a video once, at its sharpest frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..images.load import Image, ImageSource, load_image
from ..reading import Reader, read_text

MIN_GAIN = 1.05
"""Ratio of sharpness from which on a later frame takes the place of an earlier one."""

EDGE = 0.5
"""Edge that is kept around a text, in heights, for the margin of its crop."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A text of a video."""

    track_id: int
    """Number that the `Tracker` gave it."""

    first_frame: int
    """Number of the first frame that it is in."""

    last_frame: int
    """Number of the last one."""

    sharpest_frame: int
    """Number of the frame in which it was read."""

    quad: NDArray[np.float32]
    """(4, 2) float32: corners (x, y) in that frame, in pixels."""

    text: str
    """What was read."""

    confidence: float
    """Confidence of the recogniser, in [0, 1]."""

    first_time: float | None = None
    """Time of the first frame in seconds; None if it is not known."""

    last_time: float | None = None
    """Time of the last one."""


@dataclass(slots=True)
class _Seen:
    first_frame: int
    first_time: float | None = None
    last_frame: int = 0
    last_time: float | None = None
    sharpness: float = 0.0
    sharpest_frame: int = 0
    found: Detections | None = None
    """The text alone, in the frame."""

    corner: tuple[int, int] = (0, 0)
    """Place (x, y) of the part in the frame."""

    part: Image | None = None


class TrackReader:
    """Keeps the sharpest picture of each text, and reads it when it is gone.

    >>> tracks = TrackReader(reader)
    >>> for number, (frame, found) in enumerate(detector.stream(frames)):
    ...     tracks.add(tracker.update(found), frame, number)
    >>> for track in tracks.read():
    ...     print(track.first_frame, track.last_frame, track.text)
    """

    def __init__(self, reader: Reader) -> None:
        """Begin without texts.

        Args:
            reader: What reads the crops, as for `read_text`.
        """
        self._reader = reader
        self._seen: dict[int, _Seen] = {}

    def add(
        self, found: Detections, image: ImageSource, frame: int, time: float | None = None
    ) -> None:
        """Look at the texts of a frame.

        Args:
            found: Detections from `Tracker.update`.
            image: Image in which they were detected, as `Detector.detect` takes it.
            frame: Number of the frame.
            time: Its time in seconds, if it is known.

        Raises:
            ValueError: The detections have no numbers.
            ImageError: The image is missing, broken, or of another shape or type.
        """
        import cv2

        if found.track_ids is None:
            raise ValueError("the detections have no track_ids; pass what Tracker.update returns")
        pixels = load_image(image)
        edges = np.abs(cv2.Laplacian(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), cv2.CV_16S))
        for i, number in enumerate(found.track_ids.tolist()):
            seen = self._seen.setdefault(number, _Seen(frame, time))
            seen.last_frame, seen.last_time = frame, time
            left, top, right, bottom = _corners(found.boxes[i], pixels.shape[:2])
            # A sum, not a mean: of two texts as sharp, the larger and the whole one read better.
            sharpness = float(edges[top:bottom, left:right].sum(dtype=np.int64))
            if seen.part is None or sharpness > MIN_GAIN * seen.sharpness:
                seen.sharpness, seen.sharpest_frame, seen.found = sharpness, frame, found[[i]]
                edge = round(EDGE * (bottom - top))
                x, y = max(0, left - edge), max(0, top - edge)
                seen.corner = x, y
                seen.part = pixels[y : bottom + edge, x : right + edge].copy()

    def read(self, going_on: Iterable[int] = ()) -> list[Track]:
        """Read the texts that are gone, and forget them.

        Args:
            going_on: Numbers of the tracks that may go on, as `Tracker.track_ids` has them.

        Returns:
            Their tracks, in the order of their first frames.

        Raises:
            EngineError: The recogniser fails.
        """
        gone = sorted(set(self._seen) - {int(number) for number in going_on})
        return [self._read(number, self._seen.pop(number)) for number in gone]

    def _read(self, number: int, seen: _Seen) -> Track:
        assert seen.found is not None
        assert seen.part is not None
        shift = np.array(seen.corner, np.float32)
        polygons = seen.found.polygons
        local = dataclasses.replace(
            seen.found,
            quads=seen.found.quads - shift,
            polygons=None if polygons is None else tuple(each - shift for each in polygons),
        )
        text = read_text(local, seen.part, self._reader)[0]
        assert text.text is not None
        assert text.confidence is not None
        frames = seen.first_frame, seen.last_frame, seen.sharpest_frame
        quad, times = text.quad + shift, (seen.first_time, seen.last_time)
        return Track(number, *frames, quad, text.text, text.confidence, *times)


def _corners(box: NDArray[np.float32], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box in whole pixels inside the image, at least one pixel large."""
    left, top = np.clip(np.floor(box[:2]).astype(int), 0, [size[1] - 1, size[0] - 1]).tolist()
    right, bottom = np.ceil(box[2:]).astype(int).tolist()
    return left, top, max(right, left + 1), max(bottom, top + 1)
