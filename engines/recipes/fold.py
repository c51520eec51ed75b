# SPDX-License-Identifier: Apache-2.0
"""Take arithmetic on whole maps out of a network from PaddleOCR.

PP-OCRv4 and v5 multiply each map by a number and add one, and write hard swish as four operations.
OpenVINO fuses these; ONNX Runtime does them map by map, which takes it as long as the
convolutions. Other weights of the convolutions do the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from dbnet_trt.network.onnx_graph import find_aliases, find_constants
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.float32]

HARD_SWISH_OPSET = 14
"""First opset that has HardSwish; before it a product with HardSigmoid is written."""

SMALLEST_FACTOR = 1e-6
"""Smallest factor by which the number of a sum is divided."""

CONVOLUTIONS = ("Conv", "ConvTranspose")


def fold_arithmetic(model: onnx.ModelProto) -> int:
    """Fold numbers into convolutions and simplify hard swish, in place.

    The map is the same up to rounding. Folded are numbers that a map is multiplied by or that are
    added to it, if the map comes from one convolution or goes into convolutions only; those that
    are added before padding stay, and the halves of GELU, which engines know as a whole. The graph
    is expected to be in fp32, but for weights that are cast to it, and to have no branches.

    Returns:
        The number of nodes that were saved.
    """
    graph = model.graph
    num_nodes = len(graph.node)
    opset = next((each.version for each in model.opset_import if not each.domain), 1)
    folding = _Folding(graph)
    folding.fold(opset >= HARD_SWISH_OPSET)
    return num_nodes - len(graph.node)


@dataclass(slots=True)
class _Number:
    """A node that multiplies a map by a number or adds one."""

    node: onnx.NodeProto
    place: int
    """Index of the input that is the map."""

    value: float

    @property
    def map(self) -> str:
        return str(self.node.input[self.place])


class _Folding:
    """A graph whose nodes can be looked up, replaced and removed."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = _read_constants(graph)
        self._nodes = list(graph.node)
        self._removed: set[int] = set()
        self._new: dict[str, Array] = {}
        """Weights that were made, by name."""
        self._outputs = {each.name for each in graph.output}
        self._taken = {name for node in graph.node for name in (*node.input, *node.output)}
        self._taken |= {each.name for each in graph.initializer} | self._outputs
        self._makers: dict[str, onnx.NodeProto] = {}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in self._nodes:
            self._makers |= dict.fromkeys(node.output, node)
            for name in set(node.input):
                self._users.setdefault(name, []).append(node)

    def fold(self, has_hard_swish: bool) -> None:
        """Fold what can be folded, and write the graph."""
        self._simplify_hard_swish(has_hard_swish)
        self._fold_into_producers()
        self._move_products_down()
        self._fold_into_users()
        self._write()

    def _simplify_hard_swish(self, as_one: bool) -> None:
        """Replace x * clip(x + 3, 0, 6) / 6, which is four nodes, by HardSwish or two nodes."""
        for division in self._nodes:
            six = self._as_number(division, "Div")
            product = self._made_for(six.map, "Mul") if six is not None else None
            if six is None or (six.place, six.value) != (0, 6) or product is None:
                continue
            for x, clipped in (product.input, product.input[::-1]):
                clip = self._made_for(clipped, "Clip")
                total = self._made_for(clip.input[0], "Add") if clip is not None else None
                three = self._as_number(total, "Add") if total is not None else None
                if clip is None or total is None or three is None or not self._is_clip(clip, 0, 6):
                    continue
                if (three.map, three.value) == (x, 3):
                    self._write_hard_swish(division, x, as_one, [product, clip, total])
                    break

    def _write_hard_swish(
        self, last: onnx.NodeProto, x: str, as_one: bool, others: list[onnx.NodeProto]
    ) -> None:
        gone = [*others, last]
        for node in gone:
            for name in set(node.input):
                self._users[name].remove(node)
        product, *rest = others
        for node in rest:
            self._removed.add(id(node))
        if as_one:
            self._removed.add(id(product))
            _rewrite(last, "HardSwish", [x])
            self._users[x].append(last)
            return
        _rewrite(product, "HardSigmoid", [x], alpha=1 / 6, beta=0.5)
        _rewrite(last, "Mul", [x, product.output[0]])
        self._users[x] += [product, last]
        self._users[product.output[0]] = [last]

    def _fold_into_producers(self) -> None:
        """Fold numbers into the convolution whose output they are applied to."""
        for node in self._nodes:
            number = self._as_number(node, "Mul", "Add")
            if number is None:
                continue
            conv = self._made_for(number.map, *CONVOLUTIONS)
            if conv is None or not self._is_foldable(conv):
                continue
            weight, bias = self._weights(conv)
            if node.op_type == "Mul":
                weight, bias = weight * np.float32(number.value), bias * np.float32(number.value)
            else:
                bias = bias + np.float32(number.value)
            self._set_weights(conv, weight, bias)
            self._bypass(number)

    def _move_products_down(self) -> None:
        """Let a sum come before a product, c x + d = c (x + d / c), so that more is folded."""
        for node in self._nodes:
            product = self._as_number(node, "Mul")
            users = self._users.get(node.output[0], []) if product is not None else []
            if product is None or len(users) != 1 or node.output[0] in self._outputs:
                continue
            total = self._as_number(users[0], "Add")
            if total is None or abs(product.value) < SMALLEST_FACTOR:
                continue
            self._set_number(total, "Mul", product.value)
            self._set_number(product, "Add", total.value / product.value)

    def _fold_into_users(self) -> None:
        """Fold numbers into the convolutions that a map goes into."""
        for node in reversed(self._nodes):
            number = self._as_number(node, "Mul", "Add")
            if number is None or node.output[0] in self._outputs:
                continue
            users = self._users.get(node.output[0], [])
            is_sum = node.op_type == "Add"
            if not users or not all(self._takes(user, node.output[0], is_sum) for user in users):
                continue
            for conv in users:
                weight, bias = self._weights(conv)
                if is_sum:
                    bias = bias + np.float32(number.value) * weight.sum(axis=(1, 2, 3))
                else:
                    weight = weight * np.float32(number.value)
                self._set_weights(conv, weight, bias)
            self._bypass(number)

    def _write(self) -> None:
        """Write nodes and weights into the graph."""
        kept, used = [], set(self._outputs)
        for node in reversed(self._nodes):
            is_copy = node.op_type in ("Cast", "Constant", "Identity")
            if id(node) in self._removed or (is_copy and used.isdisjoint(node.output)):
                continue
            used.update(node.input)
            kept.append(node)
        weights = [numpy_helper.from_array(value, name) for name, value in self._new.items()]
        weights = [each for each in (*self._graph.initializer, *weights) if each.name in used]
        for field, values in ((self._graph.node, kept[::-1]), (self._graph.initializer, weights)):
            del field[:]
            field.extend(values)
        del self._graph.value_info[:]  # of maps that may be gone

    def _takes(self, user: onnx.NodeProto, name: str, is_sum: bool) -> bool:
        """Check that a convolution can do to its input what a number does."""
        if not self._is_foldable(user) or list(user.input).count(name) != 1:
            return False
        if user.input[0] != name:
            return False
        if not is_sum:
            return True
        padding = {"pads", "auto_pad"}  # pads with 0 the sum, which would be the number
        pads = [each for each in user.attribute if each.name in padding]
        is_padded = any(any(each.ints) or each.s not in (b"", b"NOTSET", b"VALID") for each in pads)
        return user.op_type == "Conv" and not is_padded

    def _is_foldable(self, node: onnx.NodeProto) -> bool:
        """Check that a node is a convolution whose weight and bias are known."""
        if node.op_type not in CONVOLUTIONS or node.domain or len(node.output) != 1:
            return False
        weight = self._value(node.input[1])
        if weight is None or weight.ndim != 4:
            return False
        return len(node.input) < 3 or not node.input[2] or self._value(node.input[2]) is not None

    def _weights(self, conv: onnx.NodeProto) -> tuple[Array, Array]:
        """Weight and bias of a convolution; zeros if it has no bias."""
        weight = self._value(conv.input[1])
        assert weight is not None
        bias = self._value(conv.input[2]) if len(conv.input) > 2 else None
        return weight, np.zeros(_num_outputs(conv, weight), np.float32) if bias is None else bias

    def _set_weights(self, conv: onnx.NodeProto, weight: Array, bias: Array) -> None:
        inputs = [conv.input[0]]
        for value in (weight, bias):
            inputs.append(self._add(conv.output[0], value))
        for name in list(conv.input)[1:]:
            if name:
                self._users[name].remove(conv)
        del conv.input[:]
        conv.input.extend(inputs)
        for name in inputs[1:]:
            self._users[name] = [conv]

    def _set_number(self, number: _Number, operation: str, value: float) -> None:
        name = self._add(number.node.output[0], np.array([value], np.float32))
        number.node.op_type = operation
        self._users[number.node.input[1 - number.place]].remove(number.node)
        number.node.input[1 - number.place] = name
        self._users[name] = [number.node]

    def _add(self, beside: str, value: Array) -> str:
        """Add a weight under a new name."""
        name, count = f"{beside}/folded", 0
        while name in self._taken:
            count += 1
            name = f"{beside}/folded{count}"
        self._taken.add(name)
        self._new[name] = value.astype(np.float32)
        return name

    def _bypass(self, number: _Number) -> None:
        """Remove a node: those after it read what it read."""
        source, name = number.map, number.node.output[0]
        self._removed.add(id(number.node))
        for each in set(number.node.input):
            self._users[each].remove(number.node)
        if name in self._outputs:  # the map's name stays with whoever makes it
            maker = self._makers[source]
            maker.output[list(maker.output).index(source)] = name
            self._makers[name] = maker
            return
        for user in self._users.get(name, []):
            for index, each in enumerate(user.input):
                if each == name:
                    user.input[index] = source
        self._users.setdefault(source, []).extend(self._users.get(name, []))

    def _made_for(self, name: str, *operations: str) -> onnx.NodeProto | None:
        """Node of one of these operations that makes a map for one use only."""
        node = self._makers.get(name)
        if node is None or node.op_type not in operations or node.domain or len(node.output) != 1:
            return None
        is_used_once = len(self._users.get(name, [])) == 1 and name not in self._outputs
        return node if is_used_once else None

    def _as_number(self, node: onnx.NodeProto, *operations: str) -> _Number | None:
        """The node as a sum or product of a map and a number, if it is one."""
        if node.op_type not in operations or node.domain or id(node) in self._removed:
            return None
        if len(node.input) != 2 or len(node.output) != 1:
            return None
        for place in (0, 1):
            value = self._number(node.input[1 - place])
            if value is not None and self._number(node.input[place]) is None:
                number = _Number(node, place, value)
                return None if self._is_gelu(number) else number
        return None

    def _is_gelu(self, number: _Number) -> bool:
        """Recognise the half of x (1 + erf(...)) / 2."""
        product = self._makers.get(number.map)
        if number.value != 0.5 or product is None or product.op_type != "Mul":
            return False
        before = [self._makers[name] for name in product.input if name in self._makers]
        return any(
            name in self._makers and self._makers[name].op_type == "Erf"
            for each in before
            if each.op_type == "Add"
            for name in each.input
        )

    def _is_clip(self, node: onnx.NodeProto, low: float, high: float) -> bool:
        if node.op_type != "Clip" or node.domain or len(node.input) != 3:
            return False
        return [self._number(name) for name in node.input[1:]] == [low, high]

    def _number(self, name: str) -> float | None:
        value = self._value(name)
        # One of more dimensions than the map would give the result more of them.
        if value is None or value.size != 1 or value.ndim > 1 or not math.isfinite(value.item()):
            return None
        return float(value.item())

    def _value(self, name: str) -> Array | None:
        return self._new.get(name, self._constants.get(name))


def _read_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Values of the constants in float32, and of copies and casts of constants, by name."""
    tensors = find_constants(graph)
    values = {
        name: np.asarray(numpy_helper.to_array(tensor))
        for name, tensor in tensors.items()
        if tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    }
    aliases = find_aliases(graph, values)
    copies = {name: values[original].astype(np.float32) for name, original in aliases.items()}
    return {name: each for name, each in values.items() if each.dtype == np.float32} | copies


def _num_outputs(conv: onnx.NodeProto, weight: Array) -> int:
    """Number of channels that a convolution gives."""
    if conv.op_type == "Conv":
        return int(weight.shape[0])
    groups = next((each.i for each in conv.attribute if each.name == "group"), 1)
    return int(weight.shape[1] * groups)


def _rewrite(
    node: onnx.NodeProto, operation: str, inputs: Iterable[str], **attributes: Any
) -> None:
    """Turn a node into another with the same output."""
    made = helper.make_node(operation, list(inputs), list(node.output), node.name, **attributes)
    node.CopyFrom(made)
