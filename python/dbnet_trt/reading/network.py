# SPDX-License-Identifier: Apache-2.0
"""Networks of recognisers on the CPU, for inputs of any width."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..engines.onnx_model import check_network
from ..engines.openvino import choose_precision, open_core
from ..engines.processes import check_process
from ..errors import EngineError
from ..extras import import_backend
from ..settings import CpuConfig

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Network:
    """A network with one input and one output."""

    run: Callable[[FloatArray], FloatArray]
    """Function from (B, 3, h, w) float32 to the output; may be called from several threads."""

    metadata: dict[str, str]
    """Metadata of its ONNX file."""


def open_network(path: str | Path, cpu: CpuConfig) -> Network:
    """Open an ONNX file with OpenVINO, or with ONNX Runtime where that is not installed.

    Raises:
        EngineError: The file is missing or damaged, has several inputs or outputs, or cannot be
            opened.
    """
    import onnx

    try:
        data = Path(path).read_bytes()
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors have no common base
        raise EngineError(f"the recogniser {path} cannot be read: {error}") from error
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        raise EngineError(
            f"the recogniser {path} must have one input and one output, got {len(inputs)} and "
            f"{len(model.graph.output)}"
        )
    metadata = {each.key: each.value for each in model.metadata_props}
    backend = cpu.backend
    if backend == "auto":
        backend = "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
    if backend == "openvino":
        check_network(model, Path(path))
    opener = _open_openvino if backend == "openvino" else _open_onnxruntime
    try:
        run = opener(data, inputs[0].name, cpu)
    except RuntimeError as error:
        raise EngineError(f"{backend} cannot load the recogniser {path}: {error}") from error

    def run_checked(batch: FloatArray) -> FloatArray:
        check_process(process, backend)
        try:
            return run(batch)
        except Exception as error:  # ONNX Runtime's have no common base
            raise EngineError(f"the recogniser {path} failed: {error}") from error

    process = os.getpid()
    return Network(run_checked, metadata)


def _open_openvino(data: bytes, name: str, cpu: CpuConfig) -> Callable[[FloatArray], FloatArray]:
    core, _ = open_core()
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "bf16"
        if choose_precision(core, cpu.precision) == "bf16"
        else "f32",
    }
    if cpu.num_threads:
        properties["INFERENCE_NUM_THREADS"] = str(cpu.num_threads)
    compiled = core.compile_model(core.read_model(data, b""), "CPU", properties)

    def run(batch: FloatArray) -> FloatArray:
        request = compiled.create_infer_request()
        request.infer({name: batch}, share_inputs=True)
        return np.array(request.get_output_tensor().data, np.float32)

    return run


def _open_onnxruntime(data: bytes, name: str, cpu: CpuConfig) -> Callable[[FloatArray], FloatArray]:
    ort = import_backend("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = cpu.num_threads
    options.log_severity_level = 3
    session = ort.InferenceSession(
        data, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )
    return lambda batch: session.run(None, {name: batch})[0]
