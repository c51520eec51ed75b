# SPDX-License-Identifier: Apache-2.0
"""ONNX models run by ONNX Runtime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..errors import EngineError
from ..extras import import_backend
from ..settings import CpuConfig
from .onnx_model import to_maps
from .processes import check_process

if TYPE_CHECKING:
    import onnx

    from . import Engine


def load_model(
    model: onnx.ModelProto, card: ModelCard, input_name: str, output_name: str
) -> Engine:
    """Open a model in memory with ONNX Runtime, on one thread per core.

    Args:
        model: The model, of any float type.
        card: Card of the model.
        input_name: Name of the network's input.
        output_name: Name of the network's output.
    """
    return OnnxRuntimeEngine(model.SerializeToString(), card, CpuConfig(), input_name, output_name)


class OnnxRuntimeEngine:
    """A model in ONNX Runtime, for any input shape. May be called from several threads at once."""

    runs_one_by_one = True

    def __init__(
        self, model: bytes, card: ModelCard, config: CpuConfig, input_name: str, output_name: str
    ) -> None:
        ort = import_backend("onnxruntime")
        if config.precision == "bf16":
            raise EngineError(
                "ONNX Runtime has no bf16 on the CPU; use backend='openvino', or precision='auto'"
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.num_threads
        if config.num_streams > 1:  # each caller's own thread works beside those of the session
            num_threads = config.num_threads or os.cpu_count() or 1
            options.intra_op_num_threads = max(1, num_threads - config.num_streams + 1)
        options.log_severity_level = 3
        try:
            # Its fallback prints to standard output and tries the same provider again.
            self._session = ort.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # its exceptions have no common base
            raise EngineError(f'ONNX Runtime cannot load "{card.name}": {error}') from error
        self._input_name, self._output_name = input_name, output_name
        inputs = {each.name: each for each in self._session.get_inputs()}
        if input_name not in inputs:
            raise EngineError(f'"{card.name}" has no input "{input_name}" in ONNX Runtime')
        source = inputs[input_name]
        self._process = os.getpid()
        self._dtype = np.float16 if source.type == "tensor(float16)" else np.float32
        sides: list[Any] = source.shape  # a number for each fixed one
        self._shape = [side if isinstance(side, int) and side > 0 else "any" for side in sides]
        self.card = card
        precision = "int8" if config.precision == "int8" else "fp32"
        self.description = f"ONNX Runtime {ort.__version__}, CPU, {precision}"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        check_process(self._process, "ONNX Runtime")
        for wanted, side in zip(self._shape, batch.shape, strict=True):
            if wanted not in ("any", side):
                taken = ", ".join(map(str, self._shape))
                raise EngineError(
                    f'"{self.card.name}" takes an input of shape ({taken}), got '
                    f'{batch.shape}; use backend="openvino", which adapts it, or export it '
                    "with dynamic axes"
                )
        try:
            images = batch.astype(self._dtype, copy=False)
            (output,) = self._session.run([self._output_name], {self._input_name: images})
        except Exception as error:
            raise EngineError(f'ONNX Runtime failed on "{self.card.name}": {error}') from error
        return to_maps(output, batch, self.card)
