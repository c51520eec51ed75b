# SPDX-License-Identifier: Apache-2.0
"""Open a model by name or path, and choose the CPU or GPU runner."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .card import ModelCard
from .engines import DeviceEngine, Engine
from .engines.cpu_features import int8_is_faster
from .engines.onnx_model import (
    check_network,
    digest_file,
    flush_denormals,
    is_quantized,
    read_model,
    serialize,
)
from .engines.onnxruntime import OnnxRuntimeEngine
from .engines.openvino import OpenVinoEngine
from .engines.tensorrt import open_engine
from .errors import EngineError
from .extras import needs_torch
from .gpu_status import cuda_available, gpus_of_machine, read_cuda_status
from .pipeline.cpu import CpuRunner
from .pipeline.gpu import GpuRunner
from .settings import CpuConfig, GpuConfig, check_device, device_ordinal
from .zoo import DEFAULT_MODEL, find_card, int8_file, resolve_model

if TYPE_CHECKING:
    from .engines.torch import TorchDeviceEngine, TorchEngine

logger = logging.getLogger("dbnet_trt")

SUFFIXES = (".onnx", ".engine", ".safetensors")
"""Suffixes of model files that can be opened."""


def open_model(
    model: str | Path | Engine | DeviceEngine | None,
    device: str,
    card: ModelCard | str | None,
    cpu: CpuConfig | None,
) -> Engine | DeviceEngine:
    """Open the engine of a model by its name or path; an engine is returned as it is.

    Args:
        model: Name, path or engine, as in `Detector`; None opens the default model.
        device: "auto", "cpu", "cuda" or "cuda:0".
        card: Card of another project's ONNX file, as in `Detector`.
        cpu: Settings of ONNX models on the CPU; None takes the defaults.

    Returns:
        An engine for the GPU (`DeviceEngine`) or for the CPU (`Engine`).

    Raises:
        EngineError: The model or the device is missing, or the model cannot run.
        ValueError: An argument is out of range, there is no model of that name, or a card is given
            for a model that has its own.
        TypeError: `model` is not a name, a path or an engine.
    """
    check_device(device)
    if model is not None and not isinstance(model, (str, Path)):
        if not hasattr(model, "card"):
            raise TypeError(
                "model must be the name of a model, its path, or an engine, got "
                f"{type(model).__name__}; images go to its method detect"
            )
        _refuse_card(card, type(model).__name__)
        return model
    path, named_card = resolve_model(DEFAULT_MODEL if model is None else model, SUFFIXES)
    suffix = path.suffix.lower()
    if suffix != ".onnx":
        _refuse_card(card, path)
        if suffix == ".safetensors":
            _check_fits_checkpoint(path, cpu or CpuConfig())
        return open_engine(path, device) if suffix == ".engine" else load_checkpoint(path, device)
    _refuse_gpu(device)
    if device == "auto":
        _mention_gpu()
    given = find_card(card)
    if named_card is not None:
        quantized = choose_int8(path, named_card, cpu or CpuConfig())
        if quantized is not None:
            return load_onnx(quantized, given, cpu)
    return load_onnx(path, given or named_card, cpu)


def describe_model(model: str | Path | None, card: ModelCard) -> dict[str, Any]:
    """Describe what the results of a model depend on, in types of JSON.

    Args:
        model: Name or path, as in `open_model`.
        card: Card of the opened model.
    """
    path, _ = resolve_model(DEFAULT_MODEL if model is None else model, SUFFIXES)
    told = json.loads(card.to_json())
    for name in ("license", "training_data", "source", "scores", "sha256"):
        told.pop(name, None)
    return {"model": card.name, "network": digest_file(path), "card": told}


def make_runner(
    engine: Engine | DeviceEngine, device: str, gpu: GpuConfig | None, cpu: CpuConfig | None = None
) -> CpuRunner | GpuRunner:
    """Create the runner of an engine: the GPU runner for a `DeviceEngine`, else the CPU runner.

    Args:
        engine: Engine to run.
        device: "auto", "cpu", "cuda" or "cuda:0".
        gpu: Settings of the pipeline on the GPU; None takes the defaults.
        cpu: Settings of the CPU; None takes the defaults.

    Raises:
        EngineError: The engine is on another GPU than `device`, or the GPU is missing.
    """
    if not isinstance(engine, DeviceEngine):
        return CpuRunner(engine, (cpu or CpuConfig()).num_streams)
    ordinal = getattr(engine, "ordinal", None)
    asked = device_ordinal(device) if ":" in device else ordinal
    if ordinal is not None and asked != ordinal:
        raise EngineError(
            f'the engine is on cuda:{ordinal}, but device "{device}" was requested; leave device '
            f'out, or open the engine on "{device}"'
        )
    return GpuRunner(engine, asked or 0, gpu)


def load_onnx(path: Path, card: ModelCard | None = None, config: CpuConfig | None = None) -> Engine:
    """Open an ONNX model.

    Args:
        path: ONNX file.
        card: Card of the model; None takes the card inside the file, or in `<name>.json` beside it.
        config: Library, precision and threads; None takes the defaults.

    Raises:
        EngineError: The file is missing or broken, has no card or disagrees with it, or the
            library or precision is not available here.
    """
    config = config or CpuConfig()
    model, card, input_name, output_name = read_model(path, card)
    try:
        num_flushed = flush_denormals(model)
    except EngineError as error:
        raise EngineError(f"{path}: {error}") from error
    logger.debug("%s: %d denormal weights set to zero", path, num_flushed)
    config = _check_precision(path, is_quantized(model), config)
    backend = choose_backend(config)
    if backend == "openvino" and not card.sha256:  # otherwise it is the file that the card means
        check_network(model, path)
    arguments = (serialize(model, path), card, config, input_name, output_name)
    open_network = OnnxRuntimeEngine if backend == "onnxruntime" else OpenVinoEngine
    try:
        return open_network(*arguments)
    except UnicodeDecodeError as error:  # the libraries' bindings decode names at their first use
        raise EngineError(f"{path} is a broken ONNX file: a name in it is not UTF-8") from error


def choose_backend(config: CpuConfig) -> str:
    """Choose the library that runs ONNX models: "openvino" or "onnxruntime"."""
    if config.backend != "auto":
        return config.backend
    return "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"


def choose_int8(path: Path, card: ModelCard, config: CpuConfig) -> Path | None:
    """Choose a named model's file in int8, if it is asked for, or there and faster; else None.

    Raises:
        EngineError: It is asked for, and the model has none.
    """
    quantized = int8_file(path)
    if config.precision == "int8":
        if quantized is None:
            raise EngineError(
                f'"{card.name}" does not come in int8; make a file in int8 and open that: '
                f"dbnet-build {card.name} --target cpu --precision int8 --calibration PHOTOS"
            )
        return quantized
    if config.precision == "auto" and int8_is_faster(choose_backend(config)):
        return quantized
    return None


def _check_precision(path: Path, quantized: bool, config: CpuConfig) -> CpuConfig:
    """Check that a file is in the precision that is asked for, and return it with the settings."""
    if quantized and config.precision in ("fp32", "bf16"):
        raise EngineError(
            f"{path} is quantized to int8, {config.precision} was requested; use precision='auto', "
            "or open the model that it was made from"
        )
    if not quantized and config.precision == "int8":
        raise EngineError(
            f"{path} is not quantized, int8 was requested; make a file in int8 and open that: "
            f"dbnet-build {path} --target cpu --precision int8 --calibration PHOTOS"
        )
    return dataclasses.replace(config, precision="int8") if quantized else config


def _check_fits_checkpoint(path: Path, config: CpuConfig) -> None:
    """Check that what PyTorch does not do for a checkpoint is not asked for."""
    asked = next(
        (each for each in (config.precision, config.backend) if each not in ("auto", "fp32")), None
    )
    if asked is not None:
        raise EngineError(
            f"{path} is a checkpoint, which PyTorch computes in fp32; {asked} was requested: "
            f"write it as ONNX (dbnet export {path}) and open that"
        )


def load_checkpoint(path: Path, device: str = "cpu") -> TorchEngine | TorchDeviceEngine:
    """Open a .safetensors file that `dbnet train` wrote.

    Args:
        path: Checkpoint file.
        device: "cpu", "cuda", "cuda:0", or "auto", which takes a GPU if there is one.

    Raises:
        EngineError: PyTorch is missing, the file is not such a checkpoint, or there is no GPU.
    """
    try:
        import torch

        from .engines.torch import TorchDeviceEngine, TorchEngine
        from .network.checkpoints import load_model
    except ImportError as error:
        raise EngineError(needs_torch(path, error)) from error
    has_gpu = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if has_gpu and cuda_available() else "cpu"
    if device != "cpu":
        problem = read_cuda_status().problem
        if not (problem or has_gpu):
            problem = f"PyTorch {torch.__version__} sees no GPU; install its build for CUDA"
        if problem:
            raise EngineError(f'device "{device}" was requested, but {problem}; or use "cpu"')
    model, card = load_model(path)
    if device == "cpu":
        return TorchEngine(model, card)
    return TorchDeviceEngine(model, card, device)


def _refuse_card(card: ModelCard | str | None, name: str | Path) -> None:
    if card is not None:
        raise ValueError(f"card is for ONNX files; {name} has its own")


def _refuse_gpu(device: str) -> None:
    """Raise an EngineError if a GPU is requested for an ONNX file."""
    if device.startswith("cuda"):
        problem = read_cuda_status().problem
        remedy = "ONNX files run on the CPU: build an engine with dbnet-build, and open that"
        raise EngineError(
            f'device "{device}" was requested, but {problem or remedy}; or use device="cpu"'
        )


@cache
def _mention_gpu() -> None:
    """Say once that the machine has a GPU, which ONNX files do not use."""
    if gpus := gpus_of_machine():
        logger.warning(
            "ONNX files run on the CPU; for this machine's %s build an engine with dbnet-build and "
            'open that, or say device="cpu" (said once; `dbnet doctor` shows what is missing)',
            " and ".join(gpus),
        )
