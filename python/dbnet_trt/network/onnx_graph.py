# SPDX-License-Identifier: Apache-2.0
"""Run an ONNX graph in PyTorch, train its weights, and write them back into the same graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from ..errors import EngineError
from .onnx_ops import ARITHMETIC, OPERATIONS
from .onnx_quantization import dequantize_linear, quantize_weight

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Step:
    """One node of the graph."""

    node: str
    """Operation and name, for errors."""

    run: Callable[..., Any]
    inputs: tuple[str, ...]
    """Names of values; "" for an input that is left out."""

    output: str
    unneeded: tuple[str, ...]
    """Values that no later step uses."""


class OnnxGraph(nn.Module):
    """An ONNX graph as a trainable module.

    Parameters are the weights and biases of convolutions, the scale and bias of batch
    normalisations, and the tensors that are added or multiplied. Single numbers, such as the 3 and
    the 6 of a hard swish, stay fixed. So do the statistics of batch normalisations: exporters fold
    most of these into convolutions, and the few left then behave in training as the folded ones
    do. A graph in fp16 is computed in fp32.

    In a graph with Q/DQ nodes the scales stay fixed. An int8 weight is a parameter in real units
    that is rounded to its scale wherever it is used, within the range that the file uses: files
    for CPUs keep to 7 bits.
    """

    def __init__(self, model: onnx.ModelProto, outputs: tuple[str, ...]) -> None:
        """Build the module.

        Args:
            model: The ONNX model, which is not changed. Weights of a `structure` are zeros.
            outputs: Names of the values to compute; nodes that these do not need are left out.

        Raises:
            EngineError: A node's operation is not among `OPERATIONS`, a value that a node needs is
                missing, or the map depends on other than one input.
        """
        super().__init__()
        self.structure = onnx.ModelProto()
        """The ONNX model without the values of this module's parameters and buffers."""
        self.structure.CopyFrom(model)
        graph = self.structure.graph
        _sort_nodes(graph)
        tensors = find_constants(graph)
        nodes = _needed_nodes(graph, find_aliases(graph, tensors), outputs)
        used = dict.fromkeys(name for node in nodes for name in node.inputs)
        inputs = {value.name for value in graph.input} & used.keys() - tensors.keys()
        if len(inputs) != 1:
            raise EngineError(
                "training expects a graph whose map depends on one input, the images; this one's "
                f"depends on {', '.join(sorted(inputs)) or 'none'}"
            )
        (self._input,) = inputs
        self._outputs = outputs
        self._plain: dict[str, Any] = {"": None}
        """Constants that are numbers or lists."""
        self._keys: dict[str, str] = {}
        """Names in this module of the constants that are parameters or buffers."""
        self._quantized = _quantized_weights(nodes, tensors)
        """Names of the scales and the axes of int8 weights, by the names of these."""
        scales = {name: _read(tensors[name]) for name, _ in self._quantized.values()}
        for name, role in _roles(nodes, tensors).items():
            value = _read(tensors[name])
            if role == "number":
                self._plain[name] = value.item()
            elif role == "argument":
                self._plain[name] = value.tolist()
            elif role == "zero point":
                self._plain[name] = value
            else:
                if name in self._quantized:
                    value = self._to_real(name, value, scales)
                self._register(name, value, role == "weight")
                _remove_values(tensors[name])
        self._steps = tuple(_make_steps(nodes, keep={*tensors, *outputs, ""}))

    def _register(self, name: str, value: Array, is_trained: bool) -> None:
        key = _key(name)
        tensor = torch.from_numpy(value.astype(np.float32))
        if is_trained:
            self.register_parameter(key, nn.Parameter(tensor))
        else:
            self.register_buffer(key, tensor)
        self._keys[name] = key

    def _to_real(self, name: str, value: Array, scales: dict[str, Array]) -> Array:
        """Multiply an int8 weight by its scale, and keep the range that it used."""
        quantized = torch.from_numpy(value.astype(np.float32))
        limit = quantized.abs().max().clamp(max=127)
        self.register_buffer(f"{_key(name)}/limit", limit)
        scale, axis = self._quantized[name]
        factors = torch.from_numpy(scales[scale].astype(np.float32))
        return dequantize_linear(quantized, factors, axis=axis).numpy()

    def _quantize(self, name: str) -> Tensor:
        """Round an int8 weight to whole numbers, kept as float32."""
        scale, axis = self._quantized[name]
        key, scale_key = self._keys[name], self._keys[scale]
        limit = getattr(self, f"{key}/limit")
        return quantize_weight(getattr(self, key), getattr(self, scale_key), limit, axis)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the graph.

        Args:
            images: (B, 3, h, w) float, normalised.

        Returns:
            The values named by `outputs`.

        Raises:
            EngineError: A node uses its operation in a way that is not implemented.
        """
        values: dict[str, Any] = {**self._plain, self._input: images}
        values |= {name: getattr(self, key) for name, key in self._keys.items()}
        values |= {name: self._quantize(name) for name in self._quantized}
        for step in self._steps:
            try:
                values[step.output] = step.run(*(values[name] for name in step.inputs))
            except (NotImplementedError, TypeError) as error:  # or an unknown attribute
                raise EngineError(
                    f"the ONNX node {step.node} is used in a way that training does not support "
                    f"({error}); {REMEDY}"
                ) from error
            for name in step.unneeded:
                del values[name]
        return tuple(values[name] for name in self._outputs)

    def to_onnx(self) -> onnx.ModelProto:
        """Copy the ONNX model with the weights that the module has now, in the file's types."""
        model = onnx.ModelProto()
        model.CopyFrom(self.structure)
        tensors, state = find_constants(model.graph), self.state_dict()
        for name, key in self._keys.items():
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensors[name].data_type)
            value = self._quantize(name).detach() if name in self._quantized else state[key]
            array = value.float().cpu().numpy().astype(kind)
            tensors[name].CopyFrom(numpy_helper.from_array(array, tensors[name].name))
        return model


