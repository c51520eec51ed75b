# SPDX-License-Identifier: Apache-2.0
"""Deformable convolution compared with a direct evaluation of its equation."""

import math

import pytest
import torch
from dbnet_trt.network import dcn
from torch import Tensor


def direct(x: Tensor, offsets: Tensor, modulation: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Evaluate the equation, one output pixel and tap at a time."""
    batch, channels, height, width = x.shape
    out = torch.zeros(batch, weight.shape[0], *offsets.shape[-2:], dtype=x.dtype)

    def pixel(b: int, y: int, x_: int) -> Tensor:
        inside = 0 <= y < height and 0 <= x_ < width
        return x[b, :, y, x_] if inside else torch.zeros(channels, dtype=x.dtype)

    for b in range(batch):
        for row in range(offsets.shape[-2]):
            for column in range(offsets.shape[-1]):
                for tap in range(9):
                    y = row * stride + tap // 3 - 1 + float(offsets[b, 2 * tap, row, column])
                    x_ = column * stride + tap % 3 - 1 + float(offsets[b, 2 * tap + 1, row, column])
                    y0, x0 = math.floor(y), math.floor(x_)
                    value = (
                        pixel(b, y0, x0) * (y0 + 1 - y) * (x0 + 1 - x_)
                        + pixel(b, y0, x0 + 1) * (y0 + 1 - y) * (x_ - x0)
                        + pixel(b, y0 + 1, x0) * (y - y0) * (x0 + 1 - x_)
                        + pixel(b, y0 + 1, x0 + 1) * (y - y0) * (x_ - x0)
                    )
                    taps = weight[:, :, tap // 3, tap % 3] @ value
                    out[b, :, row, column] += taps * modulation[b, tap, row, column]
    return out


def random_arguments(
    size: tuple[int, int], stride: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    height, width = size
    out = (math.ceil(height / stride), math.ceil(width / stride))
    x = torch.randn(2, 3, height, width, generator=generator, dtype=dtype)
    offsets = 2 * torch.randn(2, 18, *out, generator=generator, dtype=dtype)
    modulation = torch.rand(2, 9, *out, generator=generator, dtype=dtype)
    weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=dtype)
    return x, offsets, modulation, weight


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8)])
def test_equals_the_equation(size: tuple[int, int], stride: int) -> None:
    arguments = random_arguments(size, stride, torch.float32)
    torch.testing.assert_close(
        dcn.deform_conv2d(*arguments, stride), direct(*arguments, stride), rtol=1e-4, atol=1e-4
    )


def test_without_offsets_it_is_a_convolution() -> None:
    torch.manual_seed(0)
    layer = dcn.DeformableConv2d(3, 4, 2)
    x = torch.randn(2, 3, 9, 11)
    plain = torch.nn.functional.conv2d(x, layer.weight, None, 2, 1)
    torch.testing.assert_close(layer(x), plain / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sampling is in fp32 on purpose; the numeric gradient needs fp64.
    monkeypatch.setattr(torch.Tensor, "float", lambda self: self)
    x, offsets, modulation, weight = random_arguments((4, 5), 1, torch.float64)
    # Bilinear interpolation has no derivative at whole pixels; avoid them.
    offsets = torch.floor(offsets) + 0.25 + 0.5 * (offsets - torch.floor(offsets))
    inputs = tuple(tensor.requires_grad_() for tensor in (x, offsets, modulation, weight))
    assert torch.autograd.gradcheck(
        lambda x, offsets, modulation, weight: dcn.deform_conv2d(x, offsets, modulation, weight, 1),
        inputs,
    )


def test_torchvision_operator_agrees_and_is_used() -> None:
    operator = dcn._torchvision_operator()
    if operator is None:
        pytest.skip("torchvision is not installed, or does not match torch")
    x, offsets, modulation, weight = random_arguments((9, 7), 1, torch.float32)
    torch.testing.assert_close(
        dcn.deform_conv2d(x, offsets, modulation, weight, 1),
        operator(x, offsets, weight, None, 1, 1, mask=modulation),
        rtol=1e-4,
        atol=1e-4,
    )


def test_torchvision_operator_is_used_if_present(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def operator(
        x: Tensor,
        offset: Tensor,
        weight: Tensor,
        bias: None,
        stride: int,
        padding: int,
        mask: Tensor,
    ) -> Tensor:
        calls.append((stride, padding))
        return dcn.deform_conv2d(x, offset, mask, weight, stride)

    monkeypatch.setattr(dcn, "_torchvision_operator", lambda: operator)
    dcn.DeformableConv2d(3, 4, 2)(torch.randn(1, 3, 8, 8))
    assert calls == [(2, 1)]


def test_half_precision_keeps_its_dtype_and_comes_close() -> None:
    torch.manual_seed(0)
    layer = dcn.DeformableConv2d(8, 8)
    torch.nn.init.normal_(layer.offset.weight, std=0.05)
    x = torch.randn(1, 8, 16, 16)
    exact = layer(x)
    half = layer.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.1, atol=0.1)
