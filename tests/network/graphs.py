# SPDX-License-Identifier: Apache-2.0
"""Small ONNX graphs for tests, and what ONNX Runtime makes of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from dbnet_trt.card import ModelCard
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
CARD = ModelCard("small", channel_order="bgr", short_side=128, score_threshold=0.5)


def make_graph(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array],
    output: str,
    *,
    opset: int = 13,
    float_type: int = TensorProto.FLOAT,
    channels: int | None = None,
) -> onnx.ModelProto:
    """A graph of one input x, (B, C, h, w), and one output; `channels` makes that a map, too."""
    dims: list[str | int | None] = ["batch", None, "height", "width"]
    of_output = None if channels is None else [*dims[:1], channels, *dims[2:]]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", float_type, dims)],
        [helper.make_tensor_value_info(output, float_type, of_output)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run_onnx(model: onnx.ModelProto, x: Array) -> Array:
    """The first output, by ONNX Runtime."""
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def make_detector(path: Path | None = None, *, sigmoid: bool = True) -> onnx.ModelProto:
    """A DB network of two levels: hard swish, squeeze and excite, Concat, a head with a norm."""
    rng = np.random.default_rng(3)

    def weight(*shape: int) -> Array:
        return rng.normal(0, 0.5 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)

    def number(value: float) -> Array:
        return np.array(value, np.float32)

    constants = {
        "stem.w": weight(8, 3, 3, 3), "stem.b": weight(8),
        "three": number(3), "zero": number(0), "six": number(6),
        "down.w": weight(8, 1, 3, 3), "deep.w": weight(8, 8, 1, 1), "deep.b": weight(1, 8, 1, 1),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "head.w": weight(4, 16, 3, 3), "norm.scale": 1 + weight(4), "norm.bias": weight(4),
        "norm.mean": weight(4), "norm.var": np.array([0.5, 1, 1.5, 2], np.float32),
        "up1.w": weight(4, 4, 2, 2), "up1.b": weight(1, 4, 1, 1),
        "up2.w": weight(4, 1, 2, 2), "up2.b": weight(1, 1, 1, 1) - 1,
    }  # fmt: skip
    node = helper.make_node
    wide: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "stem.w", "stem.b"], ["stem"], strides=[4, 4], **wide),
        node("Add", ["stem", "three"], ["shifted"]),
        node("Clip", ["shifted", "zero", "six"], ["clipped"]),
        node("Mul", ["stem", "clipped"], ["gated"]),
        node("Div", ["gated", "six"], ["fine"]),
        node("Conv", ["fine", "down.w"], ["down"], strides=[2, 2], group=8, **wide),
        node("GlobalAveragePool", ["down"], ["pooled"]),
        node("HardSigmoid", ["pooled"], ["gate"], alpha=0.2, beta=0.5),
        node("Mul", ["down", "gate"], ["excited"]),
        node("Conv", ["excited", "deep.w"], ["mixed"]),
        node("Add", ["mixed", "deep.b"], ["deep"]),
        node("Resize", ["deep", "", "scales"], ["enlarged"], mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("Concat", ["fine", "enlarged"], ["features"], axis=1),
        node("Conv", ["features", "head.w"], ["h1"], **wide),
        node("BatchNormalization", ["h1", "norm.scale", "norm.bias", "norm.mean", "norm.var"],
             ["h2"]),
        node("Relu", ["h2"], ["h3"]),
        node("ConvTranspose", ["h3", "up1.w"], ["h4"], strides=[2, 2]),
        node("Add", ["h4", "up1.b"], ["h5"]),
        node("Relu", ["h5"], ["h6"]),
        node("ConvTranspose", ["h6", "up2.w"], ["h7"], strides=[2, 2]),
        node("Add", ["h7", "up2.b"], ["logits"]),
        node("Sigmoid", ["logits"], ["map"]),
    ]  # fmt: skip
    output = "map" if sigmoid else "logits"
    model = make_graph(nodes if sigmoid else nodes[:-1], constants, output, channels=1)
    if path is not None:
        onnx.save(model, path)
    return model


def quantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize the convolution "head" of `make_detector` to int8, the weight to 7 bits."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, node = copy.graph, helper.make_node
    (weight,) = (tensor for tensor in graph.initializer if tensor.name == "head.w")
    value = numpy_helper.to_array(weight)
    scale = np.abs(value).max(axis=(1, 2, 3)) / np.float32(63)
    levels = np.rint(value / scale[:, None, None, None]).astype(np.int8)
    graph.initializer.remove(weight)
    arrays = {
        "head.q": levels, "head.scale": scale, "head.zero": np.zeros(4, np.int8),
        "step": np.float32(0.01), "zero_point": np.int8(0),
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(*pair[::-1]) for pair in arrays.items())
    (head,) = (each for each in graph.node if "head.w" in each.input)
    features, head.input[0], head.input[1] = head.input[0], "near", "head.near"
    nodes = [
        node("DequantizeLinear", ["head.q", "head.scale", "head.zero"], ["head.near"], axis=0),
        node("QuantizeLinear", [features, "step", "zero_point"], ["whole"]),
        node("DequantizeLinear", ["whole", "step", "zero_point"], ["near"]),
    ]
    for each in nodes:
        graph.node.insert(list(graph.node).index(head), each)
    return copy