def _sort_nodes(graph: onnx.GraphProto) -> None:
    """Put each node behind those whose outputs it takes, in place; converters put casts last.

    Raises:
        EngineError: No node gives a value that another one takes.
    """
    known = {"", *(value.name for value in graph.input)}
    known.update(tensor.name for tensor in graph.initializer)
    ordered: list[onnx.NodeProto] = []
    waiting = list(graph.node)
    while waiting:
        late = []
        for node in waiting:
            if known.issuperset(node.input):
                known.update(node.output)
                ordered.append(node)
            else:
                late.append(node)
        if len(late) == len(waiting):
            missing = next(name for name in late[0].input if name not in known)
            raise EngineError(
                f'the ONNX graph is broken: no node before {late[0].op_type} "{late[0].name}" '
                f'gives "{missing}", which it takes'
            )
        waiting = late
    del graph.node[:]
    graph.node.extend(ordered)


def find_constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Tensors of a graph by name; changing one changes the graph."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            (attribute,) = node.attribute
            if attribute.name == "value":
                tensors[node.output[0]] = attribute.t
            else:  # a number or a list
                value = np.asarray(onnx.helper.get_attribute_value(attribute))
                tensors[node.output[0]] = numpy_helper.from_array(value)
    return tensors


def find_aliases(graph: onnx.GraphProto, constants: Collection[str]) -> dict[str, str]:
    """Original names of constants, by the names of their unchanged copies."""
    aliases: dict[str, str] = {}
    for node in graph.node:
        if node.op_type in ("Identity", "Cast"):
            original = aliases.get(node.input[0], node.input[0])
            if original in constants:
                aliases[node.output[0]] = original
    return aliases


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of the graph; its inputs name constants directly, not their copies."""

    operation: str
    name: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]


def _needed_nodes(
    graph: onnx.GraphProto, aliases: dict[str, str], outputs: Iterable[str]
) -> list[_Node]:
    """Nodes that the outputs depend on, in the graph's order."""
    needed, nodes = set(outputs), []
    for node in reversed(graph.node):
        is_copy = node.output[0] in aliases or node.op_type == "Constant"
        if not needed.intersection(node.output) or is_copy:
            continue
        inputs = tuple(aliases.get(name, name) for name in node.input)
        needed.update(inputs)
        attributes = {each.name: _read_attribute(each) for each in node.attribute}
        nodes.append(_Node(node.op_type, node.name, inputs, node.output[0], attributes))
    return nodes[::-1]


