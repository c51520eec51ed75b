# SPDX-License-Identifier: Apache-2.0
"""Convert a model to the ONNX graph for TensorRT: one input, one output of logits, one precision.

Networks are strongly typed: an engine computes in the types of its graph. For fp16 the graph itself
is in fp16; for int8 or fp8 it contains quantization nodes.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..card import METADATA_KEY, ModelCard
from ..engines import Engine
from ..engines.onnx_model import flush_denormals, is_quantized, read_model, serialize
from ..engines.onnxruntime import load_model
from ..errors import BuildError
from ..extras import needs_torch
from ..files import write_atomically

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger("dbnet_trt")

LAYOUT_ONLY = frozenset(("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Transpose"))
"""Operators that may follow the last sigmoid, as they do not change the values of the map."""

OPSET_OF_HALF_SCALES = 19
"""First version of ONNX's operators in which the scales of Q/DQ nodes may be in fp16."""


@dataclass(frozen=True, slots=True)
class OnnxNetwork:
    """ONNX graph of a network, and its card."""

    model: onnx.ModelProto
    """Graph with its weights."""

    card: ModelCard
    """Input and output of the network."""

    input_name: str
    """Name of the input tensor, (B, 3, h, w)."""

    output_name: str
    """Name of the output tensor, (B, h, w) or (B, 1, h, w)."""

    def on_cpu(self) -> Engine:
        """Open the network in ONNX Runtime, whatever its floating-point type.

        Raises:
            EngineError: ONNX Runtime cannot load the network.
        """
        return load_model(self.model, self.card, self.input_name, self.output_name)


def read_network(
    path: Path,
    card: ModelCard | None = None,
    *,
    half: bool = False,
    dcn: Literal["gridsample", "plugin"] = "gridsample",
) -> OnnxNetwork:
    """Read an ONNX file, or export a checkpoint.

    Args:
        path: ONNX file (.onnx) or checkpoint (.safetensors).
        card: Card of another project's ONNX file; None reads the file's own.
        half: Export a checkpoint in fp16. This is better than a later conversion: deformable
            convolutions keep their coordinates in fp32. An ONNX file is not converted.
        dcn: Form of a checkpoint's deformable convolutions; see `network.export`.

    Raises:
        EngineError: The file cannot be read, or has no card or a wrong one.
        BuildError: The file is a checkpoint, and PyTorch is missing.
    """
    if path.suffix.lower() != ".safetensors":
        return OnnxNetwork(*read_model(path, card))
    return _export(path, "fp16" if half else "fp32", dcn)


def write_network(graph: onnx.ModelProto, card: ModelCard, path: Path) -> None:
    """Write an ONNX file with its card inside.

    Raises:
        BuildError: The file cannot be written.
    """
    import onnx

    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {METADATA_KEY: card.to_json()})
    data = serialize(graph, path)
    try:
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror or error}") from error


def lower(network: OnnxNetwork, *, half: bool) -> OnnxNetwork:
    """Reduce a network to one output of logits; in fp16 if `half`.

    Args:
        network: Network to convert; it is not changed.
        half: Convert weights, input and output to fp16; of a network in int8 the rest of it.
    """
    model = _copy(network.model)
    _keep_one_output(model, network.output_name)
    card = network.card
    if card.output == "probability":
        if _strip_sigmoid(model, network.output_name):
            card = dataclasses.replace(card, output="logit")
        else:
            logger.info("%s does not end in a sigmoid; its probabilities are kept", card.name)
    flush_denormals(model)
    _expand_hard_swish(model)
    if half:
        model = _to_half(model)
        halve_edges(model, network.input_name, network.output_name)
    return OnnxNetwork(model, card, network.input_name, network.output_name)


def _export(
    path: Path, precision: Literal["fp32", "fp16"], dcn: Literal["gridsample", "plugin"]
) -> OnnxNetwork:
    try:
        from ..network.checkpoints import is_imported
        from ..network.export import export_checkpoint
    except ImportError as error:
        raise BuildError(needs_torch(path, error)) from error
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / f"{path.stem}.onnx"
        if is_imported(path):  # a graph of another project, which keeps its float type
            precision = "fp32"
        export_checkpoint(path, target, precision=precision, dcn=dcn)
        return OnnxNetwork(*read_model(target))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


def _keep_one_output(model: onnx.ModelProto, name: str) -> None:
    """Remove the other outputs, and the nodes that only they need."""
    graph = model.graph
    kept = [output for output in graph.output if output.name == name]
    del graph.output[:]
    graph.output.extend(kept)
    producers = {made: i for i, node in enumerate(graph.node) for made in node.output}
    needed, wanted = set(), [name]
    while wanted:
        index = producers.get(wanted.pop())
        if index is not None and index not in needed:
            needed.add(index)
            wanted += [*graph.node[index].input, *_captured(graph.node[index])]
    for index in reversed(range(len(graph.node))):
        if index not in needed:
            del graph.node[index]


def _captured(node: onnx.NodeProto) -> set[str]:
    """List the names that the bodies of an If or a Loop read."""
    return {
        name
        for attribute in node.attribute
        for inner in attribute.g.node
        for name in (*inner.input, *_captured(inner))
    }


