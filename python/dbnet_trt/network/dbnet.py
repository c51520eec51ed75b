# SPDX-License-Identifier: Apache-2.0
"""DBNet: backbone, feature pyramid, and heads for the maps P (probability) and T (threshold)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .backbone import build_backbone
from .config import ModelConfig


class DBOutput(NamedTuple):
    """Output of the network in training, each (B, h, w) float32."""

    prob_logits: Tensor
    """Logits of the probability map: P is their sigmoid."""

    thresh_map: Tensor | None
    """Threshold map T in [0, 1]; None without differentiable binarization."""

    binary_logits: Tensor | None
    """k (P - T): the approximate binary map is their sigmoid. None without differentiable
    binarization."""


class FeaturePyramid(nn.Module):
    """Feature pyramid: lateral 1x1 convolutions, top-down sums, 3x3 convolutions, all at stride 4.

    The laterals have `inner_channels` channels, the outputs a quarter of them.
    """

    def __init__(self, in_channels: tuple[int, ...], inner_channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Conv2d(channels, inner_channels, 1, bias=False) for channels in in_channels
        )
        self.smooth = nn.ModuleList(
            nn.Conv2d(inner_channels, inner_channels // 4, 3, padding=1, bias=False)
            for _ in in_channels
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Join feature maps of different strides.

        Args:
            maps: Four maps (B, C_i, h_i, w_i), the finest first.

        Returns:
            Four maps (B, inner_channels / 4, h_0, w_0), in the same order.
        """
        sums = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            sums[level] = sums[level] + _enlarge(sums[level + 1], 2)
        smoothed = [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]
        return [_enlarge(x, 1 << level) for level, x in enumerate(smoothed)]


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return x if factor == 1 else functional.interpolate(x, scale_factor=factor, mode="nearest")


class AdaptiveScaleFusion(nn.Module):
    """Adaptive scale fusion of DBNet++: attention weighs each level of the pyramid per pixel."""

    def __init__(self, inner_channels: int, num_levels: int = 4) -> None:
        super().__init__()
        hidden = inner_channels // 4
        squeezed = max(hidden // 4, 1)
        self.conv = nn.Conv2d(inner_channels, hidden, 3, padding=1)
        self.channel = nn.Sequential(
            nn.Conv2d(hidden, squeezed, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(squeezed, hidden, 1, bias=False),
            nn.Sigmoid(),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(1, 1, 3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(1, 1, 1, bias=False),
            nn.Sigmoid(),
        )
        self.weights = nn.Sequential(nn.Conv2d(hidden, num_levels, 1, bias=False), nn.Sigmoid())

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Weigh the levels and join them.

        Args:
            levels: Maps (B, c, h, w), the finest first.

        Returns:
            (B, num_levels * c, h, w).
        """
        x = self.conv(torch.cat(levels, dim=1))
        x = x + self.channel(x.mean(dim=(2, 3), keepdim=True))
        x = x + self.spatial(x.mean(dim=1, keepdim=True))
        weights = self.weights(x)
        return torch.cat([weights[:, i : i + 1] * level for i, level in enumerate(levels)], dim=1)


class Head(nn.Sequential):
    """Head: a 3x3 convolution and two transposed 2x2 ones, from stride 4 to logits at full size."""

    def __init__(self, in_channels: int) -> None:
        hidden = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, hidden, 3, padding=1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(hidden, hidden, 2, 2),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(hidden, 1, 2, 2),
        )

    def start_at(self, value: float) -> None:
        """Make an untrained head output nearly `value` everywhere.

        Otherwise P and T begin at arbitrary values, whose difference times k = 50 gives gradients
        that can make the head useless in its first steps.
        """
        last = self[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, math.log(value / (1 - value)))


class DBNet(nn.Module):
    """Text detection network. It returns a `DBOutput` in training, otherwise P's logits."""

    def __init__(self, config: ModelConfig = ModelConfig()) -> None:
        super().__init__()
        self.config = config
        self.backbone = build_backbone(config.backbone, config.deformable)
        self.neck = FeaturePyramid(self.backbone.out_channels, config.inner_channels)
        self.fusion = (
            AdaptiveScaleFusion(config.inner_channels) if config.adaptive_scale_fusion else None
        )
        self.prob_head = Head(config.inner_channels)
        self.thresh_head = Head(config.inner_channels) if config.db else None
        for part in (self.neck, self.fusion, self.prob_head, self.thresh_head):
            if part is not None:
                part.apply(_initialize)
        self.prob_head.start_at(0.1)
        if self.thresh_head is not None:
            self.thresh_head.start_at(0.5)

    def forward(self, images: Tensor) -> DBOutput | Tensor:
        """Run the network.

        Args:
            images: (B, 3, h, w) float, normalised; h and w are multiples of 32.

        Returns:
            A `DBOutput` in training, otherwise P's logits, (B, h, w).
        """
        levels = self.neck(self.backbone(images))
        fused = torch.cat(levels, dim=1) if self.fusion is None else self.fusion(levels)
        prob_logits = self.prob_head(fused).squeeze(1)
        if not self.training:
            return prob_logits
        if self.thresh_head is None:
            return DBOutput(prob_logits.float(), None, None)
        return binarize(prob_logits, self.thresh_head(fused).squeeze(1), self.config.amplification)


def binarize(prob_logits: Tensor, thresh_logits: Tensor, amplification: float) -> DBOutput:
    """Compute k (P - T) from the logits of P and T, each (B, h, w).

    Use fp32 even under autocast: k = 50 turns bf16's rounding of P (1/256) into 0.2.
    """
    prob_logits, thresh_map = prob_logits.float(), thresh_logits.float().sigmoid()
    return DBOutput(prob_logits, thresh_map, amplification * (prob_logits.sigmoid() - thresh_map))


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
