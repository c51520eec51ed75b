# SPDX-License-Identifier: Apache-2.0
"""Options of every command that runs a detector."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Annotated, Any

from cyclopts import Parameter

from ..card import ModelCard
from ..detector import Detector
from ..opening import describe_model
from ..settings import CpuConfig, PostprocessOptions, SizePolicy, TileMode

MIN_THREADS_FOR_STREAMS = 8
"""Number of threads from which several images run side by side without being asked: each takes the
memory of an image and of a network. Two on two threads were faster too, on a busy machine
(benchmarks/results/epyc-avx512-vnni-2core/streams.json)."""

THREADS_PER_STREAM = 4
"""Threads for each image that runs beside others; our choice, to be measured on more cores."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Model, device, size and thresholds."""

    model: str | None = None
    """Name (see `dbnet models`), or path of an .onnx, .engine or .safetensors file; the default
    model if left out."""

    card: str | None = None
    """Card of another project's ONNX file: paddleocr, mmocr, doctr, opencv, or the path of one."""

    device: str = "auto"
    """Device that runs the model: auto, cpu, cuda or cuda:0."""

    short_side: int | None = None
    """Short side of the network's input, in pixels; larger finds smaller text but is slower."""

    tiles: TileMode | int = "auto"
    """Tiles in which large images go through the network at their own resolution: auto (where
    shrinking would lose text), on, off, or their side in pixels."""

    max_pixels: int | None = None
    """Largest image file that is decoded, in pixels (width x height); if left out 178956970, and
    100000000 in `dbnet serve`."""

    cpu: Annotated[CpuConfig, Parameter(name="*")] = CpuConfig()
    """Options of ONNX models on the CPU."""

    postprocess: Annotated[PostprocessOptions, Parameter(name="*", negative="")] = field(
        default_factory=PostprocessOptions
    )
    """Options of postprocessing, from the probability map to outlines."""

    def open_detector(self, *, polygons: bool = False, side_by_side: bool = False) -> Detector:
        """Open the detector that these options describe.

        Args:
            polygons: Whether it finds polygons even if the options do not ask for them.
            side_by_side: Whether it runs several images side by side where there are many cores,
                unless the options say how many.
        """
        options = PostprocessOptions(**self.postprocess)
        options["polygons"] = bool(options.get("polygons")) or polygons
        return Detector(
            self.model,
            device=self.device,
            card=self.card,
            cpu=self._choose_streams() if side_by_side else self.cpu,
            tiles=self.tiles,
            max_pixels=self.max_pixels,
            **options,
        )

    def _choose_streams(self) -> CpuConfig:
        num_threads = self.cpu.num_threads or os.cpu_count() or 1
        if self.cpu.num_streams or num_threads < MIN_THREADS_FOR_STREAMS:
            return self.cpu
        return dataclasses.replace(self.cpu, num_streams=num_threads // THREADS_PER_STREAM)

    def describe_run(self, detector: Detector) -> dict[str, Any]:
        """Describe what results depend on, in types of JSON: the model and the options given.

        The device and the number of threads are left out: they do not change what is found.
        """
        options = dataclasses.asdict(self)
        options |= options.pop("cpu") | options.pop("postprocess")
        for name in ("model", "card", "device", "num_threads", "num_streams", "max_pixels"):
            options.pop(name, None)
        given = {name: value for name, value in options.items() if value is not None}
        return describe_model(self.model, detector.card) | given

    def size(self, card: ModelCard) -> SizePolicy | None:
        """Return the size policy for `short_side`; None if it was left out."""
        if self.short_side is None:
            return None
        return SizePolicy(self.short_side, max(card.long_side_limit, self.short_side))


DEFAULT_OPTIONS = RunOptions()
