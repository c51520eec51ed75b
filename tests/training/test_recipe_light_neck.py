# SPDX-License-Identifier: Apache-2.0
"""The head reads the new neck's features as it read the old one's."""

from typing import Any

import light_neck
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper


def make_network() -> onnx.ModelProto:
    """A network with levels and features of the names and sizes that the recipe expects."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def add(operation: str, output: str, tensor: str, shape: tuple[int, ...], **more: Any) -> None:
        weight = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        weights.append(numpy_helper.from_array(weight.astype(np.float32), f"{output}.weight"))
        nodes.append(helper.make_node(operation, [tensor, f"{output}.weight"], [output], **more))

    before, channels, stride = "x", 3, 4
    for name, count in light_neck.LEVELS.values():
        add("Conv", name, before, (count, channels, stride, stride), strides=[stride, stride])
        before, channels, stride = name, count, 2
    first, channels = light_neck.LEVELS[2]
    add("Conv", light_neck.FEATURES, first, (light_neck.NUM_FEATURES, channels, 1, 1))
    nodes.append(helper.make_node("Relu", [light_neck.FEATURES], ["relu"]))
    add("ConvTranspose", "map", "relu", (light_neck.NUM_FEATURES, 1, 4, 4), strides=[4, 4])
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, "h", "w"])
    result = helper.make_tensor_value_info("map", TensorProto.FLOAT, ["b", 1, "h", "w"])
    graph = helper.make_graph(nodes, "network", [image], [result], weights)
    opsets = [helper.make_opsetid("", 11)]  # that of PP-OCRv4
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def run(model: onnx.ModelProto, image: np.ndarray, *outputs: str) -> list[Any]:
    for name in {*outputs} - {each.name for each in model.graph.output}:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return list(session.run(outputs, {"x": image}))


def put_into_node(graph: onnx.GraphProto, name: str) -> None:
    """Turn a weight into a Constant node, as PaddleOCR's files have them."""
    (index,) = (i for i, each in enumerate(graph.initializer) if each.name == name)
    node = helper.make_node("Constant", [], [name], value=graph.initializer[index])
    graph.node.insert(0, node)
    del graph.initializer[index]


@pytest.mark.parametrize("is_node", [False, True])
def test_head_reads_the_new_features(rng: np.random.Generator, is_node: bool) -> None:
    model = make_network()
    if is_node:
        put_into_node(model.graph, "map.weight")
    image = rng.normal(size=(2, 3, 64, 96)).astype(np.float32)
    light = light_neck.add_neck(model, light_neck.Neck(dict.fromkeys(light_neck.LEVELS, 1.0)))
    scale = rng.uniform(0.1, 2, (1, light_neck.NUM_FEATURES, 1, 1)).astype(np.float32)
    light_neck.remove_old_neck(light.graph, scale)
    assert light_neck.FEATURES not in {name for node in light.graph.node for name in node.output}
    found, features = run(light, image, "map", "neck/features")
    assert features.shape == (2, light_neck.NUM_FEATURES, 16, 24)

    # The old network, with these features times the scale in place of its own
    del model.graph.node[[node.output[0] for node in model.graph.node].index(light_neck.FEATURES)]
    model.graph.input.append(
        helper.make_tensor_value_info(light_neck.FEATURES, TensorProto.FLOAT, list(features.shape))
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(["map"], {"x": image, light_neck.FEATURES: features * scale})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1
