# SPDX-License-Identifier: Apache-2.0
"""Tiny detector made by a test: bright pixels are text."""

from pathlib import Path

import numpy as np
import onnx
from dbnet_trt.card import METADATA_KEY, ModelCard
from onnx import TensorProto, helper

CARD = ModelCard(name="tiny", mean=(0.5,) * 3, std=(0.5,) * 3, output="logit", short_side=128)


def make_model(
    path: Path,
    card: ModelCard | None = CARD,
    *,
    num_outputs: int = 1,
    channels: int = 1,
    weight: float = 20.0,
    sides: tuple[str | int, str | int] = ("height", "width"),
) -> Path:
    """Write an ONNX model whose map is `weight` times the mean of the channels."""
    dims: list[str | int | None] = ["batch", 3, *sides]
    names = ["map", "other"][:num_outputs]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "weight"], ["scaled"]),
        *(helper.make_node("Concat", ["scaled"] * channels, [name], axis=1) for name in names),
    ]
    weights = [
        helper.make_tensor("weight", TensorProto.FLOAT, [1], [weight]),
        helper.make_tensor("denormal", TensorProto.FLOAT, [3], [1e-40, 0.0, 1.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, dims)],
        [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT, ["batch", channels, "height", "width"]
            )
            for name in names
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if card is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, card.to_json()
    onnx.save(model, path)
    return path


def make_int8_model(path: Path, card: ModelCard | None = CARD) -> Path:
    """Write the ONNX model of `make_model` with the mean of the channels in int8, -1 to 1."""
    model = onnx.load(make_model(path, card))
    graph = model.graph
    pair = ("QuantizeLinear", "mean", "levels"), ("DequantizeLinear", "levels", "quantized")
    for at, (kind, source, target) in enumerate(pair, start=1):
        node = helper.make_node(kind, [source, "scale", "zero"], [target])
        graph.node.insert(at, node)
    graph.node[3].input[0] = "quantized"
    graph.initializer.append(helper.make_tensor("scale", TensorProto.FLOAT, [], [1 / 127]))
    graph.initializer.append(helper.make_tensor("zero", TensorProto.INT8, [], [0]))
    onnx.save(model, path)
    return path


def make_conv_model(path: Path, rng: np.random.Generator, channels: int = 64) -> Path:
    """Write a network of three convolutions for which bright pixels are text."""
    model = onnx.load(make_model(path))
    graph = model.graph
    del graph.node[:]
    widths = [3, channels, channels, 1]
    names = ["image", "first", "second", "map"]
    for i in range(3):
        weight = rng.uniform(0.1, 0.2, (widths[i + 1], widths[i], 3, 3)).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(weight / widths[i], f"weight{i}"))
        inputs = [names[i], f"weight{i}"]
        node = helper.make_node("Conv", inputs, [names[i + 1]], name=names[i + 1], pads=[1] * 4)
        graph.node.append(node)
    onnx.save(model, path)
    return path


def scene(height: int = 120, width: int = 200, num_texts: int = 2) -> np.ndarray:
    """Draw white bars on black, one below the other, the widest first: (H, W, 3) uint8."""
    image = np.zeros((height, width, 3), np.uint8)
    step = height // max(1, num_texts)
    for i in range(num_texts):
        image[i * step + step // 4 : i * step + 3 * step // 4, 20 : width - 20 - 10 * i] = 255
    return image
