# SPDX-License-Identifier: Apache-2.0
"""ONNX operations in PyTorch, as far as DB networks use them.

Each function takes the inputs of a node in ONNX's order (None for an omitted one) and its
attributes by name, and returns its output. Constant inputs that are not weights are plain numbers
or lists. A use that is not implemented raises NotImplementedError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .onnx_quantization import dequantize_linear, quantize_linear

Operation = Callable[..., Any]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    """Convolve (B, C, h, w) with (C', C / group, kh, kw)."""
    window = weight.shape[2:]
    pads = _window_pads(x, window, strides, pads, dilations, auto_pad)
    x, padding = _split_pads(x, pads)
    return functional.conv2d(x, weight, bias, tuple(strides), padding, tuple(dilations), group)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    output_padding: Sequence[int] = (0, 0),
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    """Convolve (B, C, h, w) with (C, C' / group, kh, kw), transposed."""
    top, left, bottom, right = pads
    if auto_pad != "NOTSET" or (top, left) != (bottom, right):
        raise NotImplementedError(f"pads {list(pads)}, auto_pad {auto_pad}")
    return functional.conv_transpose2d(
        x, weight, bias, tuple(strides), (top, left), tuple(output_padding), group,
        tuple(dilations),
    )  # fmt: skip


def batch_normalization(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    spatial: int = 1,
    training_mode: int = 0,
) -> Tensor:
    """Normalise each channel by the statistics in the file, in training, too."""
    if training_mode or not spatial:
        raise NotImplementedError("statistics other than those in the file")
    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)


def maximum(x: Tensor, limit: float) -> Tensor:
    """Replace values below a number by it."""
    if not isinstance(limit, float):
        raise NotImplementedError("of two tensors")
    return x.clamp(min=limit)


def max_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    ceil_mode: int = 0,
    storage_order: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    """Take the largest value of each window."""
    pads = _window_pads(x, kernel_shape, strides, pads, dilations, auto_pad)
    top, left, bottom, right = pads
    x = functional.pad(x, (left, right, top, bottom), value=-torch.inf)
    return functional.max_pool2d(
        x, tuple(kernel_shape), tuple(strides), 0, tuple(dilations), bool(ceil_mode)
    )


