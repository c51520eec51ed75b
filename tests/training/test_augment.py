# SPDX-License-Identifier: Apache-2.0
import numpy as np
from dbnet_trt.training.augment import sharpen


def test_sharpening_steepens_an_edge() -> None:
    image = np.full((20, 40, 3), 100, np.uint8)
    image[:, 20:] = 150
    sharpened = sharpen(image, np.random.default_rng(0))
    assert sharpened[10, 19, 0] < 100
    assert sharpened[10, 20, 0] > 150
    assert sharpened[10, 0, 0] == 100
    assert sharpened[10, 39, 0] == 150
