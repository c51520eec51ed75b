# SPDX-License-Identifier: Apache-2.0
"""What runs a network: one small protocol, one module a backend."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard


class Engine(Protocol):
    """A network, ready to run. May be called from several threads at once."""

    @property
    def card(self) -> ModelCard:
        """What the network needs and gives."""

    @property
    def description(self) -> str:
        """Backend, device and precision, for logs and benchmarks."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            batch: (B, 3, h, w) float32, contiguous; h and w multiples of 32.

        Returns:
            (B, h, w) float32, the caller's own: logits or probabilities, as the card says.

        Raises:
            EngineError: The network cannot run on this input.
        """