def _read_attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _read(tensor: onnx.TensorProto) -> Array:
    """Value of a tensor; zeros if it was removed."""
    if tensor.data_location != onnx.TensorProto.EXTERNAL and _is_removed(tensor):
        return np.zeros(tensor.dims, np.float32)
    return np.asarray(numpy_helper.to_array(tensor))


def _is_removed(tensor: onnx.TensorProto) -> bool:
    fields = ("raw_data", "float_data", "int32_data", "int64_data", "double_data")
    return math.prod(tensor.dims) > 0 and not any(len(getattr(tensor, name)) for name in fields)


def _remove_values(tensor: onnx.TensorProto) -> None:
    tensor.CopyFrom(
        onnx.TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    )


def _key(name: str) -> str:
    return name.replace(".", "/")  # PyTorch allows no dot in a name


def _quantized_weights(
    nodes: list[_Node], tensors: dict[str, onnx.TensorProto]
) -> dict[str, tuple[str, int]]:
    """Names of the scales and the axes of int8 weights, by the names of these.

    Raises:
        EngineError: A weight is quantized in another way than to int8 around 0.
    """
    found = {}
    for node in nodes:
        if node.operation != "DequantizeLinear" or node.inputs[0] not in tensors:
            continue
        weight, scale, *zero_point = node.inputs
        is_int8 = tensors[weight].data_type == onnx.TensorProto.INT8
        if not is_int8 or any(_read(tensors[name]).any() for name in zero_point if name):
            raise EngineError(
                f"the weight {weight} is quantized in a way that training does not support; "
                "expected int8 with zero points of 0, as dbnet-build --target cpu writes it"
            )
        found[weight] = (scale, int(node.attributes.get("axis", 1)))
    return found


Role = Literal["weight", "statistic", "number", "argument", "zero point"]


def _roles(nodes: list[_Node], tensors: dict[str, onnx.TensorProto]) -> dict[str, Role]:
    """Roles of the constants in the nodes that use them, by name."""
    roles: dict[str, Role] = {}
    for node in nodes:
        for index, name in enumerate(node.inputs):
            if name in tensors:
                roles[name] = _role(node.operation, index, tensors[name])
    return roles


def _role(operation: str, index: int, tensor: onnx.TensorProto) -> Role:
    if operation in ("Conv", "ConvTranspose"):
        return "weight"
    if operation == "BatchNormalization":
        return "weight" if index < 3 else "statistic"
    if operation in ("QuantizeLinear", "DequantizeLinear"):
        roles: tuple[Role, ...] = ("weight", "statistic", "zero point")
        return roles[index]
    if operation not in ARITHMETIC:
        return "argument"
    is_number = math.prod(tensor.dims) == 1 and len(tensor.dims) < 2
    return "number" if is_number else "weight"


def _make_steps(nodes: list[_Node], keep: Collection[str]) -> Iterator[_Step]:
    """Make one step per node; values are freed after their last use, except those to keep."""
    last_use = {name: index for index, node in enumerate(nodes) for name in node.inputs}
    for index, node in enumerate(nodes):
        if node.operation not in OPERATIONS:
            raise EngineError(
                f'training does not know the ONNX operation {node.operation} (node "{node.name}", '
                f'output "{node.output}"); {REMEDY}'
            )
        yield _Step(
            f'{node.operation} "{node.name or node.output}"',
            partial(OPERATIONS[node.operation], **node.attributes),
            node.inputs,
            node.output,
            tuple({name for name in node.inputs if last_use[name] == index and name not in keep}),
        )


REMEDY = (
    "simplify the graph (onnxslim) or export it otherwise, or add what is missing to "
    "dbnet_trt/network/onnx_ops.py"
)
