# SPDX-License-Identifier: Apache-2.0
"""Read and check ONNX files, find their card and tensors, flush denormals."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..card import METADATA_KEY, ModelCard, read_card
from ..errors import EngineError
from .external_data import digest_model, embed_external_data

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger("dbnet_trt")

LEAST_VALUES = {
    "pads": 0,
    "output_padding": 0,
    "strides": 1,
    "dilations": 1,
    "kernel_shape": 1,
    "group": 1,
}
"""Least allowed values of node attributes. Only `Pad` may have negative pads."""

MAX_REASON_LENGTH = 300
"""Maximum number of characters quoted of the checker's message, which may hold a whole graph."""


def read_model(
    path: Path, card: ModelCard | None = None
) -> tuple[onnx.ModelProto, ModelCard, str, str]:
    """Read an ONNX file with its weights, its card, and the names of its input and output.

    External weights are part of the returned model.

    Raises:
        EngineError: As `load_onnx`.
    """
    try:
        return _read_model(path, card)
    except UnicodeDecodeError as error:  # protobuf decodes a name at its first use
        raise EngineError(f"{path} is a broken ONNX file: a name in it is not UTF-8") from error


def _read_model(path: Path, card: ModelCard | None) -> tuple[onnx.ModelProto, ModelCard, str, str]:
    data = _read(path)
    model = _parse(path, data)
    digest = digest_model(data, model, path)
    embed_external_data(model, path)
    card = card or _find_card(path, model, digest)
    if card.sha256 and card.sha256 != digest:
        raise EngineError(
            f'{path} is not the file that the card "{card.name}" describes (its SHA-256 differs); '
            "install the version that the card names, or give a card of your own"
        )
    return model, card, *_check_tensors(path, model, card)


def digest_file(path: Path) -> str:
    """SHA-256 of a model's file and, for ONNX, of the weights beside it.

    Raises:
        EngineError: A file is missing or broken.
    """
    data = _read(path)
    if path.suffix.lower() != ".onnx":
        return hashlib.sha256(data).hexdigest()
    return digest_model(data, _parse(path, data), path)


def check_network(model: onnx.ModelProto, path: Path) -> None:
    """Check that a model is valid ONNX.

    OpenVINO trusts its input: pads of -1 made it write outside of its buffers, and the next model
    in the process crashed.

    Args:
        model: The model with all its weights.
        path: Path of its file, for messages.

    Raises:
        EngineError: The model is not valid.
    """
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of the checker, of shape inference, or of protobuf
        reason = " ".join(str(error).split())[:MAX_REASON_LENGTH]
        raise EngineError(
            f"{path} is not valid ONNX, and OpenVINO is not given it: {reason}; export it anew, or "
            'use backend="onnxruntime", which checks it in its own way'
        ) from error
    fault = _find_fault(model.graph.node)
    if fault:
        raise EngineError(f"{path} is not valid ONNX, and OpenVINO is not given it: {fault}")


