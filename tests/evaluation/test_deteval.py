# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass, field

import numpy as np
import pytest
from dbnet_trt.evaluation.deteval import score_deteval, score_totaltext
from dbnet_trt.evaluation.scores import ImageScore
from hypothesis import given
from hypothesis import strategies as st

from .test_protocols import SCENES, Box, box, sums

pytest.importorskip("shapely")

LINE = box(0, 0, 100, 10)


def test_totaltext_one_to_one() -> None:
    assert sums(score_totaltext([LINE], [False], [box(0, 0, 80, 10)])) == (1, 1, 1, 1)


def test_totaltext_limits_are_exclusive_for_one_to_one() -> None:
    assert sums(score_totaltext([LINE], [False], [box(0, 0, 70, 10)])) == (0, 1, 0, 1)
    assert sums(score_totaltext([LINE], [False], [box(0, 0, 71, 10)])) == (1, 1, 1, 1)
    larger = box(0, 0, 100, 10 / 0.6)  # 60 % of its area is inside the text
    assert sums(score_totaltext([LINE], [False], [larger])) == (0, 1, 0, 1)


def test_totaltext_pieces_get_four_fifths() -> None:
    pieces = [box(0, 0, 50, 10), box(50, 0, 100, 10)]
    assert sums(score_totaltext([LINE], [False], pieces)) == pytest.approx((0.8, 1, 1.6, 2))


def test_totaltext_merged_texts_get_four_fifths() -> None:
    words = [box(0, 0, 50, 10), box(50, 0, 100, 10)]
    assert sums(score_totaltext(words, [False] * 2, [LINE])) == pytest.approx((1.6, 2, 0.8, 1))


def test_totaltext_shares_are_rounded_to_two_decimals() -> None:
    pieces = [box(0, 0, 34.8, 10), box(40, 0, 74.8, 10)]  # 0.348 each, 0.35 when rounded
    assert sums(score_totaltext([LINE], [False], pieces)) == pytest.approx((0.8, 1, 1.6, 2))
    pieces = [box(0, 0, 34.4, 10), box(40, 0, 74.4, 10)]
    assert sums(score_totaltext([LINE], [False], pieces)) == (0, 1, 0, 2)


def test_totaltext_one_good_detection_beside_a_bad_one() -> None:
    beside = box(95, 5, 120, 15)  # touches the text
    # The first covers 0.7 of the text: enough for one of two detections, not for a single one.
    detections = [box(0, 0, 70, 10), beside]
    assert sums(score_totaltext([LINE], [False], detections)) == (1, 1, 1, 2)


def test_totaltext_one_good_text_beside_a_bad_one() -> None:
    found = box(0, 0, 100, 10)
    words = [box(0, 0, 60, 10), box(95, 0, 150, 10)]
    # 0.6 of the detection is in the first word: not above the limit, but enough beside another
    assert sums(score_totaltext(words[:1], [False], [found])) == (0, 1, 0, 1)
    assert sums(score_totaltext(words, [False] * 2, [found])) == (1, 2, 1, 1)


def test_totaltext_rounds_the_share_of_the_detection_too() -> None:
    pieces = [box(50 * i, 0, 50 * i + 50, 10 / 0.596) for i in range(2)]  # 0.6 when rounded
    assert sums(score_totaltext([LINE], [False], pieces)) == pytest.approx((0.8, 1, 1.6, 2))


def test_totaltext_one_detection_for_two_texts_is_not_one_to_one() -> None:
    part = box(0, 0, 20, 10)  # also covered
    result = score_totaltext([LINE, part], [False] * 2, [LINE])
    assert sums(result) == pytest.approx((1.6, 2, 0.8, 1))
    around = box(0, 0, 100, 15)  # the detection is also inside it
    result = score_totaltext([LINE, around], [False] * 2, [LINE])
    assert sums(result) == pytest.approx((1.6, 2, 0.8, 1))


def test_totaltext_a_single_merged_text_must_be_covered() -> None:
    long, below = box(0, 0, 154, 10), box(0, 9.5, 100, 40)
    assert sums(score_totaltext([long, below], [False] * 2, [LINE])) == (0, 2, 0, 1)


def test_totaltext_cover_and_inside_may_differ_as_published() -> None:
    cover, inside = box(0, -10, 100, 20), box(0, 0, 50, 10)
    result = score_totaltext([LINE], [False], [cover, inside])
    assert sums(result) == (1, 1, 1, 2)
    assert result.detection_hits == (0,)


def test_totaltext_ignores_by_area_plus_one() -> None:
    found = box(0, 0, 10, 10)
    assert sums(score_totaltext([box(0, 0, 10, 5.04)], [True], [found])) == (0, 0, 0, 1)
    assert sums(score_totaltext([box(0, 0, 10, 5.06)], [True], [found])) == (0, 0, 0, 0)


def test_totaltext_without_area() -> None:
    line = box(0, 5, 10, 5)
    assert sums(score_totaltext([LINE, line], [False] * 2, [line])) == (0, 2, 0, 1)


