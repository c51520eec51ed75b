# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt import Detections, SizePolicy
from dbnet_trt.building.verify import Comparison, compare, count_same, draw_samples
from dbnet_trt.opening import load_onnx
from fakes.tiny_model import make_model, scene


def boxes(*corners: tuple[float, float, float, float]) -> Detections:
    quads = [[(a, b), (c, b), (c, d), (a, d)] for a, b, c, d in corners]
    return Detections(
        np.array(quads, np.float32).reshape(-1, 4, 2), np.ones(len(corners), np.float32)
    )


@pytest.mark.parametrize(
    ("found", "same"),
    [
        (boxes(), 0),
        (boxes((0, 0, 10, 10)), 1),
        (boxes((0, 0, 10, 8.1)), 1),
        (boxes((0, 0, 10, 7.9)), 0),
        (boxes((0, 0, 10, 10), (0, 0, 10, 10)), 1),
        (boxes((20, 20, 30, 40), (0, 0, 10, 10), (50, 50, 60, 60)), 2),
    ],
)
def test_count_same(found: Detections, same: int) -> None:
    expected = boxes((0, 0, 10, 10), (20, 20, 30, 40))
    assert count_same(expected, found) == same
    assert count_same(found, expected) == same


def test_agreement() -> None:
    assert Comparison(0, 0, 0, 0.0).agreement == 0
    assert Comparison(4, 4, 4, 0.0).agreement == 1
    assert Comparison(4, 0, 0, 0.0).agreement == 0
    assert Comparison(4, 2, 2, 0.0).agreement == pytest.approx(2 / 3)


def test_too_few_boxes_are_judged_by_the_maps() -> None:
    nothing, wrong = Comparison(0, 0, 0, 0.004), Comparison(0, 0, 0, 0.4)
    assert nothing.passes(0.95, 0.05)
    assert not wrong.passes(0.95, 0.05)
    assert "too few to judge by; probabilities differ by 0.004" in str(nothing)
    assert Comparison(9, 9, 9, 0.4).passes(0.95, 0.05)
    assert not Comparison(9, 9, 5, 0.0).passes(0.95, 0.05)
    assert "probabilities" not in str(Comparison(9, 9, 9, 0.4))


def test_maps_are_compared_where_there_is_no_text(tmp_path: Path) -> None:
    right = load_onnx(make_model(tmp_path / "a.onnx"))
    wrong = load_onnx(make_model(tmp_path / "b.onnx", weight=-20))
    blank, size = [np.full((64, 64, 3), 100, np.uint8)], SizePolicy(64)
    assert compare(right, right, blank, size) == Comparison(0, 0, 0, 0.0)
    assert compare(wrong, right, blank, size).map_difference > 0.5


def test_compare_tells_engines_apart(tmp_path: Path) -> None:
    right = load_onnx(make_model(tmp_path / "a.onnx"))
    wrong = load_onnx(make_model(tmp_path / "b.onnx", weight=-20))
    images, size = [scene(), scene(num_texts=3)], SizePolicy(128)
    assert compare(right, right, images, size) == Comparison(5, 5, 5, 0.0)
    assert compare(wrong, right, images, size).num_same == 0


def test_samples_are_equal_every_time_and_have_text() -> None:
    first, second = draw_samples(), draw_samples()
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == np.uint8
        assert a.std() > 20
    assert not np.array_equal(first[0], first[1])
