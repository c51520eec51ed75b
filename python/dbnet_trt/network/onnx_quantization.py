# SPDX-License-Identifier: Apache-2.0
"""Quantization nodes (Q/DQ) in PyTorch, trained through: quantization-aware training.

Rounding has no gradient of its own; here it passes the gradient on as it is (the straight-through
estimator, https://arxiv.org/abs/1308.3432). Values beyond the limits get none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

RANGES = {np.dtype(np.int8): (-128, 127), np.dtype(np.uint8): (0, 255)}
"""Smallest and largest number of the types that a tensor is quantized to."""


def quantize_linear(
    x: Tensor,
    scale: Tensor,
    zero_point: NDArray[Any] | None = None,
    *,
    axis: int = 1,
    saturate: int = 1,
) -> Tensor:
    """Quantize to whole numbers, round(x / scale) + zero point, kept as float32.

    Args:
        x: Values of any shape.
        scale: () or (1,) float32, or (C,) for each index along `axis`.
        zero_point: int8 or uint8 of the scale's shape; None is 0 in uint8.
        axis: Axis of x that the scales belong to.
        saturate: Used by ONNX for 8-bit floats only.
    """
    zero_point = np.zeros(1, np.uint8) if zero_point is None else zero_point
    if zero_point.dtype not in RANGES:
        raise NotImplementedError(f"{zero_point.dtype} instead of int8 or uint8")
    low, high = RANGES[zero_point.dtype]
    offset = _along(scale.new_tensor(zero_point.astype(np.float32)), x, axis)
    return _round(x / _along(scale, x, axis), low - offset, high - offset) + offset


def dequantize_linear(
    x: Tensor, scale: Tensor, zero_point: NDArray[Any] | None = None, *, axis: int = 1
) -> Tensor:
    """(x - zero point) scale; the arguments are those of `quantize_linear`."""
    if zero_point is not None and zero_point.any():
        x = x - _along(scale.new_tensor(zero_point.astype(np.float32)), x, axis)
    return x * _along(scale, x, axis)


def quantize_weight(weight: Tensor, scale: Tensor, limit: Tensor, axis: int) -> Tensor:
    """Quantize a trained weight to whole numbers, kept as float32.

    Args:
        weight: Weight of any shape in real units.
        scale: () or (1,) float32, or (C,) for each index along `axis`.
        limit: Largest magnitude of a quantized weight, at most 127.
        axis: Axis of the weight that the scales belong to.
    """
    return _round(weight / _along(scale, weight, axis), -limit, limit)


def _round(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    x = x.clamp(low, high)
    return x + (x.round() - x).detach()


def _along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Shape values so that they apply along an axis of x."""
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return values.reshape(shape)
