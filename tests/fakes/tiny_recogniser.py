# SPDX-License-Identifier: Apache-2.0
"""Tiny recogniser made by a test: each column of pixels is a step; black is "a", white is "b"."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper


def make_recogniser(
    path: Path, *, characters: str | None = "a\nb", softmax: bool = True, blank: int = 0
) -> Path:
    """Write an ONNX model of three classes; gray, as the padding is, is the blank."""
    slopes, offsets = [-9.0, 9.0], [0.0, 0.0]
    slopes.insert(blank, 0.0)
    offsets.insert(blank, 4.0)
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["steps"]),
        helper.make_node("Mul", ["steps", "slopes"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offsets"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["scores"]),
    ]
    constants = [
        helper.make_tensor("last", TensorProto.INT64, [1], [2]),
        helper.make_tensor("slopes", TensorProto.FLOAT, [3], slopes),
        helper.make_tensor("offsets", TensorProto.FLOAT, [3], offsets),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 48, "width"])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", "width", 3])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if characters is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = "character", characters
    onnx.save(model, path)
    return path


def crop(text: str, height: int = 48) -> np.ndarray:
    """Draw bars of 8 columns, a gray one after each: (height, 16 * letters, 3) uint8."""
    image = np.full((height, 16 * len(text), 3), 128, np.uint8)
    for i, letter in enumerate(text):
        image[:, 16 * i : 16 * i + 8] = 0 if letter == "a" else 255
    return image
