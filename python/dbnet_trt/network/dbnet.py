# SPDX-License-Identifier: Apache-2.0
"""DBNet: backbone, feature pyramid, one head for P and one for T."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .backbone import build_backbone
from .config import ModelConfig


class DBOutput(NamedTuple):
    """What the network gives in training, each (B, h, w) float32."""

    prob_logits: Tensor
    """P is their sigmoid."""

    thresh_map: Tensor | None
    """T in [0, 1]; None without differentiable binarization."""

    binary_logits: Tensor | None
    """k (P - T): the approximate binary map is their sigmoid."""


class FeaturePyramid(nn.Module):
    """Laterals to one width, top-down sums, 3x3 to a quarter, all joined at stride 4."""

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
        """Four maps (B, C_i, h_i, w_i) -> four (B, inner / 4, h_0, w_0), finest first."""
        sums = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for level in range(len(sums) - 2, -1, -1):
            sums[level] = sums[level] + _enlarge(sums[level + 1], 2)
        smoothed = [smooth(x) for smooth, x in zip(self.smooth, sums, strict=True)]
        return [_enlarge(x, 1 << level) for level, x in enumerate(smoothed)]


def _enlarge(x: Tensor, factor: int) -> Tensor:
    return x if factor == 1 else functional.interpolate(x, scale_factor=factor, mode="nearest")


class AdaptiveScaleFusion(nn.Module):
    """DBNet++: channel and spatial attention over the joined levels weigh each level and pixel."""

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
        """Levels (B, c, h, w), finest first -> (B, num_levels * c, h, w)."""
        x = self.conv(torch.cat(levels, dim=1))
        x = x + self.channel(x.mean(dim=(2, 3), keepdim=True))
        x = x + self.spatial(x.mean(dim=1, keepdim=True))
        weights = self.weights(x)
        return torch.cat([weights[:, i : i + 1] * level for i, level in enumerate(levels)], dim=1)


class Head(nn.Sequential):
    """3x3 convolution and two 2x2 transposed ones: stride 4 to full size, logits."""

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
        """Make an untrained head give `value` all over, nearly.

        k = 50 turns what else it would give, P and T of any value anywhere, into gradients that
        can kill the head for good in its first steps.
        """
        last = self[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        nn.init.normal_(last.weight, std=0.01)
        nn.init.constant_(last.bias, math.log(value / (1 - value)))


class DBNet(nn.Module):
    """The detector. In training it gives a `DBOutput`, otherwise P's logits alone."""

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
            images: (B, 3, h, w) float, normalised; h and w multiples of 32.

        Returns:
            In training a `DBOutput`, otherwise P's logits, (B, h, w).
        """
        levels = self.neck(self.backbone(images))
        fused = torch.cat(levels, dim=1) if self.fusion is None else self.fusion(levels)
        prob_logits = self.prob_head(fused).squeeze(1)
        if not self.training:
            return prob_logits
        prob_logits = prob_logits.float()
        if self.thresh_head is None:
            return DBOutput(prob_logits, None, None)
        thresh_map = self.thresh_head(fused).squeeze(1).float().sigmoid()
        # In fp32 also under autocast: k = 50 turns a rounding of P in bf16 (1/256) into 0.2.
        binary_logits = self.config.amplification * (prob_logits.sigmoid() - thresh_map)
        return DBOutput(prob_logits, thresh_map, binary_logits)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
