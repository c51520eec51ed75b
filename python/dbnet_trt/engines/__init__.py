# SPDX-License-Identifier: Apache-2.0
"""What runs a network: one small protocol, one module a backend."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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


@runtime_checkable
class DeviceEngine(Protocol):
    """What the GPU pipeline needs of a network: it enqueues work on a stream and never waits."""

    card: ModelCard
    """What the network needs and gives."""

    description: str
    """What runs it, for logs: library, version, device, precision."""

    input_is_half: bool
    """Whether the input is float16, else float32."""

    output_is_half: bool
    """Whether the output is float16, else float32."""

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Get ready for a shape: contexts and scratch memory, so that `enqueue` can be captured.

        Raises:
            EngineError: The engine does not take this shape; the message names what it takes.
        """

    # An engine that frees what it prepared has a method `release(batch, height, width)`, too. It is
    # called when no graph uses the shape any more; until then graphs hold addresses of its memory.
    # One that is bound to a GPU tells its number by an attribute `ordinal`. Detectors do not share
    # engines: one engine, one detector.

    def enqueue(
        self, input_pointer: int, output_pointer: int, shape: tuple[int, int, int], stream: int
    ) -> None:
        """Enqueue the network on a CUDA stream.

        Args:
            input_pointer: Device address of the input, (B, 3, h, w), contiguous.
            output_pointer: Device address for the output, (B, h, w), contiguous.
            shape: (B, h, w), prepared before.
            stream: Handle of the stream; it may be capturing a graph.
        """
