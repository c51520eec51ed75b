# SPDX-License-Identifier: Apache-2.0
"""Settings of detection, and every default value with its source.

A model's card may set its own thresholds and sizes; the defaults apply where it does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypedDict, get_args

import numpy as np

from .errors import did_you_mean

MULTIPLE = 32
"""Sides of network inputs are multiples of this, in pixels: the backbone halves them five times."""

SHORT_SIDE = 736
"""Default short side in pixels. Source: the paper, for ICDAR 2015 and MSRA-TD500."""

LONG_SIDE_LIMIT = 4096
"""Default limit on the long side in pixels. Source: our choice; it bounds memory."""

MAX_ENLARGEMENT = 4
"""Times that a small image is enlarged at most: lines of 20 to 90 pixels, drawn and cut out, were
one outline at 1 to 4 times; at 6 to 23 times ever more broke into 2 to 6 parts or were lost
(ppocrv6-small, dbnet-mobile)."""

MAX_REDUCTION = 5.0
"""Times that an image may be shrunk before it is looked at in tiles or warned of: a 12-megapixel
photo is shrunk 4.1 times."""

TILE_SIDE = 1280
"""Default maximum side of a tile in pixels. On four drawn pages 87 % of ppocrv6-small's boxes had
an IoU of 0.9 or more with those of the whole page, at 960 pixels 77 % (overlap 128); larger tiles
take more memory: 177 MB each, at 960 pixels 123 MB."""

TILE_OVERLAP = 96
"""Default overlap of tiles in pixels. On the same pages 64 gave 79 % and 128 gave 87 %, but 128
takes more than 1.25 times the pixels of some drawings."""

MAX_TILE_SIDE = 8192
"""Largest side of a tile in pixels: that of the GPU's maps."""

MAX_SIDE = 32768
"""Largest side of a network's input, in pixels: its pixels are counted in 32 bits."""

MAX_UNCLIP_RATIO = 1000.0
"""Largest r', far beyond any use; corners stay finite."""

MAX_THREADS = 1024
"""Largest number of threads of a network."""

BINARY_THRESHOLD = 0.3
"""Default binarization threshold. Source: PaddleOCR and the authors' code; the paper says 0.2."""

SCORE_THRESHOLD = 0.6
"""Default minimum score. Source: PaddleOCR; the authors' code uses 0.6 for MSRA-TD500 and 0.55 for
ICDAR 2015, mmocr 0.3."""

UNCLIP_RATIO = 1.5
"""Default unclip ratio r'. Source: the paper."""

MAX_CANDIDATES = 1000
"""Default maximum number of detections. Source: PaddleOCR and the authors' code."""

MAX_CANDIDATES_LIMIT = 2**31 - 1
"""Largest limit on texts: the compiled core counts in 32 bits."""

Backend = Literal["auto", "openvino", "onnxruntime"]
Precision = Literal["auto", "fp32", "bf16", "int8"]


class ResizePlan(NamedTuple):
    """Sizes of an image before and after resizing, each (height, width) in pixels."""

    image: tuple[int, int]
    """Size of the original image."""

    resized: tuple[int, int]
    """Size of the resized image, which fills the top left corner of the network's input."""

    padded: tuple[int, int]
    """Size of the network's input: `resized`, each side rounded up to a multiple of 32."""


@dataclass(frozen=True, slots=True)
class SizePolicy:
    """Size of images in the network. The aspect ratio is kept."""

    short_side: int = SHORT_SIDE
    """Short side of the resized image, in pixels; images are scaled up (4 times at most) or down
    to it."""

    long_side_limit: int = LONG_SIDE_LIMIT
    """Maximum long side of the resized image, in pixels; it takes precedence over short_side."""

    def __post_init__(self) -> None:
        for name in ("short_side", "long_side_limit"):
            value = getattr(self, name)
            is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
            if not is_whole or value < 1:
                raise ValueError(
                    f"{name} must be a whole number of pixels, 1 or more, got {value!r}"
                )
            if value > MAX_SIDE:
                raise ValueError(f"{name} must be at most {MAX_SIDE} pixels, got {value}")
            object.__setattr__(self, name, int(value))

    def plan(self, height: int, width: int) -> ResizePlan:
        """Plan how an image is resized.

        Args:
            height: Height of the image in pixels, 1 or more.
            width: Width of the image in pixels, 1 or more.
        """
        factor = min(self.short_side / min(height, width), MAX_ENLARGEMENT)
        if max(height, width) * factor > self.long_side_limit:
            factor = self.long_side_limit / max(height, width)
        resized = (max(1, round(height * factor)), max(1, round(width * factor)))
        return ResizePlan((height, width), resized, (round_up(resized[0]), round_up(resized[1])))

    def bounds_enlargement(self, height: int, width: int) -> bool:
        """Whether an image of this size is enlarged less than `short_side` asks for."""
        wanted = self.short_side / min(height, width)
        return wanted > MAX_ENLARGEMENT and max(height, width) * wanted <= self.long_side_limit


