# SPDX-License-Identifier: Apache-2.0
"""The graph of an engine as an ONNX file, for trtexec and other tools of TensorRT."""

from __future__ import annotations

import shlex
from pathlib import Path

import onnx

from ..card import ModelCard
from ..errors import BuildError
from ..files import write_atomically
from .build import check_output, find_source, lower_model
from .config import BuildConfig
from .lowering import OnnxNetwork


def write_graph(
    model: str | Path,
    path: Path,
    *,
    card: ModelCard | str | None = None,
    config: BuildConfig | None = None,
) -> str:
    """Write the graph that `build_engine` compiles. TensorRT is not needed.

    Args:
        model: Name of a model, or path of an .onnx file or a .safetensors checkpoint.
        path: The .onnx file to write; it must not be the model.
        card: Card of another project's ONNX file, its path, or the name of the project.
        config: Precision, shapes and calibration; None takes the defaults.

    Returns:
        The trtexec command that builds the same engine of it.

    Raises:
        EngineError: The model is missing.
        BuildError: The model cannot be converted, or the file not be written.
        ImageError: A calibration image is broken, or the folder has none.
        ValueError: There is no such model or project, the file has another suffix, or the settings
            are for TensorRT-RTX.
    """
    config = config or BuildConfig()
    if path.suffix != ".onnx":
        raise ValueError(f"--graph must name an .onnx file, got {path}")
    if config.rtx or config.capabilities:
        raise ValueError("--graph is for TensorRT's trtexec; leave out --rtx and its options")
    check_output(path)
    source, own_card = find_source(model, card, config)
    if path.resolve() == source.resolve():
        raise BuildError(f"{path} is the model itself, and would be overwritten; name another file")
    network = lower_model(source, own_card, config)
    try:
        onnx.checker.check_model(network.model)
    except onnx.checker.ValidationError as error:
        raise BuildError(
            f"the graph of {model} is not valid in {config.precision}: {error}"
        ) from None
    try:
        write_atomically(path, lambda temporary: onnx.save(network.model, temporary))
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror or error}") from error
    return trtexec_command(network, path, config)


def trtexec_command(network: OnnxNetwork, path: Path, config: BuildConfig) -> str:
    """Write the command that builds the engine of a graph as `build_engine` does.

    Args:
        network: The graph.
        path: Its .onnx file.
        config: Shapes of the engine.
    """
    graph = network.model.graph
    types = {each.name: each.type.tensor_type.elem_type for each in (*graph.input, *graph.output)}
    formats = [
        "fp16:chw" if types[name] == onnx.TensorProto.FLOAT16 else "fp32:chw"
        for name in (network.input_name, network.output_name)
    ]
    shapes = zip(("min", "opt", "max"), config.profile, strict=True)
    options = [
        f"--onnx={path}",
        f"--saveEngine={path.with_suffix('.plan')}",
        "--stronglyTyped",  # precisions are those of the graph, Q/DQ nodes included
        *(f"--{kind}Shapes={network.input_name}:{b}x3x{h}x{w}" for kind, (b, h, w) in shapes),
        f"--inputIOFormats={formats[0]}",
        f"--outputIOFormats={formats[1]}",
        "--maxAuxStreams=0",  # a CUDA graph can capture one stream only
        "--profilingVerbosity=detailed",
    ]
    return shlex.join(["trtexec", *options])
