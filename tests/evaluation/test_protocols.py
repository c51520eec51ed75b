# SPDX-License-Identifier: Apache-2.0
import sys
from fractions import Fraction

import numpy as np
import pytest
from dbnet_trt.errors import DBNetError
from dbnet_trt.evaluation.protocols import PROTOCOLS, score_ctw1500, score_icdar2015
from dbnet_trt.evaluation.scores import ImageScore, Score
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("shapely")

Box = tuple[int, int, int, int]


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)


def sums(result: ImageScore) -> tuple[float, int, float, int]:
    score = result.score
    return score.recall_hits, score.num_truths, score.precision_hits, score.num_detections


TEXT = box(0, 0, 10, 10)


def test_scores_add_up() -> None:
    total = Score(1, 2, 1, 4) + Score(2, 2, 2, 2)
    assert total == Score(3, 4, 3, 6)
    assert (total.recall, total.precision) == (0.75, 0.5)
    assert total.f == pytest.approx(0.6)
    assert str(total) == "precision 0.50000  recall 0.75000  F 0.60000"


@pytest.mark.parametrize("score", [Score(), Score(0, 3, 0, 0), Score(0, 0, 0, 3)])
def test_no_detections_or_no_texts_score_zero(score: Score) -> None:
    assert (score.precision, score.recall, score.f) == (0, 0, 0)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_images_without_text_or_detections(name: str) -> None:
    protocol = PROTOCOLS[name]
    assert sums(protocol([], [], [])) == (0, 0, 0, 0)
    assert sums(protocol([], [], [TEXT])) == (0, 0, 0, 1)
    assert sums(protocol([TEXT, TEXT], [False, True], [])) == (0, 1, 0, 0)
    assert sums(protocol([TEXT], [True], [TEXT])) == (0, 0, 0, 0)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_perfect_result(name: str) -> None:
    apart = [box(40 * i, 0, 40 * i + 30, 20) for i in range(3)]
    result = PROTOCOLS[name](apart, [False, True, False], apart)
    assert sums(result) == (2, 2, 2, 2)
    assert result == ImageScore(Score(2, 2, 2, 2), (0, 2), (0, 2), (1,))


def test_shapely_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(DBNetError, match=r"pip install 'dbnet-trt\[eval\]'"):
        score_icdar2015([TEXT], [False], [TEXT])


def test_iou_of_one_half_is_no_match() -> None:
    assert sums(score_icdar2015([TEXT], [False], [box(0, 0, 10, 5)])) == (0, 1, 0, 1)
    assert sums(score_icdar2015([TEXT], [False], [box(0, 0, 10, 5.1)])) == (1, 1, 1, 1)


def test_a_text_is_found_once() -> None:
    result = score_icdar2015([TEXT], [False], [TEXT, TEXT])
    assert result.detection_hits == (0,)
    assert sums(result) == (1, 1, 1, 2)


def test_the_order_of_detections_matters() -> None:
    truths = [TEXT, box(2, 0, 12, 10)]
    # The first matches both texts, the second only one.
    between, left = box(1, 0, 11, 10), box(-2, 0, 8, 10)
    assert sums(score_icdar2015(truths, [False] * 2, [between, left])) == (1, 2, 1, 2)
    assert sums(score_icdar2015(truths, [False] * 2, [left, between])) == (2, 2, 2, 2)


def test_the_order_of_truths_matters() -> None:
    detections = [box(1, 0, 11, 10), box(-2, 0, 8, 10)]
    first, second = TEXT, box(2, 0, 12, 10)
    assert score_icdar2015([first, second], [False] * 2, detections).truth_hits == (0,)
    assert score_icdar2015([second, first], [False] * 2, detections).truth_hits == (0, 1)


def test_ignored_by_more_than_half_of_its_area() -> None:
    for bottom, count in ((5, 1), (5.1, 0)):
        result = score_icdar2015([box(0, 0, 10, bottom)], [True], [TEXT])
        assert sums(result) == (0, 0, 0, count)


def test_two_regions_to_ignore_do_not_add_up() -> None:
    regions = [box(0, 0, 4, 10), box(4, 0, 8, 10)]
    assert sums(score_icdar2015(regions, [True, True], [TEXT])) == (0, 0, 0, 1)


def test_an_ignored_detection_finds_nothing() -> None:
    result = score_icdar2015([TEXT, TEXT], [False, True], [TEXT])
    assert result == ImageScore(Score(0, 1, 0, 0), (), (), (0,))


def test_detection_without_area_is_wrong() -> None:
    line = box(0, 5, 10, 5)
    assert sums(score_icdar2015([TEXT, TEXT], [False, True], [line])) == (0, 1, 0, 1)
    assert sums(score_icdar2015([line], [False], [line])) == (0, 1, 0, 1)


def test_crossing_outlines_as_the_official_script() -> None:
    """The area is by the shoelace formula, 0 here; the overlap with the text is 50 of 100."""
    bow_tie = TEXT[[0, 1, 3, 2]]
    assert sums(score_icdar2015([TEXT], [False], [bow_tie])) == (1, 1, 1, 1)
    assert sums(score_icdar2015([TEXT], [True], [bow_tie])) == (0, 0, 0, 1)


def test_direction_and_first_corner_do_not_matter() -> None:
    turned = np.roll(TEXT[::-1], 1, axis=0)
    assert sums(score_icdar2015([TEXT], [False], [turned])) == (1, 1, 1, 1)


