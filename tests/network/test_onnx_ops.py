# SPDX-License-Identifier: Apache-2.0
"""Each ONNX operation gives in PyTorch what it gives in ONNX Runtime."""

import io
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from dbnet_trt.network.onnx_graph import OnnxGraph
from dbnet_trt.network.onnx_ops import OPERATIONS
from onnx import helper
from torch import nn
from torch.nn import functional

from .graphs import make_graph, run_onnx

F = np.float32
rng = np.random.default_rng(5)
W = rng.normal(size=(6, 4, 3, 3)).astype(F)
PAIR = rng.normal(size=(6, 4, 2, 2)).astype(F)
UP = rng.normal(size=(4, 6, 2, 2)).astype(F)
BIAS = rng.normal(size=6).astype(F)
CHANNEL = rng.normal(size=(1, 4, 1, 1)).astype(F)
STATISTICS = [np.abs(rng.normal(size=4)).astype(F) + 0.1 for _ in range(4)]
DOUBLE = np.array([1, 1, 2, 2], F)
ASYMMETRIC = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}

CASES: list[tuple[str, tuple[Any, ...], dict[str, Any], int]] = [
    ("Add", (CHANNEL,), {}, 13),
    ("Add", (F(3),), {}, 13),
    ("AveragePool", (), {"kernel_shape": [2, 2], "strides": [2, 2]}, 13),
    ("AveragePool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}, 13),
    ("AveragePool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}, 13),
    ("BatchNormalization", tuple(STATISTICS), {"epsilon": 1e-3}, 9),
    ("Cast", (), {"to": 1}, 13),
    ("Clip", (F(0), F(0.5)), {}, 13),
    ("Clip", (F(0),), {}, 13),
    ("Clip", (None, F(0.5)), {}, 13),
    ("Clip", (), {"min": 0.0, "max": 0.5}, 10),
    ("Conv", (W, BIAS), {}, 13),
    ("Conv", (W,), {"pads": [1, 1, 1, 1], "strides": [2, 2], "kernel_shape": [3, 3]}, 13),
    ("Conv", (W,), {"pads": [2, 2, 2, 2], "dilations": [2, 2]}, 13),
    ("Conv", (W,), {"pads": [0, 1, 1, 0]}, 13),
    ("Conv", (W[:4, :1],), {"group": 4, "pads": [1, 1, 1, 1]}, 13),
    ("Conv", (PAIR,), {"auto_pad": "SAME_UPPER"}, 13),
    ("Conv", (PAIR,), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, 13),
    ("Conv", (PAIR,), {"auto_pad": "VALID"}, 13),
    ("ConvTranspose", (UP, BIAS), {"strides": [2, 2]}, 13),
    ("ConvTranspose", (W[:4].transpose(1, 0, 2, 3),),
     {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}, 13),
    ("Div", (F(6),), {}, 13),
    ("Dropout", (), {}, 13),
    ("Erf", (), {}, 13),
    ("Exp", (), {}, 13),
    ("GlobalAveragePool", (), {}, 13),
    ("HardSigmoid", (), {"alpha": 1 / 6, "beta": 0.5}, 13),
    ("HardSwish", (), {}, 14),
    ("Identity", (), {}, 13),
    ("LeakyRelu", (), {"alpha": 0.1}, 13),
    ("Max", (F(0.3),), {}, 13),
    ("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}, 13),
    ("MaxPool", (), {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}, 13),
    ("MaxPool", (), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, 13),
    ("Mul", (CHANNEL,), {}, 13),
    ("ReduceMean", (), {"axes": [2, 3]}, 13),
    ("ReduceMean", (), {"axes": [1], "keepdims": 1}, 13),
    ("ReduceMean", (np.array([2, 3], np.int64),), {}, 18),
    ("Relu", (), {}, 13),
    ("Resize", (None, DOUBLE), {"mode": "nearest", **ASYMMETRIC}, 13),
    ("Resize", (None, DOUBLE), {"mode": "nearest"}, 13),
    ("Resize", (None, np.array([1, 1, 8, 4], F)), {"mode": "nearest", **ASYMMETRIC}, 13),
    ("Resize", (None, DOUBLE), {"mode": "linear"}, 13),
    ("Resize", (None, DOUBLE),
     {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, 13),
    ("Resize", (None, None, np.array([2, 4, 14, 18])), {"mode": "nearest", **ASYMMETRIC}, 13),
    ("Sigmoid", (), {}, 13),
    ("Softmax", (), {"axis": 1}, 13),
    ("Squeeze", (np.array([1], np.int64),), {}, 13),
    ("Squeeze", (), {"axes": [1]}, 12),
    ("Sub", (CHANNEL,), {}, 13),
    ("Tanh", (), {}, 13),
    ("Unsqueeze", (np.array([1], np.int64),), {}, 13),
    ("Upsample", (DOUBLE,), {"mode": "nearest"}, 9),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "constants", "attributes", "opset"), CASES, ids=str)
def test_an_operation(
    operation: str, constants: tuple[Any, ...], attributes: dict[str, Any], opset: int
) -> None:
    names = [f"c{i}" if value is not None else "" for i, value in enumerate(constants)]
    values = {name: value for name, value in zip(names, constants, strict=True) if name}
    node = helper.make_node(operation, ["x", *names], ["y"], **attributes)
    model = make_graph([node], values, "y", opset=opset)
    channels = 1 if operation == "Squeeze" else 4
    x = rng.normal(size=(2, channels, 7, 9)).astype(F)
    with torch.inference_mode():
        (found,) = OnnxGraph(model, ("y",))(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), run_onnx(model, x), rtol=0, atol=1e-5)


def test_concat() -> None:
    node = helper.make_node("Concat", ["x", "x"], ["y"], axis=1)
    model = make_graph([node], {}, "y")
    x = rng.normal(size=(2, 4, 7, 9)).astype(F)
    (found,) = OnnxGraph(model, ("y",))(torch.from_numpy(x))
    np.testing.assert_array_equal(found.numpy(), run_onnx(model, x))


@pytest.mark.parametrize(
    ("scale", "zero_point", "attributes"),
    [
        (F(0.02), np.int8(0), {}),
        (F(0.02), np.uint8(100), {}),
        (F(0.02), None, {}),
        (np.array([0.01, 0.02, 0.03, 0.04], F), np.array([0, 5, -7, 0], np.int8), {}),
        (np.linspace(0.01, 0.03, 7, dtype=F), np.zeros(7, np.int8), {"axis": 2}),
    ],
)
def test_quantization(scale: Any, zero_point: Any, attributes: dict[str, Any]) -> None:
    """The same whole numbers, halves and values beyond the limits included."""
    constants: dict[str, Any] = {"scale": scale}
    if zero_point is not None:
        constants["zero"] = zero_point
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *constants], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", *constants], ["y"], **attributes),
    ]
    model = make_graph(nodes, constants, "y")
    x = rng.normal(size=(2, 4, 7, 9)).astype(F)
    x[0, :, :, 0] = F(0.02) * F(2.5)
    assert np.abs(x).max() > 128 * np.min(scale)
    with torch.inference_mode():
        (found,) = OnnxGraph(model, ("y",))(torch.from_numpy(x))
    np.testing.assert_allclose(found.numpy(), run_onnx(model, x), rtol=0, atol=1e-6)


