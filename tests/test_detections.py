# SPDX-License-Identifier: Apache-2.0
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt import Detections


def upright(x: float, y: float, w: float, h: float) -> np.ndarray:
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)


@pytest.fixture
def found() -> Detections:
    quads = np.stack([upright(10, 10, 50, 10), upright(70, 12, 20, 10), upright(5, 50, 30, 20)])
    scores = np.array([0.9, 0.8, 0.7], np.float32)
    return Detections(quads, scores, tuple(quad.copy() for quad in quads))


def test_boxes_length_and_iteration(found: Detections) -> None:
    assert len(found) == 3
    assert found.boxes.dtype == np.float32
    np.testing.assert_array_equal(found.boxes[0], [10, 10, 60, 20])
    texts = list(found)
    assert [round(text.score, 2) for text in texts] == [0.9, 0.8, 0.7]
    assert texts[0].box == (10, 10, 60, 20)
    np.testing.assert_array_equal(texts[2].quad, found.quads[2])
    assert found[-1].score == texts[-1].score


def test_slicing(found: Detections) -> None:
    assert len(found[:2]) == 2
    assert len(found[found.scores > 0.75]) == 2
    assert len(found.above(0.85)) == 1
    assert len(found.above(0)) == 3
    picked = found[[2, 0]]
    np.testing.assert_array_equal(picked.scores, found.scores[[2, 0]])
    assert picked.polygons is not None
    np.testing.assert_array_equal(picked.polygons[0], found.quads[2])
    with pytest.raises(IndexError):
        found[3]


def test_repr_prints_no_numbers_of_pixels(found: Detections) -> None:
    assert repr(found) == "Detections(3 texts, scores 0.70 to 0.90, with polygons)"
    assert repr(Detections.empty()) == "Detections(0 texts)"


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"quads must have shape \(2, 4, 2\)"):
        Detections(np.zeros((1, 4, 2), np.float32), np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="one polygon per score"):
        Detections(np.zeros((1, 4, 2), np.float32), np.zeros(1, np.float32), ())


def test_json_keeps_every_bit(rng: np.random.Generator) -> None:
    for polygons in (None, (rng.random((7, 2), np.float32), rng.random((4, 2), np.float32))):
        before = Detections(rng.random((2, 4, 2), np.float32), rng.random(2, np.float32), polygons)
        after = Detections.from_json(before.to_json())
        assert after.quads.tobytes() == before.quads.tobytes()
        assert after.scores.tobytes() == before.scores.tobytes()
        assert (after.polygons is None) == (polygons is None)
        for one, other in zip(after.polygons or (), polygons or (), strict=True):
            assert one.tobytes() == other.tobytes()
    assert len(Detections.from_json(Detections.empty().to_json())) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "[" * 100_000,
        '{"quads": []}',
        '{"quads": 1, "scores": "a"}',
        '{"quads": [NaN], "scores": [1]}',
        '{"quads": [], "scores": [], "polygons": 3}',
        '{"quads": [], "scores": [], "polygons": [["a"]]}',
    ],
)
def test_invalid_json_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="quads"):
        Detections.from_json(text)


def test_reading_order() -> None:
    quads = np.stack(
        [upright(200, 52, 50, 20), upright(10, 100, 50, 20), upright(10, 50, 50, 20),
         upright(100, 47, 50, 22)]
    )  # fmt: skip
    found = Detections(quads, np.array([0.9, 0.8, 0.7, 0.6], np.float32))
    np.testing.assert_allclose(found.in_reading_order().scores, [0.7, 0.6, 0.9, 0.8])
    assert len(Detections.empty().in_reading_order()) == 0


@pytest.mark.parametrize("degrees", [-15, -5, 0, 2, 15])
def test_reading_order_of_a_slanted_page(degrees: float, rng: np.random.Generator) -> None:
    """Lines are 40 px apart and 1000 px long: at 3 degrees one ends lower than the next begins."""
    turn = cv2.getRotationMatrix2D((0, 0), degrees, 1)[:, :2]
    page = [
        upright(250 * i, 40 * line + 4 * (i % 2), 235, 26) for line in range(9) for i in range(4)
    ]
    quads = (np.stack(page) @ turn.T + 500).astype(np.float32)
    mixed = rng.permutation(len(quads))
    found = Detections(quads[mixed], np.ones(len(quads), np.float32))
    np.testing.assert_array_equal(found.in_reading_order().quads, quads)


def test_blocks_and_lines() -> None:
    left = [upright(10, 30 * i, 200, 20) for i in range(3)]
    right = [upright(240, 30 * i + 9, w, 20) for i, w in enumerate((200, 200))]
    quads = np.stack([*left, *right, upright(240, 69, 90, 20), upright(338, 69, 90, 20)])
    found = Detections(quads[::-1], np.linspace(0.5, 1, 7).astype(np.float32))
    blocks = found.blocks()
    assert [[len(line) for line in block] for block in blocks] == [[1, 1, 1], [1, 1, 2]]
    assert [len(line) for line in found.lines()] == [1, 1, 1, 1, 1, 2]
    np.testing.assert_array_equal(blocks[0][2].quads, left[2:3])
    np.testing.assert_array_equal(found.in_reading_order().quads, quads)
    mirrored = found.in_reading_order(right_to_left=True).quads
    np.testing.assert_array_equal(mirrored[0], right[0])
    assert Detections.empty().blocks() == []
    with pytest.raises(ValueError, match="turned must be 0, 90"):
        found.lines(turned=1)


