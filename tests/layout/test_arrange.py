# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import cv2
import numpy as np
import pytest
from dbnet_trt.layout.arrange import arrange
from hypothesis import given, settings
from hypothesis import strategies as st


def box(x: float, y: float, w: float, h: float = 20) -> np.ndarray:
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)


def column(x: float, y: float, w: float, count: int, pitch: float = 27) -> list[np.ndarray]:
    """Lines of prose; the last one is short."""
    return [box(x, y + pitch * i, w if i < count - 1 else w / 3) for i in range(count)]


def turned(quads: list[np.ndarray], degrees: float) -> list[np.ndarray]:
    """Quads on a page turned clockwise, with corners in the detector's order."""
    matrix = cv2.getRotationMatrix2D((300, 300), -degrees, 1)
    moved = [quad @ matrix[:, :2].T + matrix[:, 2] for quad in quads]
    firsts = [np.lexsort((quad[:, 1], quad[:, 0]))[:2] for quad in moved]
    starts = [
        min(first, key=lambda k: quad[k][1]) for quad, first in zip(moved, firsts, strict=True)
    ]
    return [np.roll(quad, -start, axis=0) for quad, start in zip(moved, starts, strict=True)]


def sequence(quads: list[np.ndarray], **options: object) -> list[int]:
    """Indices in reading order of quads that were shuffled."""
    order = np.random.default_rng(7).permutation(len(quads))
    mixed = np.stack(quads)[order].astype(np.float32)
    blocks = arrange(mixed, **options)  # type: ignore[arg-type]
    return [int(order[i]) for block in blocks for line in block for i in line]


def structure(quads: list[np.ndarray], **options: object) -> list[list[list[int]]]:
    return arrange(np.stack(quads).astype(np.float32), **options)  # type: ignore[arg-type]


NEWS = [
    box(50, 20, 610, 40),
    *column(50, 90, 180, 9),
    *column(265, 97, 180, 7),
    *column(480, 84, 180, 8),
]
"""A headline over three columns whose baselines differ."""

TABLE = [box(x, 50 + 40 * row, w) for row in range(5) for x, w in ((40, 90), (250, 40), (400, 60))]


@pytest.mark.parametrize("degrees", [0, -7, 4, 90, 93])
def test_columns_are_read_one_after_the_other(degrees: float) -> None:
    assert sequence(turned(NEWS, degrees)) == list(range(len(NEWS)))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_direction_that_is_known(degrees: int) -> None:
    assert sequence(turned(NEWS, degrees), turned=degrees) == list(range(len(NEWS)))


def test_other_directions_are_refused() -> None:
    with pytest.raises(ValueError, match="turned must be 0, 90, 180, 270 or None, got 45"):
        arrange(np.stack(NEWS), turned=45)


def test_table_is_read_row_by_row() -> None:
    (block,) = structure(TABLE)
    assert block == [[3 * row, 3 * row + 1, 3 * row + 2] for row in range(5)]


def test_two_tables_side_by_side_are_not_mixed() -> None:
    right = [quad + np.array([480, 17], np.float32) for quad in TABLE]
    assert sequence(TABLE + right) == list(range(2 * len(TABLE)))


def test_right_to_left() -> None:
    mirrored = [np.array([[700 - x, y] for x, y in quad[[1, 0, 3, 2]]]) for quad in NEWS + TABLE]
    for quads in (mirrored[: len(NEWS)], mirrored[len(NEWS) :]):
        assert sequence(quads, right_to_left=True) == list(range(len(quads)))


def test_words_grow_to_lines_and_lines_to_paragraphs() -> None:
    rng = np.random.default_rng(3)
    words: list[np.ndarray] = []
    lines = []
    for row in range(8):
        x, line = 40.0, []
        for width in rng.uniform(20, 90, 6):
            line.append(len(words))
            words.append(box(x, 30 + 28 * row + (25 if row > 4 else 0), width))
            x += width + 9
        lines.append(line)
    assert structure(words) == [lines[:5], lines[5:]]


