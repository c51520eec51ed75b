# SPDX-License-Identifier: Apache-2.0
"""Real-time scene-text detection with Differentiable Binarization.

>>> from dbnet_trt import Detector
>>> detections = Detector().detect("photo.jpg")
"""

from .building.build import BuiltEngine, build_engine
from .building.config import BuildConfig
from .card import ModelCard
from .detections import Detection, Detections
from .detector import Detector, Ticket
from .errors import BuildError, DBNetError, EngineError, ImageError
from .gpu_status import cuda_available
from .images.nv12 import Nv12Frame
from .images.pages import Page, read_pages
from .pipeline.gpu import GpuUsage
from .settings import (
    CpuConfig,
    DetectOptions,
    DetectorOptions,
    GpuConfig,
    PostprocessParams,
    SizePolicy,
    Tiles,
)

__version__ = "0.1.0"
__all__ = [
    "BuildConfig",
    "BuildError",
    "BuiltEngine",
    "CpuConfig",
    "DBNetError",
    "DetectOptions",
    "Detection",
    "Detections",
    "Detector",
    "DetectorOptions",
    "EngineError",
    "GpuConfig",
    "GpuUsage",
    "ImageError",
    "ModelCard",
    "Nv12Frame",
    "Page",
    "PostprocessParams",
    "SizePolicy",
    "Ticket",
    "Tiles",
    "build_engine",
    "cuda_available",
    "read_pages",
]