def average_pool(
    x: Tensor,
    *,
    kernel_shape: Sequence[int],
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    """Average each window."""
    top, left, bottom, right = pads
    if auto_pad not in ("NOTSET", "VALID") or (top, left) != (bottom, right):
        raise NotImplementedError(f"pads {list(pads)}, auto_pad {auto_pad}")
    return functional.avg_pool2d(
        x, tuple(kernel_shape), tuple(strides), (top, left), bool(ceil_mode),
        bool(count_include_pad),
    )  # fmt: skip


def global_average_pool(x: Tensor) -> Tensor:
    """Average (B, C, h, w) to (B, C, 1, 1)."""
    return x.mean(dim=(2, 3), keepdim=True)


def reduce_mean(
    x: Tensor,
    axes_input: Sequence[int] | None = None,
    *,
    axes: Sequence[int] = (),
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Tensor:
    """Average over some axes, or over all if none is named."""
    chosen = axes if axes_input is None else axes_input
    if not chosen and noop_with_empty_axes:
        return x
    return x.mean(dim=tuple(chosen) or tuple(range(x.ndim)), keepdim=bool(keepdims))


def clip(
    x: Tensor,
    low: float | None = None,
    high: float | None = None,
    *,
    min: float | None = None,
    max: float | None = None,
) -> Tensor:
    """Limit the values; the limits are inputs, or attributes before opset 11."""
    return x.clamp(min if low is None else low, max if high is None else high)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    """max(0, min(1, alpha x + beta))."""
    return (alpha * x + beta).clamp(0, 1)


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    """The input where it is positive, and alpha times it elsewhere."""
    return functional.leaky_relu(x, alpha)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    """Exponentials that sum to 1 along an axis."""
    return x.softmax(dim=axis)


def concat(*inputs: Any, axis: int) -> Any:
    """Join tensors along an axis, or lists of numbers."""
    if isinstance(inputs[0], list):
        return [number for each in inputs for number in each]
    return torch.cat(inputs, dim=axis)


def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> list[int]:
    """The sides of a tensor, as a list; the following operations take such lists."""
    return list(x.shape)[start:end]


def gather(sides: list[int], indices: Any, *, axis: int = 0) -> Any:
    """Pick some numbers of a list, or one."""
    if not isinstance(sides, list):
        raise NotImplementedError("on other than shapes")
    return [sides[i] for i in indices] if isinstance(indices, list) else sides[indices]


def slice_list(
    sides: list[int], starts: Sequence[int], ends: Sequence[int], *axes_and_steps: Sequence[int]
) -> list[int]:
    """Cut a part out of a list."""
    axes_and_steps = axes_and_steps or ([0],)
    if not isinstance(sides, list) or [*axes_and_steps, [1]][:2] != [[0], [1]]:
        raise NotImplementedError("on other than shapes")
    return sides[starts[0] : ends[0]]


def resize(
    x: Tensor,
    roi: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    sizes: Sequence[int] | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
) -> Tensor:
    """Enlarge (B, C, h, w) by whole factors, to the nearest pixel or linearly."""
    if sizes:
        factors = [size / side for size, side in zip(sizes, x.shape, strict=True)]
    elif scales:
        factors = list(scales)
    else:
        raise NotImplementedError("neither scales nor sizes")
    whole = [round(factor) for factor in factors]
    if whole != factors or whole[:2] != [1, 1]:
        raise NotImplementedError(f"factors {factors}")
    # By a whole factor k, nearest repeats each pixel k times where coordinates are x / k floored,
    # or (x + 0.5) / k - 0.5 rounded.
    ways = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"),
            ("pytorch_half_pixel", "round_prefer_floor")}  # fmt: skip
    if mode == "nearest" and (coordinate_transformation_mode, nearest_mode) in ways:
        return functional.interpolate(x, scale_factor=whole[2:], mode="nearest")
    if mode == "linear" and coordinate_transformation_mode.endswith("half_pixel"):
        return functional.interpolate(x, scale_factor=whole[2:], mode="bilinear")
    if mode == "linear" and coordinate_transformation_mode == "align_corners":
        size = [k * side for k, side in zip(whole[2:], x.shape[2:], strict=True)]
        return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
    raise NotImplementedError(f"{mode}, {coordinate_transformation_mode}, {nearest_mode}")


def upsample(x: Tensor, scales: Sequence[float], *, mode: str = "nearest") -> Tensor:
    """Enlarge as `Resize` does; the operation of opsets before 10."""
    return resize(
        x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )  # fmt: skip


def squeeze(
    x: Tensor, axes_input: Sequence[int] | None = None, *, axes: Sequence[int] = ()
) -> Tensor:
    """Drop axes of length 1."""
    chosen = axes if axes_input is None else axes_input
    return x.squeeze(tuple(chosen)) if chosen else x.squeeze()


def unsqueeze(x: Any, axes_input: Sequence[int] | None = None, *, axes: Sequence[int] = ()) -> Any:
    """Add axes of length 1; a number becomes a list."""
    chosen = axes if axes_input is None else axes_input
    if isinstance(x, int):
        return [x]
    ndim = x.ndim + len(chosen)
    for axis in sorted(axis % ndim for axis in chosen):
        x = x.unsqueeze(axis)
    return x


def dropout(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """Leave the input as it is, as in evaluation."""
    return x


def cast(x: Any, *, to: int, saturate: int = 1) -> Any:
    """Leave the input as it is: the network computes in one precision throughout."""
    return x


def _window_pads(
    x: Tensor,
    window: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    auto_pad: str,
) -> Sequence[int]:
    """Padding (top, left, bottom, right) of a node, in pixels."""
    if auto_pad == "NOTSET":
        return pads
    if auto_pad == "VALID":
        return (0, 0, 0, 0)
    totals = []
    for side, kernel, stride, dilation in zip(x.shape[2:], window, strides, dilations, strict=True):
        reach = (kernel - 1) * dilation + 1
        totals.append(max((-(-side // stride) - 1) * stride + reach - side, 0))
    less, more = [total // 2 for total in totals], [-(-total // 2) for total in totals]
    return (*less, *more) if auto_pad == "SAME_UPPER" else (*more, *less)


def _split_pads(x: Tensor, pads: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    """Leave even padding to the convolution, which is faster; pad unevenly beforehand."""
    top, left, bottom, right = pads
    if (top, left) == (bottom, right):
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom)), (0, 0)


ARITHMETIC = ("Add", "Div", "Mul", "Sub")
"""Operations on two tensors, of which either may be a weight."""

OPERATIONS: dict[str, Operation] = {
    "Add": torch.add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DequantizeLinear": dequantize_linear,
    "Div": torch.div,
    "Dropout": dropout,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Gather": gather,
    "GlobalAveragePool": global_average_pool,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "LeakyRelu": leaky_relu,
    "Max": maximum,
    "MaxPool": max_pool,
    "Mul": torch.mul,
    "QuantizeLinear": quantize_linear,
    "ReduceMean": reduce_mean,
    "Relu": torch.relu,
    "Resize": resize,
    "Shape": shape,
    "Sigmoid": torch.sigmoid,
    "Slice": slice_list,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Unsqueeze": unsqueeze,
    "Upsample": upsample,
}
"""Functions by the name of the ONNX operation."""
