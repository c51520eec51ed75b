# SPDX-License-Identifier: Apache-2.0
"""Grouping of images of mixed sizes into batches of one size."""

from __future__ import annotations

from typing import Any, Protocol

from ..detections import Detections
from ..images.decode import MAX_PIXELS
from ..settings import PostprocessParams, ResizePlan, SizePolicy

MAX_WAITING_BYTES = 64 << 20
"""Size of the images that wait for others of their size in the network."""


class Runner(Protocol):
    """Detection of text in batches, on the CPU or the GPU."""

    def load(self, source: Any, stream: int | None = None, max_pixels: int = MAX_PIXELS) -> Any:
        """Load an image; an array in GPU memory stays there.

        Args:
            source: Image, as `Detector.detect` takes it.
            stream: Handle of the CUDA stream that writes an array in GPU memory; None takes the
                array's own.
            max_pixels: Limit on width x height of an image file or PIL image.

        Returns:
            An image for `submit`, with a `shape` that begins with height and width.

        Raises:
            ImageError: The image is missing, broken, or of another shape or type.
            TypeError: `source` is not an image.
        """

    def submit(
        self, images: list[Any], plans: list[ResizePlan], params: PostprocessParams, prob_map: bool
    ) -> Any:
        """Start the detection of one batch.

        Args:
            images: B images from `load`.
            plans: B plans with the same `padded` size.
            params: Post-processing parameters.
            prob_map: Whether the results contain the probability map.

        Returns:
            A handle for `collect`.

        Raises:
            EngineError: The network cannot run.
        """

    def collect(self, pending: Any) -> list[Detections]:
        """Wait for a batch.

        Args:
            pending: Return value of `submit`.

        Returns:
            B results, one per image.

        Raises:
            EngineError: The network failed.
        """


class Batches:
    """Images grouped by their size in the network, and their results in the images' order."""

    def __init__(
        self,
        runner: Runner,
        size: SizePolicy,
        params: PostprocessParams,
        prob_map: bool,
        batch_size: int = 1,
    ) -> None:
        """Begin without images.

        Args:
            runner: Runner that takes the batches.
            size: Size of images in the network.
            params: Post-processing parameters.
            prob_map: Whether the results contain the probability map.
            batch_size: Maximum number of images in one batch, 1 or more.
        """
        self._runner, self._size, self._params = runner, size, params
        self._prob_map, self._batch_size = prob_map, batch_size
        self._waiting: dict[tuple[int, int], list[tuple[int, Any, ResizePlan]]] = {}
        self._running: list[tuple[list[int], Any]] = []
        self._num_images, self._waiting_bytes = 0, 0

    def add(self, image: Any) -> None:
        """Add an image from `Runner.load`; a batch that is full is submitted.

        All are submitted where those that wait take much memory: the images may come one by one.
        """
        plan = self._size.plan(*image.shape[:2])
        group = self._waiting.setdefault(plan.padded, [])
        group.append((self._num_images, image, plan))
        self._num_images += 1
        num_bytes = 3 * image.shape[0] * image.shape[1]
        self._waiting_bytes += num_bytes
        if len(group) == self._batch_size:
            self._submit(self._waiting.pop(plan.padded))
        elif self._waiting_bytes > MAX_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Submit the batches that are not full."""
        for group in self._waiting.values():
            while group:
                # Powers of two: the engine prepares few shapes, and no padding images are run.
                count = 1 << (len(group).bit_length() - 1)
                self._submit(group[:count])
                del group[:count]

    def finish(self) -> list[Detections]:
        """Wait for all results; they come in the order of the images.

        Raises:
            EngineError: The network failed.
        """
        self.flush()
        results: dict[int, Detections] = {}
        for indices, pending in self._running:
            results.update(zip(indices, self._runner.collect(pending), strict=True))
        return [results[index] for index in range(self._num_images)]

    def _submit(self, group: list[tuple[int, Any, ResizePlan]]) -> None:
        indices, images, plans = map(list, zip(*group, strict=True))
        self._waiting_bytes -= sum(3 * plan.image[0] * plan.image[1] for plan in plans)
        pending = self._runner.submit(images, plans, self._params, self._prob_map)
        self._running.append((indices, pending))
