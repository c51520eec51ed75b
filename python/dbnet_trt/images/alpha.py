# SPDX-License-Identifier: Apache-2.0
"""Flatten transparent images onto a background that contrasts with their visible pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

OPAQUE = 255

ENOUGH_CONTRAST = 96
"""Difference in brightness, out of 255, above which more contrast does not help a detector."""

ROWS_AT_ONCE = 256
"""Number of rows that are blended at a time, which bounds the extra memory."""

LUMA_WEIGHTS = np.array([0.114, 0.587, 0.299], np.float32)
"""Weights of blue, green and red in the brightness, from BT.601."""


def flatten(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Flatten a BGRA image onto a uniform background that contrasts with its visible pixels.

    Colours under transparent pixels are arbitrary: encoders leave black, white or the text's own
    colour there. If alpha is the same everywhere it is dropped.

    Args:
        image: (H, W, 4) uint8, BGRA, H and W at least 1.

    Returns:
        (H, W, 3) uint8, BGR; a view where alpha does not vary.
    """
    alpha = image[:, :, 3]
    if alpha.min() == alpha.max():
        return image[:, :, :3]
    ground = np.uint32(choose_ground(image))
    flat = np.empty((*image.shape[:2], 3), np.uint8)
    for top in range(0, len(image), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        share = alpha[rows, :, None].astype(np.uint32)
        blended = image[rows, :, :3] * share + ground * (OPAQUE - share)
        flat[rows] = (blended + OPAQUE // 2) // OPAQUE
    return flat


def choose_ground(image: NDArray[np.uint8]) -> int:
    """Choose the gray that differs most from the visible pixels of a BGRA image.

    Black for white text, white for black text, and a gray between them for text of both. The
    difference counts up to `ENOUGH_CONTRAST`; of equal grays the farthest from the mean is taken.
    """
    visible = np.zeros(256)
    for top in range(0, len(image), ROWS_AT_ONCE):
        rows = image[top : top + ROWS_AT_ONCE]
        luma = (rows[:, :, :3] @ LUMA_WEIGHTS).astype(np.uint8)
        visible += np.bincount(luma.ravel(), rows[:, :, 3].ravel(), minlength=256)
    visible /= visible.sum()
    grays = np.arange(256)
    distances = np.abs(grays[:, None] - grays)
    contrast = np.minimum(distances, ENOUGH_CONTRAST) @ visible
    far = distances @ visible
    return int(np.argmax(contrast + far / 1000))


def mark_transparent_gray(image: NDArray[Any], value: int) -> NDArray[np.uint8]:
    """Make a gray image BGRA, with pixels of one value transparent, as PNG's tRNS chunk declares.

    Args:
        image: (H, W) uint8 or uint16.
        value: The transparent gray, in the image's own range.

    Returns:
        (H, W, 4) uint8.
    """
    alpha = np.where(image == value, 0, OPAQUE).astype(np.uint8)
    gray = (image >> 8 if image.dtype == np.uint16 else image).astype(np.uint8)
    return np.dstack([gray, gray, gray, alpha])
