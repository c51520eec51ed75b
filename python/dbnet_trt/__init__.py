# SPDX-License-Identifier: Apache-2.0
"""Real-time scene-text detection with Differentiable Binarization."""

from ._core import cuda_available
from .errors import BuildError, DBNetError, EngineError, ImageError

__version__ = "0.1.0"
__all__ = ["BuildError", "DBNetError", "EngineError", "ImageError", "cuda_available"]
