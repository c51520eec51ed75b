# SPDX-License-Identifier: Apache-2.0
"""From what a user names to what runs it: the engine of a model, and an image's way through it."""

from __future__ import annotations

import re
from pathlib import Path

from ._core import cuda_available
from .card import ModelCard
from .cpu import CpuPath
from .engines import DeviceEngine, Engine
from .engines.cuda_driver import device_ordinal
from .engines.onnx import CpuConfig, load_onnx
from .engines.tensorrt import open_engine
from .engines.torch import load_checkpoint
from .errors import EngineError
from .gpu import GpuConfig, GpuPath
from .weights import DEFAULT_MODEL, find_card, find_model


def open_model(
    engine: str | Path | Engine | DeviceEngine | None,
    device: str,
    card: ModelCard | str | None,
    cpu: CpuConfig,
) -> Engine | DeviceEngine:
    """The engine of a model, by its name or path; an engine is taken as it is.

    `cpu` is for ONNX files; the others are `Detector`'s arguments.

    Raises:
        EngineError: The model or the device is not there, or the model cannot run.
        ValueError: An argument is out of range, or there is no model of that name.
        TypeError: `engine` is none of these.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)):
        raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:0", got {device!r}')
    if engine is not None and not isinstance(engine, (str, Path)):
        if not hasattr(engine, "card"):
            raise TypeError(
                "a detector opens the name of a model, the path of one, or an engine, got "
                f"{type(engine).__name__}; images go to its method detect"
            )
        _refuse_card(card, type(engine).__name__)
        return engine
    model = DEFAULT_MODEL if engine is None else engine
    suffix = Path(model).suffix.lower()
    if suffix in (".safetensors", ".engine"):
        _refuse_card(card, model)
    if suffix == ".safetensors":
        return load_checkpoint(Path(model), device)
    if suffix == ".engine":
        return open_engine(Path(model), device)
    _check_device(device)
    path, named_card = _find_file(model)
    return load_onnx(path, find_card(card) or named_card, cpu)


def open_path(
    engine: Engine | DeviceEngine, device: str, gpu: GpuConfig | None
) -> CpuPath | GpuPath:
    """The GPU's way for engines that enqueue, the CPU's for the others.

    Raises:
        EngineError: The engine is on another GPU than `device`, or the GPU is not there.
    """
    if not isinstance(engine, DeviceEngine):
        return CpuPath(engine)
    ordinal = getattr(engine, "ordinal", None)
    asked = device_ordinal(device) if ":" in device else ordinal
    if ordinal is not None and asked != ordinal:
        raise EngineError(f'the engine is on cuda:{ordinal}, and device "{device}" was asked for')
    return GpuPath(engine, asked or 0, gpu)


def _refuse_card(card: ModelCard | str | None, name: str | Path) -> None:
    if card is not None:
        raise ValueError(f"card is for ONNX files; {name} has its own")


def _find_file(model: str | Path) -> tuple[Path, ModelCard | None]:
    """The ONNX file of a model, and its card if it is a named one."""
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        if not path.is_file():
            raise EngineError(f"there is no file {path}")
        return path, None
    if path.suffix or isinstance(model, Path) or "/" in model:
        raise EngineError(
            "a model is an .onnx, .engine or .safetensors file, or a name of the list "
            f"`dbnet models`, got {model}"
        )
    return find_model(model)


def _check_device(device: str) -> None:
    if device.startswith("cuda"):
        reason = (
            "ONNX files run on the CPU; build an engine with dbnet-build and open that, or"
            if cuda_available()
            else "there is no usable CUDA device (no driver, no GPU, or a build without CUDA);"
        )
        raise EngineError(f'device "{device}" was asked for, but {reason} use device="cpu"')
