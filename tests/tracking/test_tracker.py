# SPDX-License-Identifier: Apache-2.0
"""Texts keep their numbers over frames, also when they move, cross, turn or are missing."""

import sys
import types
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detections
from dbnet_trt.errors import DBNetError
from dbnet_trt.tracking import TrackConfig, Tracker
from dbnet_trt.tracking.overlap import assign, quad_overlap
from hypothesis import given, settings
from hypothesis import strategies as st


def text(
    x: float, y: float, width: float = 80, height: float = 20, degrees: float = 0
) -> np.ndarray:
    """Outline around (x, y)."""
    half = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, height / 2]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (half @ np.array([[c, s], [-s, c]]) + [x, y]).astype(np.float32)


def found(*quads: np.ndarray) -> Detections:
    stacked = np.stack(quads) if quads else np.zeros((0, 4, 2), np.float32)
    return Detections(stacked, np.ones(len(quads), np.float32))


def ids(tracker: Tracker, *quads: np.ndarray, frame: int | None = None) -> list[int]:
    numbers = tracker.update(found(*quads), frame).track_ids
    assert numbers is not None
    return numbers.tolist()


def test_numbers_are_kept_and_never_used_twice() -> None:
    tracker = Tracker(TrackConfig(max_missing=1))
    assert ids(tracker, text(100, 50), text(100, 100)) == [1, 2]
    assert ids(tracker, text(103, 101), text(102, 51), text(300, 50)) == [2, 1, 3]
    assert ids(tracker) == []
    assert tracker.track_ids.tolist() == [1, 2, 3]
    assert ids(tracker, text(104, 52)) == [1]
    assert ids(tracker, text(104, 52)) == [1]
    assert tracker.track_ids.tolist() == [1]
    assert ids(tracker, text(104, 100), text(104, 52)) == [4, 1]


def test_constant_speed_carries_a_text_through_a_gap() -> None:
    tracker = Tracker()
    for i in range(6):
        assert ids(tracker, text(50 + 12 * i, 50)) == [1]
    for _ in range(10):
        assert ids(tracker) == []
    assert ids(tracker, text(50 + 12 * 16, 50), text(110, 50)) == [1, 2]  # not the one left behind


def test_frames_that_were_skipped_are_counted() -> None:
    tracker = Tracker()
    for i in range(4):
        ids(tracker, text(50 + 10 * i, 50), frame=i)
    assert ids(tracker, text(50 + 10 * 14, 50), frame=14) == [1]
    with pytest.raises(ValueError, match="got frame 14 after 14; use one Tracker for each video"):
        tracker.update(found(), 14)


def test_texts_that_cross_keep_their_numbers() -> None:
    tracker = Tracker()
    for i in range(30):
        first, second = text(100, 20 + 6 * i), text(100 + i, 200 - 6 * i)
        touching = abs(first[0, 1] - second[0, 1]) < 24
        assert ids(tracker, *([] if touching else [first, second])) in ([], [1, 2])


def test_text_that_turns_is_the_same_though_another_corner_becomes_its_first() -> None:
    tracker = Tracker()
    for i in range(60):
        quad = text(200, 200, degrees=3 * i)
        first = np.argmin(quad.sum(axis=1))  # top left on the screen
        assert ids(tracker, np.roll(quad, -first, axis=0)) == [1]