def _cells(each: Box) -> set[tuple[int, int]]:
    left, top, right, bottom = each
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


def _iou(first: Box, second: Box) -> Fraction:
    a, b = _cells(first), _cells(second)
    return Fraction(len(a & b), len(a | b))


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    left, top = draw(st.integers(0, 6)), draw(st.integers(0, 4))
    return left, top, left + draw(st.integers(1, 6)), top + draw(st.integers(1, 4))


@st.composite
def near(draw: st.DrawFn, texts: list[Box]) -> Box:
    """Draw a detection as detectors give: a text slightly moved, a part of one, or two joined."""
    left, top, right, bottom = draw(st.sampled_from(texts))
    kind = draw(st.sampled_from(["moved", "piece", "merged"]))
    if kind == "piece" and right - left > 1:
        cut = draw(st.integers(left + 1, right - 1))
        return draw(st.sampled_from([(left, top, cut, bottom), (cut, top, right, bottom)]))
    if kind == "merged":
        other = draw(st.sampled_from(texts))
        low, high = np.minimum((left, top), other[:2]), np.maximum((right, bottom), other[2:])
        return int(low[0]), int(low[1]), int(high[0]), int(high[1])
    right += draw(st.integers(0, 2))
    return left + draw(st.integers(-1, 0)), top, right, bottom + draw(st.integers(0, 1))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[list[tuple[Box, bool]], list[Box]]:
    """Draw some texts, each ignored or not, and some detections."""
    texts = draw(st.lists(boxes(), max_size=5))
    ignore = [draw(st.integers(0, 3)) == 0 for _ in texts]
    detections = boxes() if not texts else near(texts) | boxes()
    return list(zip(texts, ignore, strict=True)), draw(st.lists(detections, max_size=6))


SCENES = scenes()


@given(SCENES)
def test_icdar2015_equals_counting_cells(scene: tuple[list[tuple[Box, bool]], list[Box]]) -> None:
    truths, detections = scene
    ignored = {
        d
        for d, found in enumerate(detections)
        for text, skip in truths
        if skip and 2 * len(_cells(found) & _cells(text)) > len(_cells(found))
    }
    pairs: dict[int, int] = {}
    for t, (text, skip) in enumerate(truths):
        for d, found in enumerate(detections):
            free = t not in pairs and d not in pairs.values() and d not in ignored
            if not skip and free and _iou(text, found) > Fraction(1, 2):
                pairs[t] = d
    result = score_icdar2015(
        [box(*text) for text, _ in truths],
        [skip for _, skip in truths],
        [box(*found) for found in detections],
    )
    assert result.truth_hits == tuple(sorted(pairs))
    assert result.detection_hits == tuple(sorted(pairs.values()))
    assert result.detection_ignored == tuple(sorted(ignored))
    num_truths = sum(not skip for _, skip in truths)
    num_detections = len(detections) - len(ignored)
    assert sums(result) == (len(pairs), num_truths, len(pairs), num_detections)


def test_ctw1500_takes_the_closest_text_only() -> None:
    truths = [TEXT, box(2, 0, 12, 10)]
    near_first = box(0.5, 0, 10.5, 10)
    result = score_ctw1500(truths, [False, False], [TEXT, near_first])
    assert result == ImageScore(Score(1, 2, 1, 2), (0,), (0,), ())
    assert sums(score_icdar2015(truths, [False, False], [TEXT, near_first])) == (2, 2, 2, 2)


def test_ctw1500_iou_of_one_half_is_no_match() -> None:
    assert sums(score_ctw1500([TEXT], [False], [box(0, 0, 10, 5)])) == (0, 1, 0, 1)


def test_ctw1500_texts_to_ignore_are_matched() -> None:
    inside = box(0, 0, 10, 4)  # not counted by ICDAR 2015, but by VOC's rule
    result = score_ctw1500([TEXT, box(20, 0, 30, 10)], [True, False], [TEXT, inside])
    assert result == ImageScore(Score(0, 1, 0, 1), (), (), (0,))


def test_ctw1500_crossing_outlines_do_not_count() -> None:
    bow_tie = TEXT[[0, 1, 3, 2]]
    assert sums(score_ctw1500([TEXT], [False], [bow_tie])) == (0, 1, 0, 0)
    assert sums(score_ctw1500([bow_tie], [False], [TEXT])) == (0, 1, 0, 1)


@given(SCENES)
def test_ctw1500_equals_counting_cells(scene: tuple[list[tuple[Box, bool]], list[Box]]) -> None:
    truths, detections = scene
    taken: set[int] = set()
    hits = wrong = 0
    for found in detections:
        best, best_iou = -1, Fraction(0)
        for t, (text, _) in enumerate(truths):
            if _iou(text, found) > best_iou:
                best, best_iou = t, _iou(text, found)
        if best_iou <= Fraction(1, 2) or best in taken:
            wrong += 1
        elif not truths[best][1]:
            taken.add(best)
            hits += 1
    result = score_ctw1500(
        [box(*text) for text, _ in truths],
        [skip for _, skip in truths],
        [box(*found) for found in detections],
    )
    num_truths = sum(not skip for _, skip in truths)
    assert sums(result) == (hits, num_truths, hits, hits + wrong)
