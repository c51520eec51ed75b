# SPDX-License-Identifier: Apache-2.0
"""Model repository for Triton Inference Server: encoded images in, outlines of text out.

Triton loads the repository's model.py, which imports `TritonPythonModel` from here.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..card import ModelCard
from ..detections import Detections
from ..detector import Detector
from ..engines.engine_card import EngineCard, card_path
from ..errors import ImageError
from ..files import write_atomically
from ..zoo import find_card, resolve_model
from .lowering import read_network, write_network

CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [ {{ name: "IMAGE", data_type: TYPE_STRING, dims: [ 1 ] }} ]
output [
  {{ name: "QUADS", data_type: TYPE_FP32, dims: [ -1, 4, 2 ] }},
  {{ name: "SCORES", data_type: TYPE_FP32, dims: [ -1 ] }},
  {{ name: "COUNT", data_type: TYPE_INT32, dims: [ 1 ] }}
]
dynamic_batching {{ max_queue_delay_microseconds: 500 }}
instance_group [ {{ kind: {kind}, count: 1 }} ]
parameters [ {{ key: "model", value: {{ string_value: "{file}" }} }} ]
"""
"""Template of config.pbtxt. The queue delay is about a tenth of a detection's time."""

CPU_BATCH = 8
"""Largest batch on a CPU, where images of a batch run one after the other, or side by side."""

MODEL = """\
# SPDX-License-Identifier: Apache-2.0
from dbnet_trt.building.triton import TritonPythonModel as TritonPythonModel
"""


def write_repository(folder: Path, engine: Path, card: EngineCard) -> Path:
    """Write a model repository around an engine for a GPU.

    Args:
        folder: Folder of the repository; other models in it are kept.
        engine: Engine file; it is copied together with its card.
        card: Card of the engine.

    Returns:
        The model's folder, named after the model.

    Raises:
        OSError: A file cannot be read or written.
    """
    model = _write_config(folder, card.model.name, engine.name, card.shapes[2][0], "KIND_GPU")
    for file in (engine, card_path(engine)):
        write_atomically(model / "1" / file.name, partial(shutil.copyfile, file))
    return model


def write_cpu_repository(
    folder: Path, model: str | Path, card: ModelCard | str | None = None
) -> Path:
    """Write a model repository that runs an ONNX file on the CPU.

    Args:
        folder: Folder of the repository; other models in it are kept.
        model: Name of a model, or path of an .onnx file or a .safetensors checkpoint.
        card: Card of another project's ONNX file, its path, or the name of the project.

    Returns:
        The model's folder, named after the model.

    Raises:
        EngineError: The model is missing or broken.
        BuildError: A file cannot be written.
        OSError: A file cannot be written.
        ValueError: There is no such model or project.
    """
    path, named_card = resolve_model(model, (".onnx", ".safetensors"))
    network = read_network(path, find_card(card) or named_card)
    name = named_card.name if named_card else path.name.removesuffix(path.suffix)
    file = f"{name}.onnx"
    written = _write_config(folder, name, file, CPU_BATCH, "KIND_CPU")
    inside = dataclasses.replace(
        network.card, input_name=network.input_name, output_name=network.output_name, sha256=""
    )
    write_network(network.model, inside, written / "1" / file)
    return written


def _write_config(folder: Path, name: str, file: str, max_batch: int, kind: str) -> Path:
    model = folder / re.sub(r"[^\w.-]+", "_", name)
    config = CONFIG.format(name=model.name, max_batch=max_batch, file=file, kind=kind)
    for path, text in ((model / "1" / "model.py", MODEL), (model / "config.pbtxt", config)):
        write_atomically(path, partial(Path.write_text, data=text, encoding="utf-8"))
    return model


class TritonPythonModel:
    """Model of Triton's Python backend around a `Detector`; Triton calls its methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the model that config.pbtxt names, on the GPU of this instance or on the CPU.

        Args:
            args: Triton's arguments: configuration as JSON, folder, version, device.

        Raises:
            EngineError: The model cannot be opened.
        """
        config = json.loads(args["model_config"])
        file = config["parameters"]["model"]["string_value"]
        path = Path(args["model_repository"]) / args["model_version"] / file
        is_gpu = args["model_instance_kind"] == "GPU"
        device = f"cuda:{args['model_instance_device_id']}" if is_gpu else "cpu"
        self._detector = Detector(path, device=device)
        self._batch_size = max(1, config["max_batch_size"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer requests; the images of all of them are detected together.

        Args:
            requests: Triton's requests, each with encoded images in the tensor IMAGE.

        Returns:
            One response per request; for a request with a broken image, an error.
        """
        import triton_python_backend_utils as pb_utils

        images = [_get_images(pb_utils, request) for request in requests]
        responses: list[Any] = [None] * len(requests)
        good = []
        for i, given in enumerate(images):
            if isinstance(given, ImageError):
                error = pb_utils.TritonError(str(given), pb_utils.TritonError.INVALID_ARG)
                responses[i] = pb_utils.InferenceResponse(error=error)
            else:
                good.append(i)
        flat = [image for i in good for image in images[i]]
        found = iter(self._detector.detect_batch(flat, batch_size=self._batch_size))
        for i in good:
            tensors = pack([next(found) for _ in images[i]])
            responses[i] = pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, value) for name, value in tensors.items()]
            )
        return responses


def pack(found: list[Detections]) -> dict[str, np.ndarray]:
    """Join the results of B images into arrays, padded with zeros to the largest number N of texts.

    Returns:
        QUADS (B, N, 4, 2) float32, SCORES (B, N) float32, COUNT (B, 1) int32.
    """
    most = max((len(each) for each in found), default=0)
    quads = np.zeros((len(found), most, 4, 2), np.float32)
    scores = np.zeros((len(found), most), np.float32)
    for i, each in enumerate(found):
        quads[i, : len(each)], scores[i, : len(each)] = each.quads, each.scores
    count = np.array([[len(each)] for each in found], np.int32)
    return {"QUADS": quads, "SCORES": scores, "COUNT": count}


def _get_images(pb_utils: Any, request: Any) -> Any:
    """Decode the images of a request; return the error if one of them is broken."""
    from ..images.load import load_image

    encoded = pb_utils.get_input_tensor_by_name(request, "IMAGE").as_numpy()
    try:
        return [load_image(data) for data in encoded.reshape(-1)]
    except ImageError as error:
        return error
