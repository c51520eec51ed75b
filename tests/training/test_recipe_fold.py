# SPDX-License-Identifier: Apache-2.0
"""A folded network has fewer nodes and the same map."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fold import fold_arithmetic
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 4


class Network:
    """A network that is built node by node; each method returns the new map's name."""

    def __init__(self, opset: int = 11, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def add(self, operation: str, *inputs: str, **attributes: Any) -> str:
        output = f"map{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [output], **attributes))
        return output

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def number(self, operation: str, map_: str, value: float, first: bool = False) -> str:
        inputs = (map_, self.constant([value]))
        return self.add(operation, *(inputs[::-1] if first else inputs))

    def conv(
        self, map_: str, kernel: int = 1, *, bias: bool = True, depthwise: bool = False
    ) -> str:
        groups = CHANNELS if depthwise else 1
        weight = self.rng.normal(0, 0.4, (CHANNELS, CHANNELS // groups, kernel, kernel))
        inputs = [map_, self.constant(weight)]
        if bias:
            inputs.append(self.constant(self.rng.normal(size=CHANNELS)))
        return self.add("Conv", *inputs, group=groups, pads=[kernel // 2] * 4)

    def transposed(self, map_: str) -> str:
        weight = self.constant(self.rng.normal(0, 0.4, (CHANNELS, CHANNELS // 2, 2, 2)))
        return self.add("ConvTranspose", map_, weight, strides=[2, 2], group=2)

    def hard_swish(self, x: str, clipped_first: bool = False) -> str:
        total = self.number("Add", x, 3.0)
        clipped = self.add("Clip", total, self.constant(0.0), self.constant(6.0))
        product = self.add("Mul", *((clipped, x) if clipped_first else (x, clipped)))
        return self.number("Div", product, 6.0)

    def model(self, *outputs: str) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", CHANNELS, "h", "w"])
        shape = [None] * 4
        results = [
            helper.make_tensor_value_info(each, TensorProto.FLOAT, shape) for each in outputs
        ]
        graph = helper.make_graph(self.nodes, "network", [image], results, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model: onnx.ModelProto) -> list[NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    x = np.random.default_rng(1).normal(0, 2, (2, CHANNELS, 6, 7)).astype(np.float32)
    return list(session.run(None, {"x": x}))


def fold(model: onnx.ModelProto) -> dict[str, int]:
    """Fold, check that the maps are the same, and count the operations that are left."""
    before, num_nodes = run(model), len(model.graph.node)
    names = [each.name for each in model.graph.output]
    num_less = fold_arithmetic(model)
    assert num_less == num_nodes - len(model.graph.node)
    onnx.checker.check_model(model, full_check=True)
    assert [each.name for each in model.graph.output] == names
    for expected, found in zip(before, run(model), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(expected).max() > 1e-3
    return dict(collections.Counter(node.op_type for node in model.graph.node))


@pytest.mark.parametrize(
    ("opset", "activations"), [(11, {"HardSigmoid": 2, "Mul": 2}), (14, {"HardSwish": 2})]
)
def test_block_of_paddleocr(opset: int, activations: dict[str, int]) -> None:
    network = Network(opset)
    x = "x"
    for kernel in (3, 1):
        x = network.conv(x, kernel, depthwise=kernel == 3, bias=kernel == 1)
        x = network.number("Mul", x, 1.7, first=True)
        x = network.number("Add", x, -0.4)
        x = network.hard_swish(x, clipped_first=kernel == 3)
        x = network.number("Mul", x, 0.6)
        x = network.number("Add", x, 0.9, first=True)
    model = network.model(network.conv(x, 3))
    # What is added before padding stays.
    assert fold(model) == {"Conv": 3, "Add": 1, **activations}
    assert "constant1" not in {each.name for each in model.graph.initializer}


@pytest.mark.parametrize("times", [1, 2])
def test_map_with_several_users(times: int) -> None:
    network = Network()
    x = network.number("Mul", network.add("Relu", "x"), 0.5)
    outputs = [network.conv(x), network.transposed(x), network.conv(x, 3)][: times + 1]
    assert "Mul" not in fold(network.model(*outputs))


def test_weights_in_half() -> None:
    network = Network()
    weight = network.constant(network.rng.normal(size=(CHANNELS, CHANNELS, 1, 1)), np.float16)
    cast = network.add("Cast", weight, to=TensorProto.FLOAT)
    x = network.add("Conv", "x", network.add("Identity", cast))
    assert fold(network.model(network.number("Mul", x, 3.0))) == {"Conv": 1}


def test_constant_nodes() -> None:
    network = Network()
    value = numpy_helper.from_array(np.array(2.0, np.float32))
    x = network.add("Mul", network.conv("x"), network.add("Constant", value=value))
    assert fold(network.model(x)) == {"Conv": 1}


def other_tensor(network: Network) -> str:
    tensor = network.constant(network.rng.normal(size=(1, CHANNELS, 1, 1)))
    return network.add("Mul", network.conv("x"), tensor)


def two_users(network: Network) -> str:
    x = network.conv("x")
    return network.add("Add", network.number("Mul", x, 2.0), x)


def relu_between(network: Network) -> str:
    return network.number("Mul", network.add("Relu", network.conv("x")), 2.0)


def another_swish(network: Network) -> str:
    total = network.number("Add", "x", 3.0)
    clipped = network.add("Clip", total, network.constant(0.0), network.constant(5.0))
    return network.number("Div", network.add("Mul", "x", clipped), 6.0)


def swish_of_two(network: Network) -> str:
    total = network.number("Add", "x", 3.0)
    clipped = network.add("Clip", total, network.constant(0.0), network.constant(6.0))
    other = network.add("Relu", "x")
    return network.number("Div", network.add("Mul", other, clipped), 6.0)


def six_over(network: Network) -> str:
    x = network.add("Sigmoid", "x")
    return network.number("Div", x, 6.0, first=True)


def gelu(network: Network) -> str:
    total = network.number("Add", network.add("Erf", "x"), 1.0)
    half = network.number("Mul", network.add("Mul", "x", total), 0.5)
    return network.conv(half)


def sum_before_padding(network: Network) -> str:
    return network.conv(network.number("Add", network.add("Relu", "x"), 1.0), 3)


def sum_before_transposed(network: Network) -> str:
    return network.transposed(network.number("Add", network.add("Relu", "x"), 1.0))


@pytest.mark.parametrize(
    "build",
    [
        other_tensor, two_users, relu_between, another_swish, swish_of_two, six_over, gelu,
        sum_before_padding, sum_before_transposed,
    ],
)  # fmt: skip
def test_what_stays(build: Any) -> None:
    network = Network()
    model = network.model(build(network))
    before = collections.Counter(node.op_type for node in model.graph.node)
    assert fold(model) == dict(before)


def test_output_stays_what_it_was() -> None:
    network = Network()
    x = network.conv("x")
    scaled = network.number("Mul", x, 2.0)
    model = network.model(x, scaled, network.conv(scaled))
    assert fold(model) == {"Conv": 2, "Mul": 1}


@pytest.mark.parametrize("seed", range(30))
def test_random_networks(seed: int) -> None:
    network = Network(opset=11 + 3 * (seed % 2), seed=seed)
    rng = np.random.default_rng(seed)
    maps = ["x"]
    for _ in range(20):
        x = maps[-1] if rng.random() < 0.7 else maps[int(rng.integers(len(maps)))]
        value, first = float(rng.normal(0, 1.5)), bool(rng.random() < 0.5)
        choices: Sequence[Any] = (
            lambda x=x, v=value, f=first: network.number("Mul", x, v, f),
            lambda x=x, v=value, f=first: network.number("Add", x, v, f),
            lambda x=x, f=first: network.conv(x, 3, depthwise=f),
            lambda x=x, f=first: network.conv(x, bias=f),
            lambda x=x, f=first: network.hard_swish(x, f),
            lambda x=x: network.add("Tanh", x),
        )
        maps.append(choices[int(rng.integers(len(choices)))]())
    kept = [maps[-1], *(each for each in maps[1:-1] if rng.random() < 0.1)]
    fold(network.model(*dict.fromkeys(kept)))