def test_text_above_another_is_never_on_its_line() -> None:
    stacked = [box(10, 10, 100, 20), box(12, 17, 95, 20), box(60, 15, 80, 20)]
    assert all(len(line) == 1 for block in structure(stacked) for line in block)


def test_columns_without_a_straight_gutter() -> None:
    """The gutter is at 300 above and at 400 below, and no row is free."""
    left = [*column(40, 40, 250, 8), *column(40, 262, 350, 8)]
    right = [*column(310, 49, 400, 8), *column(420, 268, 290, 8)]
    order = sequence(left + right)
    assert [order.index(i) for i in range(8)] == sorted(order.index(i) for i in range(8))
    assert order.index(0) < order.index(16) < order.index(24)
    assert order.index(0) < order.index(8) < order.index(24)
    for start in (0, 8, 16, 24):  # no column is interrupted
        begin = order.index(start)
        assert order[begin : begin + 8] == list(range(start, start + 8))


def test_text_that_crosses_the_page_is_a_block() -> None:
    label = turned([box(280, 290, 150)], 90)[0] - np.array([280, 0], np.float32)
    blocks = structure([*column(80, 100, 400, 9), label])
    assert [[9]] in blocks
    assert len(blocks) == 2


def test_narrow_digits_do_not_cross() -> None:
    rows = [[box(40, 40 * row, 9, 20), box(120, 40 * row, 150)] for row in range(5)]
    (block,) = structure([quad for row in rows for quad in row])
    assert block == [[2 * row, 2 * row + 1] for row in range(5)]


def test_number_of_the_page_comes_last() -> None:
    columns = [*column(50, 90, 280, 9), *column(365, 97, 280, 7)]
    assert sequence([*columns, box(300, 420, 60)]) == list(range(len(columns) + 1))


def test_nothing_and_one_text() -> None:
    assert arrange(np.zeros((0, 4, 2), np.float32)) == []
    assert arrange(np.zeros((1, 4, 2), np.float32)) == [[[0]]]
    assert sorted(sequence([box(3, 3, 0, 0)] * 3)) == [0, 1, 2]


def test_lines_that_turn_in_a_circle_lose_nothing() -> None:
    boxes = [((0, 0), (173, 1), 1), ((176, 0), (191, 1), 0), ((88, 0), (174, 1), -1)]
    quads = np.stack([cv2.boxPoints(box) for box in [((0, 0), (1, 1), 0)] * 27 + boxes])
    found = sequence(list(quads.astype(np.float32)))
    assert sorted(found) == list(range(30))


texts = st.tuples(
    st.floats(0, 900), st.floats(0, 900), st.floats(1, 400), st.floats(1, 60), st.floats(-90, 90)
)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=1, max_size=30), st.sampled_from([None, 0, 90, 180, 270]))
def test_each_text_comes_once(drawn: list[tuple[float, ...]], direction: int | None) -> None:
    quads = np.stack(
        [cv2.boxPoints(((x, y), (w, h), angle)) for x, y, w, h, angle in drawn]
    ).astype(np.float32)
    blocks = arrange(quads, turned=direction)
    assert sorted(i for block in blocks for line in block for i in line) == list(range(len(quads)))


flat = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(3, 12), st.integers(5, 30))


@settings(max_examples=60, deadline=None)
@given(st.lists(flat, min_size=1, max_size=30))
def test_texts_of_a_line_never_overlap(drawn: list[tuple[int, ...]]) -> None:
    quads = [box(x, y, 0.5 * times * h, h) for x, y, times, h in drawn]
    for block in structure(quads, turned=0):
        for line in block:
            for i, j in pairwise(line):
                overlap = quads[i][1, 0] - quads[j][0, 0]
                assert overlap <= 0.25 * min(drawn[i][3], drawn[j][3]) + 1e-3
