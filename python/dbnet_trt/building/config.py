# SPDX-License-Identifier: Apache-2.0
"""Settings of an engine build."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Literal

from ..engines.engine_card import Shape
from ..settings import MULTIPLE

MAX_SHAPE_PIXELS = 1 << 26
"""Largest height x width of an engine: 8192x8192, whose maps alone take gigabytes."""

_SIZE = r"\d+x\d+"

GPU_ONLY = ("shapes", "batch", "dcn", "rtx", "compute_capability", "cache")
"""Settings of engines for GPUs, which a file for CPUs does not have."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """Settings of an engine build."""

    precision: Literal["fp32", "fp16", "int8", "fp8"] = "fp16"
    """Precision of the network; fp8 needs calibration, and int8 unless the model comes in int8."""

    shapes: str = "32x32/736x1280/2048x2048"
    """Smallest, best and largest input, as HEIGHTxWIDTH/HEIGHTxWIDTH/HEIGHTxWIDTH in multiples of
    32 pixels; a single HEIGHTxWIDTH allows this size only."""

    batch: int = 1
    """Largest batch size; the engine is optimised for it."""

    dcn: Literal["gridsample", "plugin"] = "gridsample"
    """Form of a checkpoint's deformable convolutions: samplings and convolutions (gridsample), or
    TensorRT's plugin (plugin; TensorRT 10.1 or later, not TensorRT-RTX)."""

    calibration: str | None = None
    """Images like those to be detected, for int8 and fp8: a folder, or a data set as FORMAT:PATH;
    a hundred or more are best. A model that comes in int8 needs none."""

    rtx: bool = False
    """Build with TensorRT-RTX, which needs no GPU; on a machine without a GPU this is the
    default."""

    compute_capability: str = ""
    """Compute capabilities to build for with TensorRT-RTX, as in 75,86,89; by default that of this
    machine's GPU, or without a GPU all since Ampere (80). NVIDIA advises a separate engine for
    Turing (75)."""

    target: Literal["gpu", "cpu"] = "gpu"
    """Hardware to build for: an engine for GPUs by TensorRT; with --precision int8 an ONNX file
    for CPUs. With --triton, a model for CPUs is served in int8 or as it is."""

    check: bool = True
    """Compare the boxes with ONNX Runtime's in fp32 before the file is written."""

    distill_steps: int = 0
    """Steps in which the weights of a file in int8 for CPUs are trained until its map is that of
    the network in fp32, on the calibration images, and once more for each choice of layers to
    leave out; this needs PyTorch. 400 steps of dbnet-lines take some 15 minutes of one core (AMD
    EPYC of the first generation)."""

    cache: bool = True
    """Reuse an engine that was built before from the same file with the same settings."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be 1 or more, got {self.batch}")
        if self.target == "cpu":
            self._check_cpu()
        if self.distill_steps and (self.target, self.precision) != ("cpu", "int8"):
            raise ValueError(
                "--distill-steps is for files in int8 for CPUs; give --target cpu --precision int8"
            )
        if self.distill_steps < 0:
            raise ValueError(f"distill-steps must be 0 or more, got {self.distill_steps}")
        takes_photos = self.precision in ("int8", "fp8")
        has_photos = self.calibration is not None
        if has_photos > takes_photos or (self.precision == "fp8" and not has_photos):
            raise ValueError(
                "fp8 needs calibration images (--calibration FOLDER or FORMAT:PATH), and fp32 and "
                f"fp16 take none; got precision {self.precision} and calibration "
                f"{self.calibration}"
            )
        _ = self.profile, self.capabilities  # these check the fields they read

    def _check_cpu(self) -> None:
        if self.precision == "fp8":
            raise ValueError("fp8 is for engines of GPUs; for CPUs give --precision int8")
        for field in dataclasses.fields(self):
            if field.name in GPU_ONLY and getattr(self, field.name) != field.default:
                name = field.name.replace("_", "-")
                raise ValueError(f"--{name} is for engines of GPUs; leave it out with --target cpu")

    @property
    def profile(self) -> tuple[Shape, Shape, Shape]:
        """Smallest, best and largest input, each (batch, height, width).

        Raises:
            ValueError: `shapes` has another form, or its sizes are not in order or too large.
        """
        parts = self.shapes.split("/")
        sizes = [tuple(map(int, part.split("x"))) for part in parts if re.fullmatch(_SIZE, part)]
        if len(sizes) != len(parts) or len(sizes) not in (1, 3):
            raise ValueError(
                "shapes must be SMALLEST/BEST/LARGEST or one size, as in "
                f'32x32/736x1280/2048x2048, got "{self.shapes}"'
            )
        smallest, best, largest = sizes if len(sizes) == 3 else sizes * 3
        for axis in (0, 1):
            if not smallest[axis] <= best[axis] <= largest[axis]:
                raise ValueError(f'shapes must go from small to large, got "{self.shapes}"')
        if any(side % MULTIPLE or side < MULTIPLE for size in sizes for side in size):
            raise ValueError(f'sides must be multiples of {MULTIPLE} pixels, got "{self.shapes}"')
        if largest[0] * largest[1] > MAX_SHAPE_PIXELS:
            raise ValueError(
                f'shapes must have at most {MAX_SHAPE_PIXELS} pixels, got "{self.shapes}"'
            )
        batches = (1, self.batch, self.batch)
        first, second, third = (
            (batch, size[0], size[1])
            for batch, size in zip(batches, (smallest, best, largest), strict=True)
        )
        return first, second, third

    @property
    def capabilities(self) -> tuple[str, ...]:
        """`compute_capability` as in ("7.5", "8.6"), the lowest first; empty if not set.

        Raises:
            ValueError: `compute_capability` has another form.
        """
        names = [name for name in self.compute_capability.split(",") if name]
        if not all(re.fullmatch(r"\d{1,2}\.?\d", name) for name in names):
            raise ValueError(
                f"compute_capability must be as in 75,86,89, got {self.compute_capability!r}"
            )
        digits = {name.replace(".", "") for name in names}
        return tuple(sorted((f"{name[:-1]}.{name[-1]}" for name in digits), key=float))