def test_a_jerk_of_the_camera_moves_all_texts() -> None:
    tracker = Tracker()
    still = [text(100 + 150 * (i % 3), 60 + 45 * (i // 3)) for i in range(9)]
    for _ in range(4):
        assert ids(tracker, *still) == list(range(1, 10))
    shift = np.array([3, 11], np.float32)
    assert ids(tracker, *(quad + shift for quad in still[:8])) == list(range(1, 9))
    assert ids(tracker, still[8] + shift) == [9]  # it was missing meanwhile, and moved along


def test_a_new_outline_does_not_take_the_place_of_a_known_one() -> None:
    tracker = Tracker()
    for _ in range(5):
        assert ids(tracker, text(100, 50)) == [1]
    assert ids(tracker, text(100, 62)) == [1]
    assert ids(tracker, text(100, 58), text(100, 70)) == [1, 2]
    assert ids(tracker, text(100, 60)) == [1]


def test_everything_else_is_passed_on() -> None:
    prob_map = np.zeros((8, 8), np.float32)
    given_one = Detections(
        text(50, 50)[None], np.array([0.9], np.float32), (text(50, 50),), prob_map
    )
    tracked = Tracker().update(given_one)
    assert tracked.polygons is given_one.polygons
    assert tracked.prob_map is prob_map
    assert given_one.track_ids is None
    assert tracked[0].track_id == 1


def test_options_are_checked() -> None:
    several: list[dict[str, Any]] = [
        *({"min_overlap": 0.0}, {"min_overlap": "x"}),
        *({"max_missing": -1}, {"max_missing": "x"}, {"max_missing": 0.5}),
    ]
    for wrong in several:
        with pytest.raises(ValueError, match="must be a .*number"):
            TrackConfig(**wrong)


def test_coordinates_must_be_finite() -> None:
    quads = np.full((1, 4, 2), np.nan, np.float32)
    with pytest.raises(ValueError, match="quads must be finite"):
        Tracker().update(Detections(quads, np.ones(1, np.float32)))


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(DBNetError, match=r"pip install 'dbnet-trt\[video\]', or scipy"):
        Tracker()


# ---- overlap -------------------------------------------------------------------------------------

quads = st.builds(
    text,
    st.floats(20, 120), st.floats(20, 120), st.floats(4, 80), st.floats(4, 40), st.floats(0, 360),
)  # fmt: skip


@settings(deadline=None)
@given(quads, quads)
def test_overlap_is_that_of_shapely(first: np.ndarray, second: np.ndarray) -> None:
    shapely = pytest.importorskip("shapely")
    one, other = shapely.Polygon(first), shapely.Polygon(second)
    expected = one.intersection(other).area / one.union(other).area
    overlap = quad_overlap(first[None], np.stack([second, first]))
    np.testing.assert_allclose(overlap[0], [expected, 1], atol=2e-3)


def test_assignment_is_the_best_of_all() -> None:
    worth = np.array([[0.6, 0.5], [0.5, 0.1]], np.float32)
    assert assign(worth, 0.2).tolist() == [[0, 1], [1, 0]]
    assert assign(worth, 0.55).tolist() == [[0, 0]]
    assert assign(np.zeros((0, 3), np.float32), 0.2).tolist() == []
    row_first = np.array([[0], [3]])
    assert assign(np.array([[0.9], [0.3]], np.float32), 0.2, row_first).tolist() == [[1, 0]]


# ---- what becomes of the numbers -----------------------------------------------------------------


def test_numbers_in_json_tables_and_pictures(tmp_path: Path) -> None:
    tracked = Tracker().update(found(text(60, 60), text(60, 120)))
    again = Detections.from_json(tracked.to_json())
    assert again.track_ids is not None
    assert again.track_ids.tolist() == [1, 2]
    assert tracked[1:].track_ids is not None
    assert tracked[np.array([1])][0].track_id == 2
    assert "followed" in repr(tracked)
    image = np.zeros((160, 160, 3), np.uint8)
    drawn, plain = tracked.plot(image), found(text(60, 60), text(60, 120)).plot(image)
    colors = {tuple(color) for color in drawn[[60, 120], [20, 20]].tolist()}
    assert len(colors) == 2  # one for each
    assert drawn[75:90].any() > plain[75:90].any()  # its number below it
    pandas = pytest.importorskip("pandas")
    table = tracked.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    assert table["track"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="track_ids must be one per score, 2, got 1"):
        Detections(tracked.quads, tracked.scores, track_ids=np.array([1]))


def test_numbers_for_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("supervision")
    module.Detections = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    converted: Any = Tracker().update(found(text(60, 60))).to_supervision()
    assert converted["tracker_id"].tolist() == [1]
    plain: Any = found(text(60, 60)).to_supervision()
    assert plain["tracker_id"] is None


def test_drawn_clip_is_followed(tmp_path: Path) -> None:
    """A network's own outlines of two texts that pass each other."""
    from dbnet_trt import Detector
    from fakes.tiny_model import make_model

    detector, tracker = Detector(make_model(tmp_path / "tiny.onnx")), Tracker()
    seen = []
    for i in range(12):
        frame = np.zeros((128, 256, 3), np.uint8)
        for y, x in ((30, 10 + 8 * i), (90, 180 - 8 * i)):
            cv2.rectangle(frame, (x, y), (x + 60, y + 14), (255, 255, 255), -1)
        numbered = tracker.update(detector.detect(frame))
        order = np.argsort(numbered.quads[:, 0, 1])
        assert numbered.track_ids is not None
        seen.append(numbered.track_ids[order].tolist())
    assert seen[0] != [0, 0]
    assert all(each == seen[0] for each in seen)
