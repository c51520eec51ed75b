# SPDX-License-Identifier: Apache-2.0
"""Optional libraries, and what installs them."""

from __future__ import annotations

import importlib
from typing import Any

from .errors import EngineError

EXTRAS = {
    "rapidocr": "pretrained",
    "supervision": "supervision",
    "pycuda": "pycuda",
    "shapely": "eval",
    "scipy": "eval",
    "PIL": "eval",
    "torch": "train",
    "safetensors": "train",
    "onnxslim": "train",
    "tensorboard": "train",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "modelopt": "quantize",
}
"""The extra of this package that brings a library, by the name that is imported."""


def install_hint(library: str) -> str:
    """Return the command that installs a library, by the name that is imported."""
    name = library.partition(".")[0]
    extra = EXTRAS.get(name)
    return f"pip install 'dbnet-trt[{extra}]'" if extra else f"pip install {name}"


def import_backend(name: str) -> Any:
    """Import a library that runs networks.

    Raises:
        EngineError: It is not installed, or broken; the message says what installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineError(
            f"the backend {name} cannot be imported ({error}); {install_hint(name)}"
        ) from error


def needs_torch(checkpoint: object, error: ImportError) -> str:
    """Return the message for a checkpoint that cannot be read as PyTorch is missing."""
    return (
        f"{checkpoint} is a training checkpoint and needs PyTorch ({error}); "
        f"{install_hint('torch')}, or export it to ONNX with `dbnet export`"
    )