def test_deteval_boxes_include_their_last_pixel() -> None:
    text = box(0, 0, 9, 9)
    assert sums(score_deteval([text], [False], [box(0, 0, 7, 9)])) == (1, 1, 1, 1)  # 80 of 100
    assert sums(score_deteval([text], [False], [box(0, 0, 6, 9)])) == (0, 1, 0, 1)


def test_deteval_precision_of_two_fifths_is_enough() -> None:
    text = box(0, 0, 9, 9)
    assert sums(score_deteval([text], [False], [box(0, 0, 24, 9)])) == (1, 1, 1, 1)  # 100 of 250
    assert sums(score_deteval([text], [False], [box(0, 0, 25, 9)])) == (0, 1, 0, 1)


def test_deteval_pieces_get_four_fifths() -> None:
    pieces = [box(0, 0, 49, 9), box(50, 0, 99, 9)]
    result = score_deteval([box(0, 0, 99, 9)], [False], pieces)
    assert sums(result) == pytest.approx((0.8, 1, 1.6, 2))
    assert result.detection_hits == (0, 1)


def test_deteval_merged_texts_count_whole() -> None:
    words = [box(0, 0, 49, 9), box(50, 0, 99, 9)]
    assert sums(score_deteval(words, [False] * 2, [box(0, 0, 99, 9)])) == (2, 2, 1, 1)


def test_deteval_a_touching_detection_makes_pieces() -> None:
    text = box(0, 0, 99, 9)
    outside, inside = box(99, 0, 150, 9), box(40, 0, 60, 9)
    assert sums(score_deteval([text], [False], [text, outside])) == (1, 1, 1, 2)
    assert sums(score_deteval([text], [False], [text, inside])) == pytest.approx((0.8, 1, 1.6, 2))


def test_deteval_ignores_by_two_fifths() -> None:
    found = box(0, 0, 9, 9)
    assert sums(score_deteval([box(0, 0, 9, 3)], [True], [found])) == (0, 0, 0, 1)
    assert sums(score_deteval([box(0, 0, 9, 4)], [True], [found])) == (0, 0, 0, 0)


def test_deteval_rivals_count_even_if_ignored() -> None:
    text, region = box(0, 0, 9, 9), box(10, 0, 19, 9)
    both = box(0, 0, 19, 9)  # half of it is in the ignored region, but it also matches the text
    assert sums(score_deteval([text, region], [False, True], [text])) == (1, 1, 1, 1)
    assert sums(score_deteval([text, region], [False, True], [text, both])) == (0, 1, 0, 1)
    wide, right = box(0, 0, 24, 9), box(15, 0, 24, 9)  # exactly 0.4 of it: not ignored
    assert sums(score_deteval([text, right], [False, True], [wide])) == (0, 1, 0, 1)


def test_deteval_sums_are_rounded_to_four_decimals() -> None:
    pieces = [box(0, 0, 199, 158), box(0, 160, 198, 160)]  # 0.799975 of the text
    text = box(0, 0, 199, 199)
    assert sums(score_deteval([text], [False], pieces)) == pytest.approx((0.8, 1, 1.6, 2))


def test_deteval_takes_bounds() -> None:
    diamond = np.array([[5, 0], [10, 5], [5, 10], [0, 5]], float)
    assert sums(score_deteval([box(0, 0, 10, 10)], [False], [diamond])) == (1, 1, 1, 1)


@dataclass
class Ledger:
    """Record of matches, one by one."""

    truths: set[int] = field(default_factory=set)
    found: set[int] = field(default_factory=set)
    recall_hits: float = 0.0
    precision_hits: float = 0.0

    def add(self, truths: list[int], found: list[int], recall: float, precision: float) -> None:
        self.truths |= set(truths)
        self.found |= set(found)
        self.recall_hits += recall
        self.precision_hits += precision

    def check(self, result: ImageScore, num_truths: int, num_detections: int) -> None:
        assert set(result.truth_hits) == self.truths
        assert set(result.detection_hits) == self.found
        expected = (self.recall_hits, num_truths, self.precision_hits, num_detections)
        assert sums(result) == pytest.approx(expected)


def _pixels(each: Box, last: int) -> set[tuple[int, int]]:
    left, top, right, bottom = each
    return {(x, y) for x in range(left, right + last) for y in range(top, bottom + last)}