def test_plot_and_save(found: Detections, tmp_path: Path) -> None:
    image = np.zeros((100, 120, 3), np.uint8)
    drawn = found.plot(image)
    assert not image.any()  # a copy
    assert drawn.any()
    assert found.plot(image[:, :, 0]).shape == (100, 120, 3)
    found.save(tmp_path / "out.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out.png")), drawn)
    assert not Detections.empty().plot(image).any()


@pytest.mark.parametrize("angle", [-30, 0, 25])
def test_crops_turn_text_upright(angle: float) -> None:
    """The left half of a bar is bright; so is the left half of its crop, at every angle."""
    bar = np.full((20, 80, 3), 60, np.uint8)
    bar[:, :40] = 250
    turn = cv2.getRotationMatrix2D((39.5, 9.5), -angle, 1)
    turn[:, 2] += [60, 90]
    image = np.asarray(cv2.warpAffine(bar, turn, (220, 200)), np.uint8)
    corners = np.array([[0, 0], [79, 0], [79, 19], [0, 19]], np.float32)
    quad = (corners @ turn[:, :2].T + turn[:, 2]).astype(np.float32)
    (crop,) = Detections(quad[None], np.ones(1, np.float32)).crops(image)
    assert crop.shape == (19, 79, 3)
    assert crop[5:-5, 5:35].mean() > 230
    assert crop[5:-5, 45:-5].mean() < 80


def test_crops_of_tall_text_are_turned() -> None:
    """Text that runs downwards and is bright at the top is bright at one end after turning."""
    image = np.zeros((120, 60, 3), np.uint8)
    image[10:50, 20:40] = 250
    found = Detections(upright(20, 10, 20, 80)[None], np.ones(1, np.float32))
    (crop,) = found.crops(image)
    assert crop.shape[:2] == (20, 80)
    assert crop[5:-5, :30].mean() > 200  # the upper end is now at the left
    assert crop[5:-5, 50:].mean() < 20


def test_image_of_another_size_is_refused() -> None:
    found = Detections(upright(20, 10, 20, 80)[None], np.ones(1, np.float32))
    for use in (found.crops, found.plot):
        use(np.zeros((90, 40, 3), np.uint8))
        with pytest.raises(ValueError, match="text up to x 40, y 90, but the image has 40x60"):
            use(np.zeros((60, 40, 3), np.uint8))


def test_crop_of_a_very_thin_text() -> None:
    found = Detections(upright(3, 3, 0, 0)[None], np.ones(1, np.float32))
    assert found.crops(np.zeros((9, 9, 3), np.uint8))[0].shape == (1, 1, 3)


def test_to_supervision_names_its_extra(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r"dbnet-trt\[supervision\]"):
        found.to_supervision()


def test_to_supervision_has_boxes_scores_and_quads(
    found: Detections, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("supervision")
    module.Detections = types.SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    handed = found.to_supervision()
    np.testing.assert_array_equal(handed.xyxy, found.boxes)
    np.testing.assert_array_equal(handed.confidence, found.scores)
    np.testing.assert_array_equal(handed.data["xyxyxyxy"], found.quads)


def test_to_dataframe_has_a_row_for_each_text(found: Detections) -> None:
    pytest.importorskip("pandas")
    table = Detections(found.quads, found.scores).to_dataframe()
    assert list(table.columns) == [*["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"], "score"]
    np.testing.assert_allclose(table.iloc[:, :8], found.quads.reshape(-1, 8), atol=0.0051)
    np.testing.assert_array_equal(table["score"], found.scores)
    digits = [each.partition(".")[2] for each in table.iloc[:, :8].to_csv().split(",")]
    assert max(map(len, digits)) <= 2 + len("\n1")
    empty = Detections.empty().to_dataframe()
    assert list(empty.columns) == list(table.columns)
    assert len(empty) == 0


def test_to_dataframe_has_polygons() -> None:
    pytest.importorskip("pandas")
    quads = np.stack([upright(0, 0, 9, 9), upright(10, 10, 9, 9)])
    polygons = (np.full((5, 2), 1.23456, np.float32), np.zeros((7, 2), np.float32))
    table = Detections(quads, np.ones(2, np.float32), polygons).to_dataframe()
    assert [polygon.shape for polygon in table["polygon"]] == [(5, 2), (7, 2)]
    np.testing.assert_array_equal(table["polygon"][0], np.float32(1.23))


def test_to_dataframe_has_texts(found: Detections) -> None:
    pytest.importorskip("pandas")
    texts, sure = ("a,b",) * len(found), np.full(len(found), 0.5, np.float32)
    table = Detections(found.quads, found.scores, texts=texts, confidences=sure).to_dataframe()
    assert tuple(table["text"]) == texts
    assert table["confidence"].tolist() == sure.tolist()


def test_to_dataframe_names_its_package(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        found.to_dataframe()
