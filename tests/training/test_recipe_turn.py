# SPDX-License-Identifier: Apache-2.0
"""Outlines stay on the text when a photo is turned."""

import cv2
import numpy as np
import pytest
import turn


def fill(shape: tuple[int, int], polygon: np.ndarray) -> np.ndarray:
    image = np.zeros((*shape, 3), np.uint8)
    return cv2.fillPoly(image, [polygon.round().astype(np.int32)], (255, 255, 255))


@pytest.mark.parametrize("quarters", range(-1, 4))
def test_outlines_turn_with_the_photo(quarters: int) -> None:
    polygon = np.array([[20, 10], [90, 25], [85, 45], [15, 30]], np.float64)
    image = fill((60, 120), polygon)
    turned, (outline,) = turn.turn(image, [polygon], quarters)
    assert turned.shape[:2] == ((60, 120) if quarters % 2 == 0 else (120, 60))
    difference = cv2.absdiff(turned, fill(turned.shape[:2], outline))
    assert np.count_nonzero(difference) < 0.2 * np.count_nonzero(turned)  # of the border alone
