# SPDX-License-Identifier: Apache-2.0
"""Configuration of the network; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BackboneName = Literal["resnet18", "resnet50", "mobilenetv2"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What the network consists of. The defaults are the paper's, without deformation."""

    backbone: BackboneName = "resnet18"
    """resnet18, resnet50 or mobilenetv2."""

    inner_channels: int = 256
    """Channels of the pyramid; a multiple of 4."""

    db: bool = True
    """Differentiable binarization; without it the network is a plain segmentation of P."""

    deformable: bool = False
    """DCNv2 in the 3x3 convolutions of conv3 to conv5 (ResNets)."""

    adaptive_scale_fusion: bool = False
    """Weigh the levels of the pyramid by attention, as DBNet++ does."""

    amplification: float = 50.0
    """k of the approximate binary map sigmoid(k (P - T))."""

    def __post_init__(self) -> None:
        if self.inner_channels < 4 or self.inner_channels % 4:
            raise ValueError(
                f"inner_channels must be a multiple of 4, 4 or more, got {self.inner_channels}"
            )
        if not self.amplification > 0:
            raise ValueError(f"amplification must be greater than 0, got {self.amplification}")