@given(SCENES)
def test_deteval_equals_counting_pixels(scene: tuple[list[tuple[Box, bool]], list[Box]]) -> None:
    found = [_pixels(each, 1) for each in scene[1]]
    everything = [(_pixels(each, 1), skip) for each, skip in scene[0]]
    truths = [t for t, (_, skip) in enumerate(everything) if not skip]
    ignored = {
        d
        for d, pixels in enumerate(found)
        if any(skip and len(pixels & text) / len(pixels) > 0.4 for text, skip in everything)
    }
    counted = [d for d in range(len(found)) if d not in ignored]

    def recall(t: int, d: int) -> float:
        return len(everything[t][0] & found[d]) / len(everything[t][0])

    def precision(t: int, d: int) -> float:
        return len(everything[t][0] & found[d]) / len(found[d])

    def close(t: int, d: int) -> bool:
        return recall(t, d) >= 0.8 and precision(t, d) >= 0.4

    ledger = Ledger()
    touching = {t: [d for d in counted if recall(t, d) > 0] for t in truths}
    for t in truths:
        for d in counted:
            rivals = sum(close(t, e) for e in range(len(found)))
            rivals += sum(close(s, d) for s in range(len(everything)))
            single = touching[t] == [d] and [s for s in truths if recall(s, d) > 0] == [t]
            if close(t, d) and rivals == 2 and single:
                ledger.add([t], [d], 1, 1)
    for t in truths:
        pieces = [d for d in counted if d not in ledger.found and precision(t, d) >= 0.4]
        enough = round(sum(recall(t, d) for d in pieces), 4) >= 0.8
        if t not in ledger.truths and enough and len(touching[t]) >= 2:
            credit = 0.8 if len(pieces) > 1 else 1
            ledger.add([t], pieces, credit, credit * len(pieces))
    for d in counted:
        words = [t for t in truths if t not in ledger.truths and recall(t, d) >= 0.8]
        enough = round(sum(precision(t, d) for t in words), 4) >= 0.4
        if d not in ledger.found and enough and sum(d in touching[t] for t in truths) >= 2:
            ledger.add(words, [d], len(words), 1)
    result = score_deteval(
        [box(*each) for each, _ in scene[0]],
        [skip for _, skip in scene[0]],
        [box(*each) for each in scene[1]],
    )
    assert result.detection_ignored == tuple(sorted(ignored))
    ledger.check(result, len(truths), len(counted))


@given(SCENES, st.integers(1, 7))
def test_totaltext_equals_counting_cells(
    scene: tuple[list[tuple[Box, bool]], list[Box]], scale: int
) -> None:
    def share(part: int, whole: int) -> float:
        return float(np.round(part / whole, 2))

    regions = [_pixels(each, 0) for each, skip in scene[0] if skip]
    texts = [_pixels(each, 0) for each, skip in scene[0] if not skip]
    unit = scale**2  # cells are squares of `scale` by `scale` pixels
    found = [_pixels(each, 0) for each in scene[1]]
    found = [
        cells
        for cells in found
        if not any(len(cells & r) * unit / (len(cells) * unit + 1) > 0.5 for r in regions)
    ]
    sigma = [[share(len(text & cells), len(text)) for cells in found] for text in texts]
    tau = [[share(len(text & cells), len(cells)) for cells in found] for text in texts]
    everyone = range(len(texts))
    got_texts: set[int] = set()
    got_found: set[int] = set()
    recall_hits = precision_hits = 0.0
    for t in everyone:
        covering = [d for d in range(len(found)) if sigma[t][d] > 0.7]
        lying = [d for d in range(len(found)) if tau[t][d] > 0.6]
        if len(covering) == 1 and len(lying) == 1:
            others = sum(sigma[s][covering[0]] > 0.7 for s in everyone)
            others += sum(tau[s][lying[0]] > 0.6 for s in everyone)
            if others == 2:
                got_texts.add(t)
                got_found.add(covering[0])
                recall_hits, precision_hits = recall_hits + 1, precision_hits + 1
    for t in everyone:
        pieces = [d for d in range(len(found)) if tau[t][d] >= 0.6 and d not in got_found]
        several = sum(value > 0 for value in sigma[t]) >= 2
        if t not in got_texts and several and np.sum([sigma[t][d] for d in pieces]) >= 0.7:
            got_texts.add(t)
            got_found.update(pieces)
            credit = 0.8 if len(pieces) > 1 else 1
            recall_hits += credit
            precision_hits += credit * len(pieces)
    for d in range(len(found)):
        words = [t for t in everyone if sigma[t][d] >= 0.6 and t not in got_texts]
        several = sum(tau[t][d] > 0 for t in everyone) >= 2
        if d in got_found or not several or np.sum([tau[t][d] for t in words]) < 0.6:
            continue
        if len(words) == 1 and sigma[words[0]][d] < 0.7:
            continue
        got_texts.update(words)
        got_found.add(d)
        recall_hits += len(words) * (0.8 if len(words) > 1 else 1)
        precision_hits += 0.8 if len(words) > 1 else 1
    result = score_totaltext(
        [box(*each) * scale for each, _ in scene[0]],
        [skip for _, skip in scene[0]],
        [box(*each) * scale for each in scene[1]],
    )
    assert sums(result) == pytest.approx((recall_hits, len(texts), precision_hits, len(found)))
    assert len(result.truth_hits) == len(got_texts)
    assert len(result.detection_hits) == len(got_found)
