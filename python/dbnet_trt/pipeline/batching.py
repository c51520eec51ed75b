# SPDX-License-Identifier: Apache-2.0
"""Images of mixed sizes, brought together into frames of one size."""

from __future__ import annotations

from typing import Any, Protocol

from ..detections import Detections
from ..settings import PostprocessParams, ResizePlan, SizePolicy


class Runner(Protocol):
    """What takes frames: the CPU or the GPU."""

    def load(self, source: Any, stream: int | None) -> Any:
        """An image, where it is."""

    def submit(
        self, images: list[Any], plans: list[ResizePlan], params: PostprocessParams, prob_map: bool
    ) -> Any:
        """Take images of the same padded size."""

    def collect(self, pending: Any) -> list[Detections]:
        """The text of what `submit` returned, one result an image."""


class Batches:
    """Images waiting for others of their size; results by the images' order."""

    def __init__(
        self,
        runner: Runner,
        size: SizePolicy,
        params: PostprocessParams,
        prob_map: bool,
        batch_size: int = 1,
    ) -> None:
        self._runner, self._size, self._params = runner, size, params
        self._prob_map, self._batch_size = prob_map, batch_size
        self._waiting: dict[tuple[int, int], list[tuple[int, Any, ResizePlan]]] = {}
        self._running: list[tuple[list[int], Any]] = []
        self._num_images = 0

    def add(self, image: Any) -> None:
        """Take an image; when a frame is full, it is submitted."""
        plan = self._size.plan(*image.shape[:2])
        group = self._waiting.setdefault(plan.padded, [])
        group.append((self._num_images, image, plan))
        self._num_images += 1
        if len(group) == self._batch_size:
            self._submit(self._waiting.pop(plan.padded))

    def flush(self) -> None:
        """Submit the frames that are not full."""
        for group in self._waiting.values():
            while group:
                # Powers of two: few shapes for the engine to prepare, and no empty work.
                count = 1 << (len(group).bit_length() - 1)
                self._submit(group[:count])
                del group[:count]

    def finish(self) -> list[Detections]:
        """Wait for all results, in the order of the images."""
        self.flush()
        results: dict[int, Detections] = {}
        for indices, pending in self._running:
            results.update(zip(indices, self._runner.collect(pending), strict=True))
        return [results[index] for index in range(self._num_images)]

    def _submit(self, group: list[tuple[int, Any, ResizePlan]]) -> None:
        indices, images, plans = map(list, zip(*group, strict=True))
        pending = self._runner.submit(images, plans, self._params, self._prob_map)
        self._running.append((indices, pending))
