# SPDX-License-Identifier: Apache-2.0
"""Resize, normalise and pad images for the network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..card import Normalization
from ..settings import ResizePlan


def preprocess(
    image: NDArray[np.uint8],
    plan: ResizePlan,
    normalization: Normalization,
    out: NDArray[np.float32],
) -> None:
    """Resize, normalise and pad one image into `out`, in one pass.

    Args:
        image: (H, W, 3) uint8, BGR.
        plan: Its sizes, from `SizePolicy.plan`.
        normalization: How pixels become numbers.
        out: (3, h, w) float32, contiguous, written; (pixel * scale - mean) / std inside
            `plan.resized`, 0 outside.
    """
    _core.preprocess(
        image,
        plan.resized,
        out,
        normalization.multiplier.tolist(),
        normalization.offset.tolist(),
        normalization.swap_red_blue,
    )