@dataclass(frozen=True, slots=True)
class Tiles:
    """Tiles in which an image goes through the network at its own resolution."""

    side: int = TILE_SIDE
    """Maximum side of a tile, in pixels; a multiple of 32."""

    overlap: int = TILE_OVERLAP
    """Overlap of neighbouring tiles, in pixels; a multiple of 32, at most half a side."""

    batch_size: int = 1
    """Number of tiles that go through the network at once; more is faster on a GPU only."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("side", 2 * MULTIPLE, MAX_TILE_SIDE),
            ("overlap", MULTIPLE, MAX_TILE_SIDE),
        ):
            value = getattr(self, name)
            _check_whole(f"{name} of tiles", value, least, most)
            if value % MULTIPLE:
                raise ValueError(
                    f"{name} of tiles must be a multiple of {MULTIPLE} pixels, got {value}"
                )
        _check_whole("batch_size of tiles", self.batch_size, 1, 2**16)
        if 2 * self.overlap > self.side:
            raise ValueError(
                f"overlap of tiles must be at most half their side, {self.side}, got {self.overlap}"
            )


TileMode = Literal["auto", "on", "off"]


def check_tiles(tiles: Tiles | TileMode | int) -> Tiles | Literal["auto", "off"]:
    """Check the option `tiles`, and return tiles where it asks for them.

    Raises:
        ValueError: There is no such mode, or a side is out of range.
        TypeError: It is neither a mode, a number nor `Tiles`.
    """
    if isinstance(tiles, Tiles):
        return tiles
    if isinstance(tiles, (int, np.integer)) and not isinstance(tiles, bool):
        return Tiles(int(tiles), min(TILE_OVERLAP, max(MULTIPLE, int(tiles) // 2 // 32 * 32)))
    if not isinstance(tiles, str):
        raise TypeError(
            'tiles must be "auto", "on", "off", a side in pixels, or Tiles(side=..., overlap=...), '
            f"got {tiles!r}"
        )
    if tiles == "on":
        return Tiles()
    if tiles not in ("auto", "off"):
        raise ValueError(
            f'tiles must be "auto", "on", "off" or a side in pixels, got {tiles!r}'
            f"{did_you_mean(tiles, get_args(TileMode))}"
        )
    return "auto" if tiles == "auto" else "off"


def round_up(side: int) -> int:
    """Round a side in pixels up to a multiple of 32."""
    return -(-side // MULTIPLE) * MULTIPLE


@dataclass(frozen=True, slots=True)
class PostprocessParams:
    """Parameters that turn the probability map into outlines of text."""

    binary_threshold: float = BINARY_THRESHOLD
    """Probability above which a pixel is text, in [0, 1]."""

    score_threshold: float = SCORE_THRESHOLD
    """Minimum score of a detection, the mean probability inside its outline, in [0, 1]."""

    unclip_ratio: float = UNCLIP_RATIO
    """Unclip ratio r': outlines grow by D' = A' r' / L', for area A' and perimeter L'; 0 leaves
    them shrunk."""

    max_candidates: int = MAX_CANDIDATES
    """Maximum number of detections per image; the highest-scoring are kept."""

    polygons: bool = False
    """Return polygons that follow curved text in addition to quads."""

    def __post_init__(self) -> None:
        for name in ("binary_threshold", "score_threshold", "unclip_ratio", "max_candidates"):
            value = getattr(self, name)
            if not isinstance(value, (int, float, np.integer, np.floating)):
                raise TypeError(f"{name} must be a number, got {value!r}")
        for name in ("binary_threshold", "score_threshold"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        if not 0 <= self.unclip_ratio <= MAX_UNCLIP_RATIO:
            raise ValueError(
                f"unclip_ratio must lie between 0 and {MAX_UNCLIP_RATIO:.0f}, "
                f"got {self.unclip_ratio}"
            )
        limit = MAX_CANDIDATES_LIMIT
        if not (1 <= self.max_candidates <= limit and float(self.max_candidates).is_integer()):
            raise ValueError(
                f"max_candidates must be a whole number between 1 and {limit}, "
                f"got {self.max_candidates}"
            )


class PostprocessOptions(TypedDict, total=False):
    """Fields of `PostprocessParams` to override; the model's card sets those left out or None."""

    binary_threshold: float | None
    """Probability above which a pixel is text, 0 to 1."""

    score_threshold: float | None
    """Minimum score of a detection, 0 to 1."""

    unclip_ratio: float | None
    """Growth of outlines around the shrunk text regions; 0 leaves them shrunk."""

    max_candidates: int | None
    """Maximum number of detections per image, of an image in tiles per tile; the highest-scoring
    are kept. The GPU considers at most 8192 text regions of an image that is not in tiles, and logs
    a warning if there are more."""

    polygons: bool | None
    """Return polygons that follow curved text in addition to quads."""


