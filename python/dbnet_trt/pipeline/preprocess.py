# SPDX-License-Identifier: Apache-2.0
"""Preprocessing: resize, normalise and pad images for the network."""

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
        image: (H, W, 3) uint8 BGR.
        plan: Sizes of the image, from `SizePolicy.plan`.
        normalization: Factor and offset per channel.
        out: (3, h, w) float32, contiguous, of size `plan.padded`; overwritten by
            (pixel * scale - mean) / std inside `plan.resized`, and 0 outside.

    Raises:
        ValueError: An array has another shape than the plan says.
    """
    _core.preprocess(
        image,
        plan.resized,
        out,
        normalization.multiplier.tolist(),
        normalization.offset.tolist(),
        normalization.swap_red_blue,
    )
