# SPDX-License-Identifier: Apache-2.0
"""Options of every command that runs a detector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from cyclopts import Parameter

from ..card import ModelCard
from ..detector import Detector
from ..settings import CpuConfig, PostprocessOptions, SizePolicy


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

    max_pixels: int | None = None
    """Largest image file that is decoded, in pixels (width x height); 178956970 if left out."""

    cpu: Annotated[CpuConfig, Parameter(name="*")] = CpuConfig()
    """Options of ONNX models on the CPU."""

    postprocess: Annotated[PostprocessOptions, Parameter(name="*", negative="")] = field(
        default_factory=PostprocessOptions
    )
    """Options of postprocessing, from the probability map to outlines."""

    def open_detector(self, *, polygons: bool = False) -> Detector:
        """Open the detector that these options describe, for polygons if either asks for them."""
        options = PostprocessOptions(**self.postprocess)
        options["polygons"] = bool(options.get("polygons")) or polygons
        return Detector(
            self.model,
            device=self.device,
            card=self.card,
            cpu=self.cpu,
            max_pixels=self.max_pixels,
            **options,
        )

    def size(self, card: ModelCard) -> SizePolicy | None:
        """Return the size policy for `short_side`; None if it was left out."""
        if self.short_side is None:
            return None
        return SizePolicy(self.short_side, max(card.long_side_limit, self.short_side))


DEFAULT_OPTIONS = RunOptions()
