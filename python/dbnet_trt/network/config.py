# SPDX-License-Identifier: Apache-2.0
"""Configuration of the network. Needs no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BackboneName = Literal["resnet18", "resnet50", "mobilenetv2"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Layers of the network. The defaults are the paper's, without deformable convolutions."""

    backbone: BackboneName = "resnet18"
    """Backbone: resnet18, resnet50 or mobilenetv2."""

    inner_channels: int = 256
    """Number of channels of the feature pyramid; a multiple of 4."""

    db: bool = True
    """Train with differentiable binarization; without it the network has no threshold map T."""

    deformable: bool = False
    """Use deformable convolutions (DCNv2) for the 3x3 convolutions of conv3 to conv5; ResNets
    only."""

    adaptive_scale_fusion: bool = False
    """Weigh the levels of the feature pyramid by attention, as DBNet++ does."""

    amplification: float = 50.0
    """Factor k of the approximate binary map sigmoid(k (P - T))."""

    def __post_init__(self) -> None:
        if self.inner_channels < 4 or self.inner_channels % 4:
            raise ValueError(
                f"inner_channels must be a multiple of 4, 4 or more, got {self.inner_channels}"
            )
        if not self.amplification > 0:
            raise ValueError(f"amplification must be greater than 0, got {self.amplification}")
