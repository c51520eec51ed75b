# SPDX-License-Identifier: Apache-2.0
"""Loss of DBNet, L = Ls + alpha Lb + beta Lt, computed from logits in fp32."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..network.dbnet import DBOutput
from .config import LossConfig


class LabelMaps(NamedTuple):
    """Label maps of a batch, each (B, h, w) float32."""

    shrink_map: Tensor
    """1 inside shrunk text, else 0; between 0 and 1 if the label is another detector's P."""

    shrink_mask: Tensor
    """0 inside ignored text, else 1."""

    thresh_map: Tensor
    """Label of T, in [thresh_min, thresh_max]."""

    thresh_mask: Tensor
    """1 inside dilated text, else 0."""


class Losses(NamedTuple):
    """Total loss and its unweighted terms, each a scalar tensor."""

    total: Tensor
    """Weighted sum of the three terms."""

    prob: Tensor
    """Ls, on the probability map P."""

    binary: Tensor
    """Lb, on the approximate binary map; 0 without differentiable binarization."""

    thresh: Tensor
    """Lt, on the threshold map T; 0 without differentiable binarization."""


def compute_loss(output: DBOutput, labels: LabelMaps, config: LossConfig) -> Losses:
    """Compute the loss of a batch.

    Args:
        output: Output of the network in training, each (B, h, w) float32.
        labels: Labels of the same shape.
        config: Weights and forms of the terms.

    Returns:
        The total and the unweighted terms; Lt is 0 if the network has no T.
    """
    with torch.autocast(output.prob_logits.device.type, enabled=False):
        shrink, mask = labels.shrink_map, labels.shrink_mask
        prob = hard_negative_bce(output.prob_logits.float(), shrink, mask, config.negative_ratio)
        logits = output.prob_logits if output.binary_logits is None else output.binary_logits
        logits = logits.float()
        if config.binary_loss == "bce":
            binary = hard_negative_bce(logits, shrink, mask, config.negative_ratio)
        else:
            binary = dice_loss(logits, shrink, mask)
        thresh = prob.new_zeros(())
        if output.thresh_map is not None:
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
    """Compute the mean cross-entropy over all positives and the hardest negatives of the batch.

    Args:
        logits: (B, h, w) float32.
        target: (B, h, w) float32: 1 is positive, 0 negative; a value between counts as both, by
            its share.
        mask: (B, h, w) float32: 0 where a pixel does not count, else 1.
        negative_ratio: Maximum number of negatives per positive.

    Returns:
        A scalar.
    """
    loss = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    positive = target * mask
    negative = (1 - target) * mask
    num_positives = positive.sum()
    num_negatives = int(min(float(negative.sum()), float(num_positives) * negative_ratio))
    hardest = (loss * negative).flatten().topk(num_negatives, sorted=False).values
    return ((loss * positive).sum() + hardest.sum()) / (num_positives + num_negatives).clamp(min=1)


def dice_loss(logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Compute the dice loss, 1 - 2 |X Y| / (|X| + |Y|), over the pixels that count.

    Args:
        logits: (B, h, w) float32; X is their sigmoid.
        target: (B, h, w) float32 in [0, 1]; Y.
        mask: (B, h, w) float32: 0 where a pixel does not count, else 1.

    Returns:
        A scalar.
    """
    probability = logits.sigmoid() * mask
    overlap = (probability * target).sum()
    total = probability.sum() + (target * mask).sum()
    return 1 - 2 * overlap / total.clamp(min=1e-6)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Average the values where the mask is 1; 0 if it is 1 nowhere.

    Args:
        values: (B, h, w) float32.
        mask: (B, h, w) float32, 0 or 1.

    Returns:
        A scalar.
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)
