# SPDX-License-Identifier: Apache-2.0
"""Readers: what reads crops. Recognition is the work of other projects; each adapter is one
function."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..extras import install_hint
from ..settings import CpuConfig
from .ctc import CtcReader

Image = NDArray[np.uint8]

Reading: TypeAlias = tuple[str, float]
"""Text, and the confidence of the recogniser in [0, 1]."""

Reader: TypeAlias = Callable[[Sequence[Image]], list[Reading]]
"""Any callable from upright crops, (h, w, 3) uint8 BGR each, to the reading of each."""

RAPIDOCR_FILE = "models/PP-OCRv6_rec_small.onnx"


def rapidocr_reader(cpu: CpuConfig = CpuConfig()) -> Reader:
    """Open the recogniser that the package rapidocr brings: PP-OCRv6 small, Chinese and Latin.

    It comes with the extra `pretrained`. The angle classifier of RapidOCR is not run: `read_text`
    turns what is read with little confidence.

    Args:
        cpu: Library, precision and threads, as for `Detector`.

    Raises:
        EngineError: The package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec("rapidocr")
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        path = Path(folder) / RAPIDOCR_FILE
        if path.is_file():
            return CtcReader(path, cpu=cpu)
    missing = f"the installed package rapidocr has no {RAPIDOCR_FILE}" if folders else (
        "the recogniser comes with the package rapidocr, which is not installed"
    )  # fmt: skip
    raise EngineError(f"{missing}; {install_hint('rapidocr')}")


def onnxtr_reader(arch: str = "crnn_mobilenet_v3_small") -> Reader:
    """Open a recogniser of OnnxTR, which downloads its weights on first use.

    Args:
        arch: Name of the architecture, as `onnxtr.models.recognition_predictor` takes it.

    Raises:
        ImportError: The package onnxtr is not installed.
    """
    try:
        from onnxtr.models import recognition_predictor
    except ImportError as error:
        raise ImportError(
            f"onnxtr_reader needs the package onnxtr ({error}); pip install 'onnxtr[cpu-headless]'"
        ) from error
    predictor = recognition_predictor(arch)

    def read(crops: Sequence[Image]) -> list[Reading]:
        rgb = [np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops]
        return [(str(text), float(sure)) for text, sure in predictor(rgb)] if rgb else []

    return read


def open_reader(name: str | Path = "rapidocr", cpu: CpuConfig = CpuConfig()) -> Reader:
    """Open a reader by name or path.

    Args:
        name: "rapidocr", "onnxtr", "onnxtr:ARCH", or the path of an ONNX recogniser whose metadata
            holds its characters, as PaddleOCR's do.
        cpu: Library, precision and threads, as for `Detector`; OnnxTR chooses its own.

    Raises:
        EngineError: The recogniser cannot be opened.
        ImportError: Its package is not installed.
        ValueError: There is no reader of that name.
    """
    kind, _, arch = str(name).partition(":")
    if kind == "rapidocr" and not arch:
        return rapidocr_reader(cpu)
    if kind == "onnxtr":
        return onnxtr_reader(arch) if arch else onnxtr_reader()
    if Path(name).suffix.lower() != ".onnx":
        raise ValueError(
            f'expected the reader "rapidocr", "onnxtr", "onnxtr:ARCH" or an .onnx file, got {name}'
        )
    if not Path(name).is_file():
        raise EngineError(f"there is no file {name}")
    return CtcReader(name, cpu=cpu)
