# SPDX-License-Identifier: Apache-2.0
"""Changes of ONNX graphs around quantization to int8.

A quantized tensor goes through a pair of nodes, QuantizeLinear and DequantizeLinear (Q/DQ).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

OPSET = 13
"""First version of ONNX's operators in which each channel of a weight may have its own scale."""

SMALL = np.float32(1e-6)
"""Bias of convolutions that have none: OpenVINO removes one of 0."""

LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
"""Operators with quantized weights."""


def to_fp32(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph in fp16, or with such weights, as one in fp32, in operators from version 13.

    Every node has a name in the copy, and constants are initializers.
    """
    import onnx

    old = next(each.version for each in model.opset_import if not each.domain)
    if old < OPSET:
        copy = onnx.version_converter.convert_version(model, OPSET)
    else:
        copy = type(model)()
        copy.CopyFrom(model)
    graph, floats = copy.graph, _find_floats(copy)
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        for attribute in node.attribute:
            if attribute.name == "value":
                graph.initializer.add().CopyFrom(attribute.t)
                graph.initializer[-1].name = node.output[0]
                graph.node.remove(node)
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT16:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    _fold_casts(graph, floats)
    for index, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
        if node.op_type == "Cast" and floats.get(node.input[0]) and floats.get(node.output[0]):
            node.op_type = "Identity"
            del node.attribute[:]
    del graph.value_info[:]
    return copy


def _fold_casts(graph: onnx.GraphProto, floats: dict[str, bool]) -> None:
    """Take weights for their Cast, of files that store them in fp16 and compute in fp32."""
    import onnx

    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Cast"]:
        tensor = weights.get(node.input[0])
        if tensor is None or not floats.get(node.output[0]):
            continue
        if tensor.data_type == onnx.TensorProto.FLOAT:
            graph.initializer.add().CopyFrom(tensor)
            graph.initializer[-1].name = node.output[0]
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)


def _find_floats(model: onnx.ModelProto) -> dict[str, bool]:
    """Tell which tensors are fp16 or fp32."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    half_or_single = (onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT)
    return {name: kind in half_or_single for name, kind in types.items()}


def suit_openvino(model: onnx.ModelProto) -> None:
    """Change a graph in fp32, in place, so that OpenVINO computes it rightly once it is quantized.

    OpenVINO (2026.4, AVX2) shifts int8 to uint8 and takes the shift back within a convolution. It
    forgets that in convolutions without a bias, and in those behind a Concat, before which it
    moves the quantization. So each convolution gets a bias of `SMALL`, unless a batch
    normalisation follows that becomes one; and between a Concat and a convolution comes a Max that
    changes nothing.
    """
    import onnx

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    normalized = {each.input[0] for each in graph.node if each.op_type == "BatchNormalization"}

    def add_weight(name: str, value: Any) -> str:
        tensor = onnx.numpy_helper.from_array(np.asarray(value, np.float32), name)
        graph.initializer.append(tensor)
        return name

    def is_joined(name: str) -> bool:
        """Tell whether a Concat gives a value, perhaps under other names."""
        while name in made and made[name].op_type == "Identity":
            name = made[name].input[0]
        return name in made and made[name].op_type == "Concat"

    for node in [node for node in graph.node if node.op_type == "Conv"]:
        source, weight = node.input[0], weights.get(node.input[1])
        if weight is None or is_depthwise(node, weight):
            continue
        if len(node.input) == 2 and node.output[0] not in normalized:
            node.input.append(add_weight(f"{node.name}_bias", np.full(weight.dims[0], SMALL)))
        if is_joined(source):
            node.input[0] = f"{node.name}_input"
            limit = add_weight(f"{node.name}_limit", np.finfo(np.float32).min)
            between = onnx.helper.make_node("Max", [source, limit], [node.input[0]], f"{limit}_max")
            graph.node.insert(list(graph.node).index(node), between)


def is_depthwise(node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    """Tell whether a convolution takes each channel by itself."""
    return bool(weight.dims[1] == 1 and _groups(node) > 1)


def _groups(node: onnx.NodeProto) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "group"), 1)


def list_layers(model: onnx.ModelProto) -> list[str]:
    """List the names of the nodes that have quantized weights."""
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in LAYERS and made.get(node.input[1]) == "DequantizeLinear"
    ]


def restore(model: onnx.ModelProto, fp32: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """Copy a quantized graph with one layer as it was: around the Q/DQ pairs, with its own weights.

    Args:
        model: The quantized graph.
        fp32: The graph that it was made from.
        name: Name of the layer's node.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    graph = copy.graph
    made = {output: node for node in graph.node for output in node.output}
    own = {tensor.name: tensor for tensor in fp32.graph.initializer}
    kept = {tensor.name for tensor in graph.initializer}
    (old,) = (node for node in fp32.graph.node if node.name == name)
    (node,) = (node for node in graph.node if node.name == name)
    for index, source in enumerate(old.input):
        if source in own and source not in kept:
            graph.initializer.add().CopyFrom(own[source])
        if source in own:
            node.input[index] = source
        elif node.input[index] in made and made[node.input[index]].op_type == "DequantizeLinear":
            node.input[index] = made[made[node.input[index]].input[0]].input[0]
    return copy


def make_signed(model: onnx.ModelProto) -> None:
    """Quantize all to int8 with zero points of 0, as TensorRT needs it, in place.

    A tensor in uint8 from 0 to 255 s is afterwards in int8, from 0 to 127 s' with s' = 255 s / 127.
    """
    import onnx

    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = set()
    for node in model.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or node.input[2] in changed:
            continue
        scale, zero = weights[node.input[1]], weights[node.input[2]]
        if zero.data_type == onnx.TensorProto.UINT8:
            wider = onnx.numpy_helper.to_array(scale) * np.float32(255 / 127)
            points = np.zeros_like(onnx.numpy_helper.to_array(zero), np.int8)
            scale.CopyFrom(onnx.numpy_helper.from_array(wider.astype(np.float32), scale.name))
            zero.CopyFrom(onnx.numpy_helper.from_array(points, zero.name))
            changed.add(zero.name)
    del model.graph.value_info[:]  # which says uint8