def _find_fault(nodes: Iterable[onnx.NodeProto]) -> str:
    """Find an attribute out of range, which the checker lets through; "" if there is none."""
    for node in nodes:
        for attribute in node.attribute:
            least = LEAST_VALUES.get(attribute.name, 0)
            values = [attribute.i] if attribute.name == "group" else list(attribute.ints)
            is_checked = attribute.name in LEAST_VALUES and node.op_type != "Pad"
            if is_checked and min(values, default=least) < least:
                return f"{attribute.name} of {node.op_type} {node.name} is {values}"
            for graph in (attribute.g, *attribute.graphs):
                fault = _find_fault(graph.node)
                if fault:
                    return fault
    return ""


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a network computes in int8 or fp8: it has DequantizeLinear nodes."""
    return any(node.op_type == "DequantizeLinear" for node in model.graph.node)


def flush_denormals(model: onnx.ModelProto) -> int:
    """Set denormal float32 weights to zero, in place, and return their number.

    The map was the same to the bit for every model measured, and CPUs that compute slowly with
    denormals run the network at twice the speed.

    Raises:
        EngineError: A weight is damaged.
    """
    import onnx

    constants = (
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    )
    num_flushed = 0
    for tensor in (*model.graph.initializer, *constants):
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        try:
            values = onnx.numpy_helper.to_array(tensor)
        except Exception as error:  # of NumPy, of protobuf or of onnx
            raise EngineError(f"a weight is damaged: {error}") from error
        denormal = (values != 0) & (np.abs(values) < np.finfo(np.float32).smallest_normal)
        if denormal.any():
            num_flushed += int(denormal.sum())
            flushed = np.where(denormal, np.float32(0), values)
            _replace(tensor, flushed)
    return num_flushed


def _replace(tensor: onnx.TensorProto, values: NDArray[np.float32]) -> None:
    """Replace the values of a tensor, but not its name, which Python may be unable to read."""
    for field in ("float_data", "raw_data"):
        tensor.ClearField(field)
    tensor.raw_data = values.astype("<f4").tobytes()


def serialize(model: onnx.ModelProto, path: Path) -> bytes:
    """Serialize a model with all its weights.

    Raises:
        EngineError: The model is too large, or damaged.
    """
    try:
        return model.SerializeToString()
    except Exception as error:  # of protobuf
        raise EngineError(
            f"{path} cannot be serialized: {error}; with all its weights it must be below 2 GB"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    import onnx

    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # of protobuf, or of a codec
        raise EngineError(f"{path} is not an ONNX file, or a broken one: {error}") from error
    if not model.graph.node:
        raise EngineError(f"{path} is not an ONNX file, or a broken one: it holds no network")
    return model


def _find_card(path: Path, model: onnx.ModelProto, digest: str) -> ModelCard:
    """Find the card beside the file if it has the file's digest, else inside it, else beside it."""
    inside = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    beside = path.with_suffix(".json")
    if beside.is_file() and (not inside or _has_digest(beside, digest)):
        return read_card(beside)
    if inside:
        try:
            return ModelCard.from_json(inside[0])
        except (ValueError, TypeError) as error:
            raise EngineError(f"{path} has a broken model card: {error}") from error
    raise EngineError(
        f"{path} has no model card: nothing says how its input is normalised and what it gives. "
        'Give one, Detector(..., card=ModelCard(name="mine", mean=..., std=...)), or the name of '
        f'the project that exported it, card="paddleocr", or write the card to {beside.name}'
    )


def _has_digest(beside: Path, digest: str) -> bool:
    try:
        return read_card(beside).sha256 == digest
    except EngineError:  # some other JSON file
        return False


def _check_tensors(path: Path, model: onnx.ModelProto, card: ModelCard) -> tuple[str, str]:
    """Return the names of the input and the output that the card means."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [_describe(value) for value in model.graph.input if value.name not in weights]
    outputs = [_describe(value) for value in model.graph.output]
    input_name, shape = _choose(path, "input", card.input_name, inputs)
    if len(shape) != 4 or shape[1] not in (3, None):
        raise EngineError(f"{path}: a detector's input is (B, 3, h, w), this one's is {shape}")
    output_name, shape = _choose(path, "output", card.output_name, outputs)
    if len(shape) not in (0, 3, 4) or (len(shape) == 4 and shape[1] not in (1, None)):
        raise EngineError(
            f"{path}: a detector's output is one map, (B, 1, h, w) or (B, h, w), "
            f'"{output_name}" is {shape}: is this a text detector?'
        )
    return input_name, output_name


def _describe(value: onnx.ValueInfoProto) -> tuple[str, list[int | None]]:
    dims = value.type.tensor_type.shape.dim
    return value.name, [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def _choose(
    path: Path, what: str, name: str, tensors: list[tuple[str, list[int | None]]]
) -> tuple[str, list[int | None]]:
    listed = ", ".join(f'"{each}" {shape}' for each, shape in tensors) or "none"
    if not name:
        if len(tensors) == 1:
            return tensors[0]
        raise EngineError(
            f"{path} has {len(tensors)} {what}s ({listed}) and its card does not say which is "
            f"meant; set {what}_name in the card"
        )
    for tensor in tensors:
        if tensor[0] == name:
            return tensor
    raise EngineError(f'{path} has no {what} "{name}", which its card names; it has: {listed}')


def to_maps(
    output: NDArray[Any], batch: NDArray[np.float32], card: ModelCard
) -> NDArray[np.float32]:
    """Convert a network's output to (B, h, w) float32, a view of it where possible.

    Args:
        output: The output, (B, h, w) or (B, 1, h, w), of any float type.
        batch: The input, (B, 3, h, w).
        card: Card of the model, for messages.

    Raises:
        EngineError: The map is not of the input's size.
    """
    maps = output[:, 0] if output.ndim == 4 else output
    expected = (batch.shape[0], *batch.shape[2:])
    if maps.shape != expected:
        raise EngineError(
            f'"{card.name}" gave a map of shape {output.shape} for an input of shape '
            f"{batch.shape}; a map of the input's size, {expected}, was expected"
        )
    return maps.astype(np.float32, copy=False)
