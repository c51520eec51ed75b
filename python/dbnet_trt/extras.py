# SPDX-License-Identifier: Apache-2.0
"""Optional libraries and the commands that install them."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import EngineError

EXTRAS = {
    "onnxruntime": "cpu",
    "rapidocr": "pretrained",
    "pypdfium2": "pdf",
    "pyarrow": "parquet",
    "av": "video",
    "PyNvVideoCodec": "nvdec",
    "ray": "ray",
    "supervision": "supervision",
    "pycuda": "pycuda",
    "shapely": "eval",
    "scipy": "eval",
    "torch": "train",
    "safetensors": "train",
    "onnxslim": "train",
    "tensorboard": "train",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "modelopt": "quantize",
    "nncf": "int8",
    "fastapi": "serve",
    "uvicorn": "serve",
    "python_multipart": "serve",
    "prometheus_client": "serve",
}
"""Extra of this package that installs a library, by import name."""

PACKAGES = {"PIL": "pillow"}
"""Packages with another name than the library that is imported, needed by themselves."""


def install_hint(library: str) -> str:
    """Return the command that installs a library, given its import name."""
    name = library.partition(".")[0]
    extra = EXTRAS.get(name)
    package = PACKAGES.get(name, name)
    return f"pip install 'dbnet-trt[{extra}]'" if extra else f"pip install {package}"


def import_backend(name: str) -> Any:
    """Import a library that runs networks.

    Raises:
        EngineError: The library is missing or broken; the message says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"the backend {name} cannot be imported ({error}); {install_hint(name)}"
        ) from error


def needs_torch(checkpoint: object, error: ImportError) -> str:
    """Return the message for a checkpoint that cannot be read because PyTorch is missing."""
    return (
        f"{checkpoint} is a training checkpoint and needs PyTorch ({error}); "
        f"{install_hint('torch')}, or export it to ONNX with `dbnet export`"
    )