def test_gradients_pass_rounding_but_not_the_limits() -> None:
    constants: dict[str, Any] = {"scale": F(0.1), "zero": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *constants], ["q"]),
        helper.make_node("DequantizeLinear", ["q", *constants], ["y"]),
    ]
    graph = OnnxGraph(make_graph(nodes, constants, "y"), ("y",))
    x = torch.tensor([[[[-20.0, -1.234, 0.06, 20.0]]]], requires_grad=True)
    graph(x)[0].sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad.flatten(), torch.tensor([0.0, 1.0, 1.0, 0.0]))


class Pyramid(nn.Module):
    """Enlarges to the size of another map, as FPNs of mmocr do, which exporters trace to shapes."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 3, 4, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.mode = mode

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        fine = self.fine(images)
        coarse = functional.interpolate(self.coarse(fine), size=fine.shape[2:], mode=self.mode)
        return torch.cat([fine, coarse], dim=1)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.filterwarnings("ignore")
def test_shapes(mode: str) -> None:
    """Sizes that a graph computes from shapes."""
    file = io.BytesIO()
    torch.onnx.export(
        Pyramid(mode), (torch.zeros(1, 3, 64, 96),), file, input_names=["x"],  # type: ignore[arg-type]
        output_names=["y"], dynamic_axes={"x": {0: "batch", 2: "height", 3: "width"}},
        opset_version=13, dynamo=False,
    )  # fmt: skip
    model = onnx.load_from_string(file.getvalue())
    assert {"Shape", "Gather", "Slice"} <= {node.op_type for node in model.graph.node}
    x = rng.normal(size=(2, 3, 128, 64)).astype(F)
    (found,) = OnnxGraph(model, ("y",))(torch.from_numpy(x))
    np.testing.assert_allclose(found.detach().numpy(), run_onnx(model, x), rtol=0, atol=1e-5)


def test_all_are_tested() -> None:
    more = {"Concat", "Shape", "Gather", "Slice", "QuantizeLinear", "DequantizeLinear"}
    assert {case[0] for case in CASES} | more == OPERATIONS.keys()
