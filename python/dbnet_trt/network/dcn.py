# SPDX-License-Identifier: Apache-2.0
"""Modulated deformable convolution (DCNv2) from operators that every runtime has.

This is a 3x3 convolution that reads each of its nine taps at a learned offset and with a learned
weight. Each tap is one bilinear sampling (`grid_sample`) and one 1x1 convolution, which export to
standard ONNX. If torchvision is installed, its operator computes the same faster.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_TAPS = 9


class DeformableConv2d(nn.Module):
    """Deformable 3x3 convolution with padding 1 and without bias.

    Untrained, all offsets are 0 and all modulations 0.5: half the plain convolution's output.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.exports_one_node = False  # False exports nine samplings and convolutions
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        # Output channels: (dy, dx) of each tap, then one modulation logit per tap.
        self.offset = nn.Conv2d(in_channels, 3 * NUM_TAPS, 3, stride, 1)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h / stride, w / stride), rounded up."""
        predicted = self.offset(x).float()
        offsets, modulation = predicted[:, : 2 * NUM_TAPS], predicted[:, 2 * NUM_TAPS :].sigmoid()
        if self.exports_one_node and _exporting():
            # Offsets are relative and small, so fp16 represents them in a network in fp16.
            small = (offsets.to(x.dtype), modulation.to(x.dtype))
            one_node: Tensor = _one_node_operator()(x, *small, self.weight, self.stride)
            return one_node
        operator = None if _exporting() else _torchvision_operator()
        if operator is None:
            return deform_conv2d(x, offsets, modulation, self.weight, self.stride)
        result: Tensor = operator(
            x.float(), offsets, self.weight.float(), None, self.stride, 1, mask=modulation
        )
        return result.to(x.dtype)


def deform_conv2d(
    x: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, stride: int
) -> Tensor:
    """Convolve with a 3x3 kernel whose taps are displaced and weighted; padding 1.

    y(p) = sum over taps k of w_k x(p + p_k + dp_k) dm_k, where x is 0 outside and bilinear between
    pixels (Zhu et al., Deformable ConvNets v2, equation 1).

    Args:
        x: (B, C, h, w) input, of any floating-point type.
        offsets: (B, 18, h', w') float32: (dy, dx) in pixels of x for each tap, row by row.
        modulation: (B, 9, h', w') float32: dm in [0, 1].
        weight: (C', C, 3, 3) kernel.
        stride: Step between outputs in pixels of x: h' = ceil(h / stride), w' likewise.

    Returns:
        (B, C', h', w') output, of x's type.
    """
    height, width = x.shape[-2:]
    rows = torch.arange(offsets.shape[-2], device=x.device, dtype=offsets.dtype) * stride
    columns = torch.arange(offsets.shape[-1], device=x.device, dtype=offsets.dtype) * stride
    total: Tensor | None = None
    for tap in range(NUM_TAPS):
        y = rows[:, None] + (tap // 3 - 1) + offsets[:, 2 * tap]
        x_ = columns + (tap % 3 - 1) + offsets[:, 2 * tap + 1]
        grid = torch.stack([(2 * x_ + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        # Sample in fp32 even in half precision: fp16 coordinates cannot separate the pixels of a
        # wide map.
        sampled = functional.grid_sample(x.float(), grid, "bilinear", "zeros", align_corners=False)
        weighted = (sampled * modulation[:, tap : tap + 1]).to(x.dtype)
        part = functional.conv2d(weighted, weight[:, :, tap // 3, tap % 3, None, None].to(x.dtype))
        total = part if total is None else total + part
    assert total is not None
    return total


@cache
def _one_node_operator() -> Any:
    """Register `deform_conv2d` as an operator that is exported as one ONNX DeformConv."""
    from torch.onnx import symbolic_helper
    from torch.onnx.utils import register_custom_op_symbolic

    def run(x: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, stride: int) -> Tensor:
        return deform_conv2d(x, offsets.float(), modulation.float(), weight, stride)

    @symbolic_helper.parse_args("v", "v", "v", "v", "i")
    def write(g: Any, x: Any, offsets: Any, modulation: Any, weight: Any, stride: int) -> Any:
        kind = weight.type()
        bias = g.op("Constant", value_t=torch.zeros(kind.sizes()[0], dtype=kind.dtype()))
        inputs = (x, weight, offsets, bias, modulation)
        sizes = {"kernel_shape_i": [3, 3], "pads_i": [1, 1, 1, 1], "strides_i": [stride, stride]}
        return g.op("DeformConv", *inputs, **sizes)

    name = "dbnet_trt::deform_conv2d"
    register_custom_op_symbolic(name, write, 19)
    return torch.library.custom_op(name, run, mutates_args=())


def _exporting() -> bool:
    return torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()


@cache
def _torchvision_operator() -> Any:
    """Return torchvision's operator, or None if torchvision is missing or does not match torch."""
    try:
        from torchvision.ops import deform_conv2d as operator
    except (ImportError, RuntimeError):
        return None
    return operator