class DetectorOptions(PostprocessOptions, total=False):
    """Options of a `Detector` that apply to all its calls."""

    size: SizePolicy | None
    """Size of images in the network."""

    tiles: Tiles | TileMode | int | None
    """Tiles in which large images go through the network at their own resolution, joined to one
    map: "auto" where shrinking would lose text, "on" and "off" for every image, or their side in
    pixels or `Tiles`."""

    max_pixels: int | None
    """Limit on width x height of image files and PIL images, checked before they are decoded:
    178,956,970 where left out, as Pillow has it."""


class DetectOptions(DetectorOptions, total=False):
    """Options of one call; the detector's apply where they are left out or None."""

    prob_map: bool
    """Return the probability map as well."""

    stream: Any
    """CUDA stream that writes images in GPU memory: its handle, or an object of torch, CuPy or
    PyCUDA; by default the current stream of the array's library."""


@dataclass(frozen=True, slots=True)
class CpuConfig:
    """Settings of ONNX models on the CPU."""

    backend: Backend = "auto"
    """Library that runs the network; "auto" uses OpenVINO if it is installed, else ONNX Runtime."""

    precision: Precision = "auto"
    """Precision of the network; "auto" uses int8 if the named model comes in it and it is faster
    on this CPU, else bf16 if the CPU has instructions for it (AMX, AVX512-BF16), else fp32."""

    num_threads: int = 0
    """Number of threads that run the network; 0 uses one thread per core."""

    num_streams: int = 0
    """Number of images that `submit` and `detect_batch` run side by side, each on its share of the
    threads; 0 is one, and for folders on 8 or more cores one per 4 threads."""

    def __post_init__(self) -> None:
        for name, choices in (("backend", get_args(Backend)), ("precision", get_args(Precision))):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(
                    f"{name} must be one of {', '.join(choices)}, got {value!r}"
                    f"{did_you_mean(value, choices)}"
                )
        _check_whole("num_threads", self.num_threads, 0, MAX_THREADS)
        _check_whole("num_streams", self.num_streams, 0, MAX_THREADS)


@dataclass(frozen=True, slots=True)
class GpuConfig:
    """Settings of the pipeline on the GPU."""

    cuda_graphs: bool = True
    """Capture the work of each input size in a CUDA graph and replay it."""

    max_shapes: int = 8
    """Maximum number of input shapes (batch, height, width) kept ready; the least recently used is
    dropped."""

    max_memory_mb: int = 4096
    """Maximum GPU memory of these shapes in MiB, without the network's own; a single shape may
    exceed it."""

    def __post_init__(self) -> None:
        _check_whole("max_shapes", self.max_shapes, 1, 2**31 - 1)
        _check_whole("max_memory_mb", self.max_memory_mb, 0, 2**31 - 1)


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_whole or not least <= int(value) <= most:  # type: ignore[call-overload]
        raise ValueError(f"{name} must be a whole number between {least} and {most}, got {value!r}")


def check_device(device: str) -> str:
    """Check that a device is "auto", "cpu", "cuda" or "cuda:N", and return it.

    Raises:
        ValueError: The device is none of these.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)):
        raise ValueError(f'device must be "auto", "cpu", "cuda" or "cuda:0", got {device!r}')
    return device


def device_ordinal(device: str) -> int:
    """Return the number of a CUDA device: 1 for "cuda:1", 0 for "cuda" and "auto"."""
    return int(device.partition(":")[2] or 0)
