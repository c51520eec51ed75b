# SPDX-License-Identifier: Apache-2.0
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detections, Detector, EngineError
from dbnet_trt.reading import onnxtr_reader, open_reader, rapidocr_reader, read_text, to_text

DEMO = Path(__file__).parents[1] / "data" / "demo.jpg"


def brighter_side(crops: Sequence[np.ndarray]) -> list[tuple[str, float]]:
    """Read the length of a bar whose first half is bright; unsure of one upside down."""
    read = []
    for crop in crops:
        half = crop.shape[1] // 2
        upright = crop[:, :half].mean() > crop[:, half:].mean()
        read.append((str(round(crop.shape[1], -1)), 0.9 if upright else 0.3))
    return read


def page(turns: int) -> tuple[np.ndarray, np.ndarray]:
    """Three bars under each other, turned clockwise by quarters; quads as a detector gives them."""
    image = np.zeros((200, 300, 3), np.uint8)
    quads = []
    for row, width in enumerate((200, 160, 120)):
        x, y = 20, 20 + 40 * row
        image[y : y + 20, x : x + width // 2] = 250
        image[y : y + 20, x + width // 2 : x + width] = 90
        quads.append([[x, y], [x + width, y], [x + width, y + 20], [x, y + 20]])
    corners = np.array(quads, np.float32)
    for _ in range(turns):
        corners = np.stack([image.shape[0] - corners[:, :, 1], corners[:, :, 0]], axis=2)
        image = np.ascontiguousarray(np.rot90(image, -1))
    starts = [int((quad.sum(axis=1)).argmin()) for quad in corners]
    quads = [np.roll(quad, -start, axis=0) for quad, start in zip(corners, starts, strict=True)]
    return image, np.stack(quads)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_page_that_lies_on_its_side_is_read_in_order(turns: int) -> None:
    image, quads = page(turns)
    found = Detections(quads[::-1], np.ones(3, np.float32))
    read = read_text(found, image, brighter_side)
    assert read.texts == ("120", "160", "200")
    assert to_text(read).split() == ["200", "160", "120"]
    assert read.confidences is not None
    assert read.confidences.min() > 0.8
    first = read.quads[2]  # begins at the bright end
    middle = (0.8 * (first[0] + first[3]) + 0.2 * (first[1] + first[2])) / 2
    assert image[int(middle[1]), int(middle[0]), 0] > 200
    np.testing.assert_array_equal(np.sort(read.quads, axis=1), np.sort(found.quads, axis=1))


def test_each_is_read_once_if_asked() -> None:
    image, quads = page(2)
    read = read_text(Detections(quads, np.ones(3, np.float32)), image, brighter_side, unsure=0)
    assert read.confidences is not None
    np.testing.assert_allclose(read.confidences, 0.3)


def test_results_keep_their_texts() -> None:
    image, quads = page(0)
    read = read_text(Detections(quads, np.ones(3, np.float32)), image, brighter_side)
    assert read[1].text == "160"
    assert read[1].confidence == pytest.approx(0.9)
    assert read[[2, 0]].texts == ("120", "200")
    again = Detections.from_json(read.to_json())
    assert again.texts == read.texts
    np.testing.assert_array_equal(again.confidences, read.confidences)
    assert repr(read).endswith("read)")
    assert Detections(quads, np.ones(3, np.float32))[0].text is None
    with pytest.raises(ValueError, match="texts must be one per score, 3, got 1"):
        Detections(quads, np.ones(3, np.float32), None, None, ("a",), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="given together"):
        Detections(quads, np.ones(3, np.float32), None, None, ("a",) * 3)


def test_no_text_needs_no_reader() -> None:
    def fail(crops: Sequence[np.ndarray]) -> list[tuple[str, float]]:
        raise AssertionError

    read = read_text(Detections.empty(), np.zeros((9, 9, 3), np.uint8), fail)
    assert read.texts == ()
    assert to_text(read) == ""


def test_a_reader_that_drops_crops_is_refused() -> None:
    image, quads = page(0)
    with pytest.raises(ValueError, match="3 readings, one per crop, got 1"):
        read_text(Detections(quads, np.ones(3, np.float32)), image, lambda crops: [("a", 1.0)])


@pytest.mark.slow
def test_the_shipped_recogniser_reads_the_demo() -> None:
    pytest.importorskip("rapidocr")
    reader = rapidocr_reader(CpuConfig(num_threads=1))
    image = cv2.imread(str(DEMO))
    found = Detector().detect(image, polygons=True)
    lines = to_text(read_text(found, image, reader)).split("\n")
    drawn = {"Corner Bakery", "OPEN", "HARBOUR ST.", "DETOUR 300 M", "TODAY", "Soup 4.50", "SLOW",
             "Pasta 8.90", "Cake 3.20", "Café", "SINCE 1987", "ESPRESSO", "to go"}  # fmt: skip
    assert drawn <= set(lines)
    upside_down = np.ascontiguousarray(image[::-1, ::-1])
    found = Detector().detect(upside_down, polygons=True)
    lines = to_text(read_text(found, upside_down, reader)).split("\n")
    assert len(drawn & set(lines)) >= 11
    assert lines.index("Soup 4.50") < lines.index("Pasta 8.90") < lines.index("Cake 3.20")


def test_the_recogniser_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"not installed; pip install 'dbnet-trt\[pretrained\]'"):
        rapidocr_reader()


def test_onnxtr_gets_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def recognition_predictor(arch: str) -> object:
        def predict(crops: list[np.ndarray]) -> list[tuple[str, float]]:
            return [(str(crop[0, 0].tolist()), 0.5) for crop in crops]

        seen["arch"] = arch
        return predict

    module = types.ModuleType("onnxtr.models")
    module.recognition_predictor = recognition_predictor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxtr", types.ModuleType("onnxtr"))
    monkeypatch.setitem(sys.modules, "onnxtr.models", module)
    reader = open_reader("onnxtr:parseq")
    crop = np.tile(np.array([1, 2, 3], np.uint8), (4, 9, 1))
    assert reader([crop]) == [("[3, 2, 1]", 0.5)]
    assert reader([]) == []
    assert seen["arch"] == "parseq"
    monkeypatch.setitem(sys.modules, "onnxtr.models", None)
    with pytest.raises(ImportError, match="pip install 'onnxtr"):
        onnxtr_reader()
