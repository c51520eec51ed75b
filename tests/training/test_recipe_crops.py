# SPDX-License-Identifier: Apache-2.0
"""Crops of the recipe of dbnet-r18, and drawn pages of the one of dbnet-lines."""

import draw_pages
import numpy as np
import pytest
import teach_r18


@pytest.mark.parametrize("size", [(300, 500), (500, 300), (20, 31), (1, 50)])
def test_crops_are_squares_of_the_photo(size: tuple[int, int], rng: np.random.Generator) -> None:
    photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    for _ in range(30):
        crop = teach_r18.cut(photo, short_side=736, rng=rng)
        assert crop.shape == (crop.shape[0], crop.shape[0], 3)
        assert 0 < crop.shape[0] <= min(size)
        spoilt = teach_r18.spoil(crop, rng)
        assert spoilt.shape == crop.shape
        assert spoilt.dtype == np.uint8


def test_boxes_of_a_drawn_page_hold_its_ink() -> None:
    drawn, boxes = draw_pages.draw_page(900, 700, seed=1, is_chinese=False)
    page = drawn.copy()
    assert len(boxes) > 5
    background = page.max()
    assert (page < background).any()
    for left, top, right, bottom in boxes:
        part = page[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
        assert (part < background).mean() > 0.05
        page[int(top) : int(bottom) + 2, int(left) : int(right) + 2] = background
    assert (page == background).all()
