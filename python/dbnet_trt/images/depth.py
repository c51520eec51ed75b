# SPDX-License-Identifier: Apache-2.0
"""Bring decoded pixels of any depth to 8 bits, without losing those that use only a part of it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PARTIAL = 0xFFF
"""Largest value of a 16-bit image that is taken for one of 9 to 12 bits, as scanners and cameras
of industry write them; shifted by 8, its white would be nearly black."""

logger = logging.getLogger("dbnet_trt")


def to_8_bits(image: NDArray[Any], name: str, max_value: int | None = None) -> NDArray[np.uint8]:
    """Bring an image to 8 bits per channel and three channels.

    Args:
        image: (H, W) or (H, W, 3), uint8, uint16 or float32.
        name: Name of the image, for messages.
        max_value: The value of white, where the file declares one that is not the largest.

    Returns:
        (H, W, 3) uint8.
    """
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if max_value is not None:
        return _scaled(image, max_value)
    if image.dtype == np.uint8:
        return image
    largest = image.max()
    if image.dtype != np.uint16:  # real numbers run from 0 to 1, or as bytes do
        return _scaled(image, 255.0 if largest > 1 else 1.0)
    shift = 8
    if 0xFF < largest <= MAX_PARTIAL:
        num_bits = int(largest).bit_length()
        shift = num_bits - 8
        logger.warning(
            "%s uses %d of its 16 bits; it is brightened so that these are all", name, num_bits
        )
    narrow = np.empty(image.shape, np.uint8)
    return np.right_shift(image, shift, out=narrow, casting="unsafe")


def _scaled(image: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Scale [0, white] to [0, 255] in rows, which bounds the extra memory; NaN becomes 0."""
    scaled = np.empty(image.shape, np.uint8)
    for source, target in zip(image, scaled, strict=True):
        values = np.clip(np.nan_to_num(source.astype(np.float32)), 0, white)
        target[:] = np.rint(values * np.float32(255 / white))
    return scaled
