# SPDX-License-Identifier: Apache-2.0
"""Inference engines: two protocols, one module per backend."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard


class Engine(Protocol):
    """A network on arrays in host memory. May be called from several threads at once."""

    @property
    def card(self) -> ModelCard:
        """Card of the model: the network's input and output."""

    @property
    def description(self) -> str:
        """Backend, device and precision, for logs and benchmarks."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network.

        Args:
            batch: (B, 3, h, w) float32, contiguous; h and w multiples of 32.

        Returns:
            (B, h, w) float32, owned by the caller: logits or probabilities, as the card says.

        Raises:
            EngineError: The network cannot run on this input.
        """

    # An engine for which a batch is no faster than its images one by one has an attribute
    # `runs_one_by_one` that is true: it then gets them so, in one shape instead of several.


@runtime_checkable
class DeviceEngine(Protocol):
    """A network for the GPU pipeline: it enqueues work on a CUDA stream and never waits."""

    card: ModelCard
    """Card of the model: the network's input and output."""

    description: str
    """Library, version, device and precision, for logs."""

    input_is_half: bool
    """Whether the input is float16, else float32."""

    output_is_half: bool
    """Whether the output is float16, else float32."""

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Make contexts and scratch memory for an input shape, so that `enqueue` can be captured.

        Args:
            batch: Number of images.
            height: Height of the input in pixels.
            width: Width of the input in pixels.

        Raises:
            EngineError: The engine does not take this shape; the message names the shapes it takes.
        """

    # An engine that can free what it prepared also has a method `release(batch, height, width)`. It
    # is called when no graph uses the shape any more; until then graphs hold addresses of its
    # memory. An engine that is bound to a GPU has an attribute `ordinal`, the GPU's number.
    # Detectors do not share engines: one engine per detector.

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
