# SPDX-License-Identifier: Apache-2.0
"""Each text is read once, at its sharpest frame."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from dbnet_trt import Detections
from dbnet_trt.tracking import Tracker, TrackReader

QUAD = np.array([[40, 50], [160, 50], [160, 80], [40, 80]], np.float32)


def frame(blur: float = 0.0) -> np.ndarray:
    image = np.full((140, 240, 3), 200, np.uint8)
    cv2.putText(image, "LATIN", (44, 77), cv2.FONT_HERSHEY_SIMPLEX, 1, (0, 0, 0), 3)
    return image if blur == 0 else cv2.GaussianBlur(image, (0, 0), blur)


def at(*quads: np.ndarray) -> Detections:
    polygons = tuple(quad.copy() for quad in quads)
    return Detections(np.stack(quads), np.ones(len(quads), np.float32), polygons)


class Recorder:
    """A reader that keeps what it is given."""

    def __init__(self, confidence: float = 0.95) -> None:
        self.crops: list[np.ndarray] = []
        self.confidence = confidence

    def __call__(self, crops: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        self.crops += crops
        return [("LATIN", self.confidence)] * len(crops)


def test_the_sharpest_frame_is_read() -> None:
    reader, tracker = Recorder(), Tracker()
    tracks = TrackReader(reader)
    blurs = (4, 2, 1, 0, 1, 3)
    for number, blur in enumerate(blurs):
        tracks.add(tracker.update(at(QUAD)), frame(blur), number)
    assert tracks.read(going_on=tracker.track_ids) == []
    (track,) = tracks.read()
    assert (track.track_id, track.first_frame, track.last_frame) == (1, 0, 5)
    assert track.sharpest_frame == 3
    assert (track.text, round(track.confidence, 2)) == ("LATIN", 0.95)
    np.testing.assert_allclose(track.quad, QUAD)
    (crop,) = reader.crops
    np.testing.assert_allclose(crop, at(QUAD).crops(frame(), margin=0.1)[0], atol=1)
    assert tracks.read() == []


def test_a_whole_text_comes_before_a_part_of_it() -> None:
    reader, tracker = Recorder(), Tracker()
    tracks = TrackReader(reader)
    for number, right in enumerate((80, 105, 135, 110)):
        quad = np.array([[40, 50], [right, 50], [right, 80], [40, 80]], np.float32)
        tracks.add(tracker.update(at(quad)), frame(), number)
    assert tracks.read()[0].sharpest_frame == 2


def test_text_at_the_border_and_unsure_readings() -> None:
    reader, tracker = Recorder(confidence=0.4), Tracker()
    tracks = TrackReader(reader)
    corner = QUAD - np.array([40, 50], np.float32)
    other = corner + np.array([120, 110], np.float32)
    tracks.add(tracker.update(at(corner, other)), frame(), 7)
    first, second = tracks.read()
    assert len(reader.crops) == 4  # each once more, upside down
    np.testing.assert_allclose(first.quad, corner)
    np.testing.assert_allclose(second.quad, other)


def test_detections_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="pass what Tracker.update returns"):
        TrackReader(Recorder()).add(at(QUAD), frame(), 0)
