# SPDX-License-Identifier: Apache-2.0
"""Grouping of images of mixed sizes into batches of one size, and into tiles if they are large."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal, Protocol

from ..detections import Detections
from ..errors import EngineError
from ..images.decode import MAX_PIXELS
from ..settings import PostprocessParams, ResizePlan, SizePolicy, Tiles
from .scale_warning import ScaleWarning
from .text_limit import TextLimit
from .tiles import TilePlan, closer_plan, has_small_text, must_tile, plan_tiles

MAX_WAITING_BYTES = 64 << 20
"""Size of the images that wait for others of their size in the network."""


Results = tuple[list[Detections], Exception | None]
"""Results of the images of a batch up to the first that failed, and its error."""


class Runner(Protocol):
    """Detection of text in batches, on the CPU or the GPU."""

    limit: TextLimit
    """Limit on the number of texts per image."""

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

    def submit_tiles(
        self, image: Any, plan: TilePlan, params: PostprocessParams, prob_map: bool, batch_size: int
    ) -> Any:
        """Start the detection of one image in tiles.

        Args:
            image: Image from `load`.
            plan: Its tiles.
            params: Post-processing parameters; `max_candidates` counts per tile.
            prob_map: Whether the result contains the probability map, of size `plan.resized`.
            batch_size: Number of tiles that go through the network at once.

        Returns:
            A handle for `collect`, which gives one result.

        Raises:
            EngineError: The network cannot run.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """Options of one call of a detector, with its defaults filled in."""

    size: SizePolicy
    """Size of images in the network."""

    tiles: Tiles | Literal["auto", "off"]
    """Tiles in which images go through the network."""

    params: PostprocessParams
    """Post-processing parameters."""

    prob_map: bool
    """Whether the results contain the probability map."""

    batch_size: int = 1
    """Maximum number of images in one batch, 1 or more."""


class Batches:
    """Images grouped by their size in the network, and their results in the images' order."""

    def __init__(self, runner: Runner, call: Call, warning: ScaleWarning) -> None:
        """Begin without images.

        Args:
            runner: Runner that takes the batches.
            call: Options of the call.
            warning: Tells of images that are shrunk.
        """
        self._runner, self._call, self._warning = runner, call, warning
        self._waiting: dict[tuple[int, int], list[tuple[int, Any, ResizePlan]]] = {}
        self._running: list[tuple[list[int], Any]] = []
        self._done: dict[int, Detections] = {}
        self._num_images, self._waiting_bytes = 0, 0

    def add(self, image: Any) -> None:
        """Add an image from `Runner.load`.

        A batch that is full is submitted; all are where those that wait take much memory: the
        images may come one by one. An image in tiles is finished at once.
        """
        index, call = self._num_images, self._call
        self._num_images += 1
        plan = call.size.plan(*image.shape[:2])
        in_tiles = must_tile(plan, call.size, call.tiles)
        if in_tiles is None:
            found = self._detect(image, plan)
            in_tiles = has_small_text(found or self._look_closer(image, plan), plan)
            self._done[index] = found
        if in_tiles:
            self._done.pop(index, None)
            self._submit_in_tiles(index, image)
            return
        self._warning.check(plan, call.size)
        if index in self._done:
            return
        group = self._waiting.setdefault(plan.padded, [])
        group.append((index, image, plan))
        self._waiting_bytes += 3 * image.shape[0] * image.shape[1]
        if len(group) == call.batch_size:
            self._submit(self._waiting.pop(plan.padded))
        elif self._waiting_bytes > MAX_WAITING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Submit the batches that are not full. Where one fails, those behind it are dropped."""
        groups, self._waiting = self._waiting, {}
        for group in groups.values():
            while group:
                # Powers of two: the engine prepares few shapes, and no padding images are run.
                count = 1 << (len(group).bit_length() - 1)
                part = group[:count]
                del group[:count]
                self._submit(part)

    def finish(self) -> list[Detections]:
        """Wait for all results; they come in the order of the images.

        Raises:
            EngineError: The network failed.
        """
        self.flush()
        results, error = self.finish_until_error()
        if error is not None:
            raise error
        return results

    def finish_until_error(self) -> Results:
        """Wait for what was submitted: the results of the images before the first that failed.

        Images whose batch failed in `add` or `flush` have failed without an error here.
        """
        results, error = dict(self._done), None
        for indices, pending in self._running:
            try:
                results.update(zip(indices, self._runner.collect(pending), strict=True))
            except Exception as failed:  # of other images than those with results
                error = error or failed
        whole = takewhile(results.__contains__, range(self._num_images))
        return [results[index] for index in whole], error

    def _submit(self, group: list[tuple[int, Any, ResizePlan]]) -> None:
        indices, images, plans = map(list, zip(*group, strict=True))
        self._waiting_bytes -= sum(3 * plan.image[0] * plan.image[1] for plan in plans)
        pending = self._runner.submit(images, plans, self._call.params, self._call.prob_map)
        self._running.append((indices, pending))

    def _detect(self, image: Any, plan: ResizePlan) -> Detections:
        call = self._call
        pending = self._runner.submit([image], [plan], call.params, call.prob_map)
        return self._runner.collect(pending)[0]

    def _look_closer(self, image: Any, plan: ResizePlan) -> Detections | None:
        """Detect the text of an image without any, at a size at which it may be seen."""
        closer = closer_plan(plan)
        try:
            return None if closer == plan else self._detect(image, closer)
        except EngineError:  # an engine that does not take this size
            return None

    def _submit_in_tiles(self, index: int, image: Any) -> None:
        call = self._call
        tiles = call.tiles if isinstance(call.tiles, Tiles) else Tiles()
        plan = plan_tiles(image, call.size, tiles)
        pending = self._runner.submit_tiles(
            image, plan, call.params, call.prob_map, tiles.batch_size
        )
        self._running.append(([index], pending))
