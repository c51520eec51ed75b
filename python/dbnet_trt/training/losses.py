# SPDX-License-Identifier: Apache-2.0
"""The loss of DBNet: L = Ls + alpha Lb + beta Lt, from logits and in fp32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..network.dbnet import DBOutput
from .config import LossConfig


class LabelMaps(NamedTuple):
    """Ground truth, each (B, h, w) float32."""

    shrink_map: Tensor
    """1 inside shrunk text, else 0; or between, where another detector's P is learnt."""

    shrink_mask: Tensor
    """0 where text is to be ignored, else 1."""

    thresh_map: Tensor
    """Ground truth of T, in [0.3, 0.7]."""

    thresh_mask: Tensor
    """1 inside dilated text, else 0."""


class Losses(NamedTuple):
    """The loss and its parts, scalars."""

    total: Tensor
    prob: Tensor
    binary: Tensor
    thresh: Tensor


def compute_loss(output: DBOutput, labels: LabelMaps, config: LossConfig) -> Losses:
    """Compute the loss of a batch.

    Args:
        output: What the network gave.
        labels: Ground truth of the same size.
        config: Weights and forms.

    Returns:
        Total and unweighted parts; parts that the network does not have are 0.
    """
    with torch.autocast(output.prob_logits.device.type, enabled=False):
        shrink, mask = labels.shrink_map, labels.shrink_mask
        prob = hard_negative_bce(output.prob_logits.float(), shrink, mask, config.negative_ratio)
        binary = thresh = prob.new_zeros(())
        if output.binary_logits is not None and output.thresh_map is not None:
            logits = output.binary_logits.float()
            if config.binary_loss == "bce":
                binary = hard_negative_bce(logits, shrink, mask, config.negative_ratio)
            else:
                binary = dice_loss(logits, shrink, mask)
            difference = (output.thresh_map.float() - labels.thresh_map).abs()
            thresh = masked_mean(difference, labels.thresh_mask)
        total = (
            config.prob_weight * prob
            + config.binary_weight * binary
            + config.thresh_weight * thresh
        )
        return Losses(total, prob, binary, thresh)


def hard_negative_bce(
    logits: Tensor, target: Tensor, mask: Tensor, negative_ratio: float
) -> Tensor:
    """Mean cross-entropy over all positives and the hardest negatives of the batch.

    Args:
        logits: (B, h, w) float32.
        target: (B, h, w) float32, 1 is positive, 0 negative, and a share of each between.
        mask: (B, h, w) float32, 0 where a pixel does not count.
        negative_ratio: At most so many negatives for each positive.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    positive = target * mask
    negative = (1 - target) * mask
    num_positives = positive.sum()
    num_negatives = int(min(float(negative.sum()), float(num_positives) * negative_ratio))
    hardest = (loss * negative).flatten().topk(num_negatives, sorted=False).values
    return ((loss * positive).sum() + hardest.sum()) / (num_positives + num_negatives).clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - 2 |X Y| / (|X| + |Y|) over the pixels that count, all (B, h, w) float32."""
    probability = logits.sigmoid() * mask
    overlap = (probability * target).sum()
    total = probability.sum() + (target * mask).sum()
    return 1 - 2 * overlap / total.clamp(min=1e-6)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean where the mask is 1, and 0 where it is 0 everywhere."""
    return (values * mask).sum() / mask.sum().clamp(min=1)
