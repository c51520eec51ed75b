# SPDX-License-Identifier: Apache-2.0
"""External weights of ONNX models (`model.onnx.data`): load them, and hash a whole model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from ..errors import EngineError

if TYPE_CHECKING:
    import onnx


def embed_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Load external weights into the model, in place.

    They are looked for in the ONNX file's own folder and nowhere else: not in the working
    directory, where another model's might lie.

    Args:
        model: The model as parsed from the file.
        path: Path of the ONNX file.

    Raises:
        EngineError: A file of weights is missing, lies outside of the folder, or is too short.
    """
    read = cache(lambda location: _read(path, location))
    for tensor in _external_tensors(model):
        fields = {entry.key: entry.value for entry in tensor.external_data}
        data = read(fields.get("location", ""))
        try:
            start = int(fields.get("offset", 0))
            size = int(fields.get("length", len(data) - start))
        except ValueError:
            raise EngineError(f"{path}: {tensor.name} has a damaged offset or length") from None
        if start < 0 or size < 0 or start + size > len(data):
            raise EngineError(
                f"{path.parent / fields['location']} has {len(data)} bytes, and {tensor.name} of "
                f"{path.name} lies at {start} to {start + size}: it is cut off, or another model's"
            )
        tensor.raw_data = data[start : start + size]
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def digest_model(data: bytes, model: onnx.ModelProto, path: Path) -> str:
    """Compute the SHA-256 of a model and its external weights.

    It covers the ONNX file's bytes followed by those of each file of weights, by name, as
    `cat model.onnx model.onnx.data | sha256sum` does.

    Args:
        data: The ONNX file's bytes.
        model: The model as parsed from them, before `embed_external_data`.
        path: Path of the ONNX file.

    Raises:
        EngineError: A file of weights is missing or lies outside of the folder.
    """
    digest = hashlib.sha256(data)
    for location in external_files(model):
        digest.update(_read(path, location))
    return digest.hexdigest()


def external_files(model: onnx.ModelProto) -> list[str]:
    """Return the names of the files of external weights, sorted, each once."""
    entries = (entry for tensor in _external_tensors(model) for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == "location"})


def _external_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    import onnx

    nodes = [node for function in model.functions for node in function.node]
    for tensor in (*_graph_tensors(model.graph), *_node_tensors(nodes)):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: object) -> Iterator[onnx.TensorProto]:
    for node in nodes:  # type: ignore[attr-defined]
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _graph_tensors(graph)


def _read(path: Path, location: str) -> bytes:
    """Read a file of external weights."""
    pure = PurePosixPath(location)
    is_elsewhere = pure.is_absolute() or PureWindowsPath(location).is_absolute()
    if not location or is_elsewhere or ".." in pure.parts or "\0" in location:
        raise EngineError(f"{path} asks for weights in {location!r}, which is not a file beside it")
    file = path.parent / pure
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise EngineError(
            f"{path} has its weights in {location}, and there is no file {file}; put it there"
        ) from None
    except OSError as error:
        raise EngineError(f"{file} cannot be read: {error.strerror or error}") from error
