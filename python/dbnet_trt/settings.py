# SPDX-License-Identifier: Apache-2.0
"""Settings of detection: every default stands here once, with its source.

Models bring their own thresholds and sizes in their cards; these are for cards that do not say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import numpy as np

from .errors import did_you_mean

MULTIPLE = 32
"""Network inputs are multiples of this, in pixels: five halvings in the backbone."""

SHORT_SIDE = 736
"""Short side of images in the network, in pixels: the paper's for ICDAR 2015 and MSRA-TD500."""

LONG_SIDE_LIMIT = 4096
"""Limit on the long side of images in the network, in pixels: bounds memory (our choice)."""

BINARY_THRESHOLD = 0.3
"""PaddleOCR's and the authors' code's; the paper says 0.2."""

SCORE_THRESHOLD = 0.6
"""PaddleOCR's; the authors' code has 0.6 for MSRA-TD500 and 0.55 for ICDAR 2015, mmocr 0.3."""

UNCLIP_RATIO = 1.5
"""The paper's r'."""

MAX_CANDIDATES = 1000
"""PaddleOCR's and the authors' code's."""

Backend = Literal["auto", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16"]


class ResizePlan(NamedTuple):
    """Sizes of one image on its way into the network, each (height, width) in pixels."""

    image: tuple[int, int]
    """Size of the original image."""

    resized: tuple[int, int]
    """Size of the resized image, which lies in the top left corner of the network's input."""

    padded: tuple[int, int]
    """Size of the network's input: `resized`, each side rounded up to a multiple of 32."""


@dataclass(frozen=True, slots=True)
class SizePolicy:
    """How large an image enters the network. The aspect ratio is kept."""

    short_side: int = SHORT_SIDE
    """Short side of the resized image, in pixels; images are scaled up or down to it."""

    long_side_limit: int = LONG_SIDE_LIMIT
    """Maximum long side of the resized image, in pixels; it wins over `short_side`."""

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side_limit"):
            value = getattr(self, name)
            is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not is_whole or value < 1:
                raise ValueError(
                    f"{name} must be a whole number of pixels, 1 or more, got {value!r}"
                )
            object.__setattr__(self, name, int(value))

    def plan(self, height: int, width: int) -> ResizePlan:
        """ResizePlan the resize of an image of this height and width, both at least 1."""
        factor = self.short_side / min(height, width)
        if max(height, width) * factor > self.long_side_limit:
            factor = self.long_side_limit / max(height, width)
        resized = (max(1, round(height * factor)), max(1, round(width * factor)))
        return ResizePlan((height, width), resized, (round_up(resized[0]), round_up(resized[1])))


def round_up(side: int) -> int:
    """Round a side up to the next multiple of 32 pixels."""
    return -(-side // MULTIPLE) * MULTIPLE


@dataclass(frozen=True, slots=True)
class PostprocessParams:
    """How text is read off the probability map."""

    binary_threshold: float = BINARY_THRESHOLD
    """Pixels with a greater probability are text, in [0, 1]."""

    score_threshold: float = SCORE_THRESHOLD
    """Text is dropped if its score, the mean probability in its outline, is lower, in [0, 1]."""

    unclip_ratio: float = UNCLIP_RATIO
    """r': outlines grow by D' = A' r' / L', for area A' and perimeter L'; 0 leaves them shrunk."""

    max_candidates: int = MAX_CANDIDATES
    """Maximum number of detections per image; the highest-scoring are kept."""

    polygons: bool = False
    """Whether to return polygons that follow curved text, beside the quads around them."""

    def __post_init__(self) -> None:
        for name in ("binary_threshold", "score_threshold", "unclip_ratio", "max_candidates"):
            value = getattr(self, name)
            if not isinstance(value, (int, float, np.integer, np.floating)):
                raise TypeError(f"{name} must be a number, got {value!r}")
        for name in ("binary_threshold", "score_threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        if not 0 <= self.unclip_ratio < float("inf"):
            raise ValueError(f"unclip_ratio must be 0 or more, got {self.unclip_ratio}")
        if not (self.max_candidates >= 1 and float(self.max_candidates).is_integer()):
            raise ValueError(
                f"max_candidates must be a whole number, 1 or more, got {self.max_candidates}"
            )


class PostprocessOptions(TypedDict, total=False):
    """Fields of `PostprocessParams` to set; what is left out or None is taken from the card."""

    binary_threshold: float | None
    """Pixels with a greater probability are text, 0 to 1."""

    score_threshold: float | None
    """Text with a lower score is dropped, 0 to 1."""

    unclip_ratio: float | None
    """How far outlines grow around the shrunk text regions; 0 leaves them shrunk."""

    max_candidates: int | None
    """Maximum number of detections per image; the highest-scoring are kept. The GPU looks at 8192
    components at most, and warns where there are more."""

    polygons: bool | None
    """Whether to follow curved text with polygons, beside the quads around them."""


class DetectorOptions(PostprocessOptions, total=False):
    """Options of a `Detector`, for all its calls."""

    size: SizePolicy | None
    """How large images enter the network."""


class DetectOptions(DetectorOptions, total=False):
    """Options of one call; what is left out or None is the detector's."""

    prob_map: bool
    """Whether to return the probability map, too."""

    stream: Any
    """The CUDA stream that writes images in GPU memory: its handle, or an object of torch, CuPy or
    PyCUDA; by default the one that is current for the array."""


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """How an ONNX model runs on the CPU."""

    backend: Backend = "auto"
    """Library that runs the network; "auto" takes OpenVINO where it is installed, else ONNX
    Runtime."""

    precision: Precision = "auto"
    """Arithmetic of the network; "auto" takes bf16 where the CPU has instructions for it (AMX,
    AVX512-BF16), else fp32."""

    num_threads: int = 0
    """Threads of the network; 0 uses one per core."""

    def __post_init__(self) -> None:
        for name, choices in (("backend", get_args(Backend)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {value!r}"
                    f"{did_you_mean(value, choices)}"
                )
        if self.num_threads < 0:
            raise ValueError(f"num_threads must be 0 (all cores) or more, got {self.num_threads}")


@dataclass(frozen=True, slots=True)
class GpuConfig:
    """Limits on what the pipeline takes of the GPU."""

    cuda_graphs: bool = True
    """Whether to capture the work of each input size in a CUDA graph and replay it."""

    max_shapes: int = 8
    """Maximum number of input sizes (with their batch) kept ready; the least recently used goes."""

    max_memory_mb: int = 4096
    """Maximum GPU memory of these in MiB, beside the network's own; one size may take more."""


def check_device(device: str) -> str:
    """Return `device` if it is "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        ValueError: It is none of these.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)):
        raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:0", got {device!r}')
    return device


def device_ordinal(device: str) -> int:
    """Return the number of a CUDA device: 1 of "cuda:1", 0 of "cuda" and "auto"."""
    return int(device.partition(":")[2] or 0)
