# SPDX-License-Identifier: Apache-2.0
"""From an image to the network's input: how large, and which numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core

if TYPE_CHECKING:
    from .card import ModelCard

MULTIPLE = 32
"""Network inputs are multiples of this: five halvings in the backbone."""


class Plan(NamedTuple):
    """Sizes of one image on its way into the network, each (height, width)."""

    image: tuple[int, int]
    """Of the image as it came."""

    resized: tuple[int, int]
    """Of the image inside the network's input, in its top left corner."""

    padded: tuple[int, int]
    """Of the network's input: `resized`, each side rounded up to a multiple of 32."""


@dataclass(frozen=True, slots=True)
class SizePolicy:
    """How large an image enters the network. The aspect ratio is kept."""

    short_side: int = 736
    """The image is scaled, up or down, until its short side has this many pixels."""

    long_side_limit: int = 4096
    """Unless its long side would then be longer than this; it is scaled to this instead."""

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side_limit"):
            value = getattr(self, name)
            is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not is_whole or value < 1:
                raise ValueError(
                    f"{name} must be a whole number of pixels, 1 or more, got {value!r}"
                )
            object.__setattr__(self, name, int(value))

    def plan(self, height: int, width: int) -> Plan:
        """Sizes for an image of this height and width, both at least 1."""
        factor = self.short_side / min(height, width)
        if max(height, width) * factor > self.long_side_limit:
            factor = self.long_side_limit / max(height, width)
        resized = (max(1, round(height * factor)), max(1, round(width * factor)))
        return Plan((height, width), resized, (round_up(resized[0]), round_up(resized[1])))


def round_up(side: int) -> int:
    """The next multiple of 32, in pixels."""
    return -(-side // MULTIPLE) * MULTIPLE


def preprocess(
    image: NDArray[np.uint8], plan: Plan, card: ModelCard, out: NDArray[np.float32]
) -> None:
    """Resize, normalise and pad one image into `out`, in one pass.

    Args:
        image: (H, W, 3) uint8, BGR.
        plan: Its sizes, from `SizePolicy.plan`.
        card: Says which mean, standard deviation, scale and channel order the network wants.
        out: (3, h, w) float32, contiguous, written; (pixel * scale - mean) / std inside
            `plan.resized`, 0 outside.
    """
    scale, bias = scale_and_bias(card)
    _core.preprocess(
        image, plan.resized, out, scale.tolist(), bias.tolist(), card.channel_order == "rgb"
    )


def preprocess_reference(
    image: NDArray[np.uint8], plan: Plan, card: ModelCard
) -> NDArray[np.float32]:
    """The same with OpenCV and NumPy, one step after the other; returns (3, h, w) float32."""
    import cv2

    height, width = plan.resized
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if card.channel_order == "rgb":
        resized = resized[:, :, ::-1]
    scale, bias = scale_and_bias(card)
    normalized = resized.astype(np.float32) * scale + bias
    padded = np.zeros((*plan.padded, 3), np.float32)
    padded[:height, :width] = normalized
    return np.ascontiguousarray(padded.transpose(2, 0, 1))


def scale_and_bias(card: ModelCard) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(pixel * scale - mean) / std as pixel * a + b: a and b, each (3,) float32."""
    mean, std = np.array(card.mean, np.float64), np.array(card.std, np.float64)
    return (card.scale / std).astype(np.float32), (-mean / std).astype(np.float32)
