# SPDX-License-Identifier: Apache-2.0
"""Options of the command line that choose the model to measure, and how it runs."""

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
    """Model to measure, and how it runs."""

    engine: str | None = None
    """Name of a model, or path of an .onnx, .engine or .safetensors file; untrained-resnet18 or
    untrained-resnet50, each also with -dcn, or untrained-mobilenetv2; by default the default
    model."""

    device: str = "auto"
    """Device: auto, cpu or cuda."""

    size: int | None = None
    """Short side of images in the network, in pixels; by default the model's own."""

    threads: int = 0
    """Number of threads that run the network on the CPU; 0 uses one thread per core."""

    streams: int = 0
    """Number of images that `detect_batch` runs side by side on the CPU; 0 is one."""

    precision: Precision = "auto"
    """On the CPU."""

    backend: Backend = "auto"
    """On the CPU."""

    @property
    def is_untrained(self) -> bool:
        """Whether the model is one of untrained.py, for which dark pixels are text."""
        return (self.engine or "").startswith("untrained-")

    def open(self, *, gpu: GpuConfig | None = None) -> Detector:
        """Open a new detector."""
        size = None if self.size is None else SizePolicy(self.size)
        engine: Any = self.engine
        if self.is_untrained:
            engine = self._open_untrained(self.engine or "")
        return Detector(
            engine,
            device=self.device,
            size=size,
            cpu=CpuConfig(self.backend, self.precision, self.threads, self.streams),
            gpu=gpu,
        )

    def draw(
        self, height: int, width: int, num_lines: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Draw a scene with text that the model finds: (height, width, 3) uint8."""
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
    """Tell whether a detector runs in one graph on the GPU."""
    return isinstance(detector._engine, DeviceEngine)
