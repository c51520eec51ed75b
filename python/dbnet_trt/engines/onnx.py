# SPDX-License-Identifier: Apache-2.0
"""ONNX models on the CPU: OpenVINO where it is installed, ONNX Runtime otherwise or on request."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..card import METADATA_KEY, ModelCard, read_card
from ..errors import EngineError
from . import Engine

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger("dbnet_trt")

Backend = Literal["auto", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """How an ONNX model runs on the CPU."""

    backend: Backend = "auto"
    """ "auto": OpenVINO where it is installed, else ONNX Runtime."""

    precision: Precision = "auto"
    """ "auto": bf16 where the CPU has instructions for it (AMX, AVX512-BF16), else fp32."""

    num_threads: int = 0
    """Threads of the network; 0 takes one a core."""

    def __post_init__(self) -> None:
        for name, choices in (("backend", get_args(Backend)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            if value not in choices:
                close = difflib.get_close_matches(str(value), choices, 1)
                hint = f'; did you mean "{close[0]}"?' if close else ""
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}{hint}")
        if self.num_threads < 0:
            raise ValueError(f"num_threads must be 0 (all cores) or more, got {self.num_threads}")


def load_onnx(path: Path, card: ModelCard | None = None, config: CpuConfig | None = None) -> Engine:
    """Open an ONNX model.

    Args:
        path: The .onnx file.
        card: What the model needs and gives; otherwise the card inside the file, or in
            `<name>.json` beside it.
        config: Backend, precision, threads.

    Raises:
        EngineError: The file is missing or broken, has no card or disagrees with it, or the
            backend or precision is not to be had here.
    """
    config = config or CpuConfig()
    model, card, input_name, output_name = read_model(path, card)
    num_flushed = flush_denormals(model)
    logger.debug("%s: %d denormal weights set to zero", path, num_flushed)
    backend = config.backend
    if backend == "auto":
        backend = "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
    arguments = (model.SerializeToString(), card, config, input_name, output_name)
    if backend == "onnxruntime":
        return _OnnxRuntime(*arguments)
    from .openvino import OpenVinoEngine

    return OpenVinoEngine(*arguments)


def load_model(
    model: onnx.ModelProto, card: ModelCard, input_name: str, output_name: str
) -> Engine:
    """Run a model in memory by ONNX Runtime, whatever its float type, on one thread a core."""
    return _OnnxRuntime(model.SerializeToString(), card, CpuConfig(), input_name, output_name)


def read_model(
    path: Path, card: ModelCard | None = None
) -> tuple[onnx.ModelProto, ModelCard, str, str]:
    """An ONNX file, its card, and the names of its input and of its output.

    Raises:
        EngineError: As `load_onnx`.
    """
    data = _read(path)
    model = _parse(path, data)
    card = card or _find_card(path, model)
    if card.sha256 and card.sha256 != hashlib.sha256(data).hexdigest():
        raise EngineError(
            f'{path} is not the file that the card "{card.name}" describes (its SHA-256 differs); '
            "install the version that the card names, or give a card of your own"
        )
    return model, card, *_check_tensors(path, model, card)


def flush_denormals(model: onnx.ModelProto) -> int:
    """Set denormal float32 weights, in place, to zero; returns how many there were.

    The map stays the same to the bit for all that was measured, and CPUs that compute with
    denormals slowly run the network at twice the speed.
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
        values = onnx.numpy_helper.to_array(tensor)
        denormal = (values != 0) & (np.abs(values) < np.finfo(np.float32).smallest_normal)
        if denormal.any():
            num_flushed += int(denormal.sum())
            flushed = np.where(denormal, np.float32(0), values)
            tensor.CopyFrom(onnx.numpy_helper.from_array(flushed, tensor.name))
    return num_flushed


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise EngineError(f"{path} is not an ONNX file, or a broken one: {error}") from error
    if not model.graph.node:
        raise EngineError(f"{path} is not an ONNX file, or a broken one: it holds no network")
    return model


def _find_card(path: Path, model: onnx.ModelProto) -> ModelCard:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            try:
                return ModelCard.from_json(entry.value)
            except (ValueError, TypeError) as error:
                raise EngineError(f"{path} has a broken model card: {error}") from error
    beside = path.with_suffix(".json")
    if beside.is_file():
        return read_card(beside)
    raise EngineError(
        f"{path} has no model card: nothing says how its input is normalised and what it gives. "
        'Give one, Detector(..., card=ModelCard(name="mine", mean=..., std=...)), or the name of '
        f'the project that exported it, card="paddleocr", or write the card to {beside.name}'
    )


def _check_tensors(path: Path, model: onnx.ModelProto, card: ModelCard) -> tuple[str, str]:
    """Names of the input and the output that the card means."""
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
    """(B, h, w) float32 of a network's output; a view of it, if it can be."""
    maps = output[:, 0] if output.ndim == 4 else output
    expected = (batch.shape[0], *batch.shape[2:])
    if maps.shape != expected:
        raise EngineError(
            f'"{card.name}" gave a map of shape {output.shape} for an input of shape '
            f"{batch.shape}; a map of the input's size, {expected}, was expected"
        )
    return maps.astype(np.float32, copy=False)


class _OnnxRuntime:
    """The model in ONNX Runtime, which takes any shape and is safe to share between threads."""

    def __init__(
        self, model: bytes, card: ModelCard, config: CpuConfig, input_name: str, output_name: str
    ) -> None:
        ort = import_backend("onnxruntime")
        if config.precision == "bf16":
            raise EngineError(
                "ONNX Runtime runs on the CPU in fp32 only; for bf16 use backend='openvino'"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.num_threads
        options.log_severity_level = 3
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base
            raise EngineError(f'ONNX Runtime cannot load "{card.name}": {error}') from error
        self._input_name, self._output_name = input_name, output_name
        (source,) = (each for each in self._session.get_inputs() if each.name == input_name)
        self._dtype = np.float16 if source.type == "tensor(float16)" else np.float32
        self._shape: list[Any] = source.shape  # a number where no other side is taken
        self.card = card
        self.description = f"ONNX Runtime {ort.__version__}, CPU, fp32"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        for wanted, side in zip(self._shape, batch.shape, strict=True):
            if isinstance(wanted, int) and wanted > 0 and wanted != side:
                raise EngineError(
                    f'"{self.card.name}" takes an input of shape {self._shape}, got '
                    f'{list(batch.shape)}; use backend="openvino", which adapts it, or export it '
                    "with dynamic axes"
                )
        try:
            images = batch.astype(self._dtype, copy=False)
            (output,) = self._session.run([self._output_name], {self._input_name: images})
        except Exception as error:
            raise EngineError(f'ONNX Runtime failed on "{self.card.name}": {error}') from error
        return to_maps(output, batch, self.card)


def import_backend(name: str) -> Any:
    """The module of that name, or an EngineError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"the backend {name} cannot be imported ({error}); pip install {name}"
        ) from error
