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


def scene(height: int = 120, width: int = 200, num_texts: int = 2) -> np.ndarray:
    """Draw white bars on black, one below the other, the widest first: (H, W, 3) uint8."""
    image = np.zeros((height, width, 3), np.uint8)
    step = height // max(1, num_texts)
    for i in range(num_texts):
        image[i * step + step // 4 : i * step + 3 * step // 4, 20 : width - 20 - 10 * i] = 255
    return image
