# SPDX-License-Identifier: Apache-2.0
"""Checkpoints run by PyTorch, for development: no export between training and a look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..errors import EngineError

if TYPE_CHECKING:
    import torch


class TorchEngine:
    """A PyTorch network as an engine. May be called from several threads at once."""

    def __init__(
        self, model: Callable[[torch.Tensor], torch.Tensor], card: ModelCard, device: str = "cpu"
    ) -> None:
        """Wrap a network.

        Args:
            model: In evaluation mode, on `device`; (B, 3, h, w) float32 -> (B, h, w).
            card: What it needs and gives.
            device: "cpu", "cuda" or "cuda:0".
        """
        self._model, self._device, self.card = model, device, card
        self.description = f"PyTorch, {device}"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """(B, 3, h, w) float32 -> (B, h, w) float32."""
        import torch

        with torch.inference_mode():
            values = self._model(torch.from_numpy(batch).to(self._device))
        return np.asarray(values.float().cpu().numpy(), np.float32)


def load_checkpoint(path: Path, device: str = "cpu") -> TorchEngine:
    """Open a .safetensors file that `dbnet train` wrote.

    Raises:
        EngineError: torch is missing, or the file is not such a checkpoint.
    """
    try:
        from ..training.checkpoints import load_model
    except ImportError as error:
        raise EngineError(
            f"{path} is a training checkpoint and needs PyTorch ({error}); "
            "pip install 'dbnet-trt[train]', or export it to ONNX with `dbnet export`"
        ) from error
    model, card = load_model(path)
    return TorchEngine(model.to(device), card, device)
