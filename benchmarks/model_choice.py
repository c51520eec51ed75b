# SPDX-License-Identifier: Apache-2.0
"""Which model is measured, and how it runs: these are the command line's options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from dbnet_trt import CpuConfig, Detector, GpuConfig, SizePolicy
from dbnet_trt.engines import DeviceEngine
from dbnet_trt.settings import Backend, Precision
from numpy.typing import NDArray
from scenes import dark_scene, text_scene


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """The model, and how it runs."""

    engine: str | None = None
    """Name of a model, or path of an .onnx, .engine or .safetensors file; the default model if left
    out; untrained-resnet18, untrained-resnet50, each with -dcn, or untrained-mobilenetv2."""

    device: str = "auto"
    """auto, cpu or cuda."""

    size: int | None = None
    """Short side inside the network, in pixels; the model's own if left out."""

    threads: int = 0
    """Threads of the network on the CPU; 0 takes one a core."""

    precision: Precision = "auto"
    """On the CPU."""

    backend: Backend = "auto"
    """On the CPU."""

    @property
    def is_untrained(self) -> bool:
        """Whether it is one of untrained.py, which finds what is dark."""
        return (self.engine or "").startswith("untrained-")

    def open(self, *, gpu: GpuConfig | None = None) -> Detector:
        """A detector of its own."""
        size = None if self.size is None else SizePolicy(self.size)
        engine: Any = self.engine
        if self.is_untrained:
            engine = self._open_untrained(self.engine or "")
        return Detector(
            engine,
            device=self.device,
            size=size,
            cpu=CpuConfig(self.backend, self.precision, self.threads),
            gpu=gpu,
        )

    def draw(
        self, height: int, width: int, num_lines: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """(height, width, 3) uint8: a scene with text that the model finds."""
        draw = dark_scene if self.is_untrained else text_scene
        return draw(height, width, num_lines, rng)

    def _open_untrained(self, name: str) -> Any:
        try:
            from untrained import NAMES, open_untrained
        except ImportError as error:
            raise SystemExit(
                f"untrained networks need PyTorch ({error}); pip install 'dbnet-trt[train]'"
            ) from error
        if name not in NAMES:
            raise SystemExit(f"there is no {name}; untrained networks: {', '.join(NAMES)}")
        config = CpuConfig(self.backend, self.precision, self.threads)
        return open_untrained(name, self.device, config)


def runs_on_gpu(detector: Detector) -> bool:
    """Whether its stages are one graph on the GPU."""
    return isinstance(detector._engine, DeviceEngine)