def _strip_sigmoid(model: onnx.ModelProto, output: str) -> bool:
    """Remove the sigmoid before the output; False if there is none."""
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in LAYOUT_ONLY:
        node = producers.get(node.input[0])
    if node is None or node.op_type != "Sigmoid":
        return False
    _make_identity(node)
    return True


def _expand_hard_swish(model: onnx.ModelProto) -> None:
    """Write hard swish as the product that it is: older parsers of TensorRT may not know it."""
    from onnx import helper

    nodes = []
    for node in model.graph.node:
        if node.op_type != "HardSwish":
            nodes.append(node)
            continue
        (x,), (output,) = node.input, node.output
        gate = f"{output}/gate"
        nodes += [
            helper.make_node("HardSigmoid", [x], [gate], name=gate, alpha=1 / 6, beta=0.5),
            helper.make_node("Mul", [x, gate], [output], name=node.name),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _make_identity(node: onnx.NodeProto) -> None:
    node.op_type = "Identity"
    del node.attribute[:]


def _to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a graph to fp16, with casts around it; one that computes in it stays as it is."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    _widen_weights(model)
    if any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in model.graph.initializer):
        return model
    _combine_statistics(model)
    if is_quantized(model):
        model = onnx.version_converter.convert_version(model, OPSET_OF_HALF_SCALES)
    with warnings.catch_warnings():  # tiny weights underflow; the engine is compared later
        warnings.simplefilter("ignore")
        converted: onnx.ModelProto = convert_float_to_float16(
            model, keep_io_types=True, max_finite_val=65504.0
        )
    OnnxModel(converted).topological_sort()  # casts come last
    return converted


def _widen_weights(model: onnx.ModelProto) -> None:
    """Turn weights that are stored in fp16, and cast to fp32 when they are used, into fp32."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    half = onnx.TensorProto.FLOAT16
    stored = {each.name: each for each in graph.initializer if each.data_type == half}
    for node in list(graph.node):
        if node.input and node.input[0] in stored and _casts_to(node, onnx.TensorProto.FLOAT):
            values = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
            graph.node.remove(node)
    _drop_unread(model)


def _combine_statistics(model: onnx.ModelProto) -> None:
    """Turn each batch normalization into a product and a sum.

    Variances of PP-OCRv4's reach 10^8, which fp16 does not hold; the factors made of them it does.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    graph = model.graph
    known = onnx.shape_inference.infer_shapes(model).graph.value_info
    ranks = {each.name: len(each.type.tensor_type.shape.dim) for each in known}
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "BatchNormalization" or not set(node.input[1:]) <= values.keys():
            continue
        scale, shift, mean, variance = (values[name].astype(np.float64) for name in node.input[1:])
        epsilon = next((each.f for each in node.attribute if each.name == "epsilon"), 1e-5)
        rank = ranks.get(node.input[0], 4)
        factor = scale / np.sqrt(variance + epsilon)
        name = node.output[0]
        for suffix, vector in (("factor", factor), ("summand", shift - mean * factor)):
            column = vector.astype(np.float32).reshape(-1, *[1] * (rank - 2))
            graph.initializer.append(numpy_helper.from_array(column, f"{name}_{suffix}"))
        product = helper.make_node("Mul", [node.input[0], f"{name}_factor"], [f"{name}_product"])
        total = helper.make_node("Add", [f"{name}_product", f"{name}_summand"], [name])
        graph.node.remove(node)
        graph.node.insert(index, product)
        graph.node.insert(index + 1, total)
    _drop_unread(model)


def _drop_unread(model: onnx.ModelProto) -> None:
    """Remove weights that no node reads."""
    graph = model.graph
    read = {name for node in graph.node for name in (*node.input, *_captured(node))}
    for each in [each for each in graph.initializer if each.name not in read]:
        graph.initializer.remove(each)


def halve_edges(model: onnx.ModelProto, input_name: str, output_name: str) -> None:
    """Remove casts between fp32 and fp16 at input and output, which then are fp16.

    Args:
        model: Graph to change.
        input_name: Name of the input tensor.
        output_name: Name of the output tensor.
    """
    import onnx

    half, graph = onnx.TensorProto.FLOAT16, model.graph
    (source,) = (value for value in graph.input if value.name == input_name)
    readers = [node for node in graph.node if input_name in node.input]
    if readers and all(_casts_to(node, half) for node in readers):
        source.type.tensor_type.elem_type = half
        for node in readers:
            _make_identity(node)
    (last,) = (node for node in graph.node if output_name in node.output)
    if _casts_to(last, onnx.TensorProto.FLOAT):
        inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
        types = {value.name: value.type.tensor_type.elem_type for value in inferred}
        if types.get(last.input[0]) == half:
            graph.output[0].type.tensor_type.elem_type = half
            _make_identity(last)


def _casts_to(node: onnx.NodeProto, dtype: int) -> bool:
    return node.op_type == "Cast" and any(
        attribute.name == "to" and attribute.i == dtype for attribute in node.attribute
    )
