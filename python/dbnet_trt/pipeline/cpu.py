# SPDX-License-Identifier: Apache-2.0
"""Runner for the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..engines import Engine
from ..engines.processes import check_process
from ..errors import EngineError, ImageError
from ..images.decode import MAX_PIXELS
from ..images.gpu_memory import is_on_device
from ..images.load import Image, load_image
from ..settings import PostprocessParams, ResizePlan
from .polygons import to_probability
from .postprocess import check_maps, postprocess, with_maps
from .preprocess import preprocess
from .text_limit import TextLimit
from .tiles import TilePlan, detect_in_tiles, plan_as_they_are


class CpuRunner:
    """Runner that does all work of a batch in `submit`, or with several streams in a thread."""

    def __init__(self, engine: Engine, num_streams: int = 1) -> None:
        self._engine = engine
        self.limit = TextLimit()
        self.num_streams = max(1, num_streams)
        """Number of batches that run side by side."""
        self._threads = ThreadPoolExecutor(self.num_streams, "dbnet-stream")  # begun when needed
        self._places = threading.BoundedSemaphore(2 * self.num_streams)  # one more waits for each
        self._process = os.getpid()

    def load(self, source: Any, stream: int | None = None, max_pixels: int = MAX_PIXELS) -> Image:
        """Load an image into main memory.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            ImageError: The image is missing, broken, of another shape or type, or in GPU memory.
            TypeError: `source` is not an image.
        """
        if is_on_device(source):
            raise ImageError(
                "the image is in GPU memory, but this detector runs on the CPU; "
                'open the detector with device="cuda", or pass a NumPy array'
            )
        return load_image(source, max_pixels=max_pixels)

    def submit(
        self,
        images: Sequence[Image],
        plans: Sequence[ResizePlan],
        params: PostprocessParams,
        prob_map: bool,
    ) -> list[Detections] | Future[list[Detections]]:
        """Detect the text in one batch; with several streams, in a thread.

        Args:
            images: B images (H, W, 3) uint8 BGR.
            plans: B plans with the same `padded` size.
            params: Post-processing parameters.
            prob_map: Whether the results contain the probability map.

        Returns:
            B results, one per image, or their future.

        Raises:
            EngineError: The network cannot run.
        """
        if self.num_streams == 1:
            return self._detect(images, plans, params, prob_map)
        check_process(self._process, "the detector")
        self._places.acquire()
        running = self._threads.submit(self._detect, images, plans, params, prob_map)
        running.add_done_callback(lambda _: self._places.release())
        return running

    def _detect(
        self,
        images: Sequence[Image],
        plans: Sequence[ResizePlan],
        params: PostprocessParams,
        prob_map: bool,
    ) -> list[Detections]:
        maps = self._run(images, plans)
        logits = self._engine.card.output == "logit"
        found = postprocess(maps, plans, self.limit.ask(params), logits=logits)
        found = self.limit.keep_best(found, params)
        return with_maps(found, maps, plans, logits) if prob_map else found

    def submit_tiles(
        self,
        image: Image,
        plan: TilePlan,
        params: PostprocessParams,
        prob_map: bool,
        batch_size: int,
    ) -> list[Detections]:
        """Detect the text in one image in tiles; see `Runner.submit_tiles`."""
        return [detect_in_tiles(self, image, plan, params, prob_map, batch_size)]

    def collect(self, pending: list[Detections] | Future[list[Detections]]) -> list[Detections]:
        """Return the results of `submit`.

        Raises:
            EngineError: The network cannot run.
        """
        return pending.result() if isinstance(pending, Future) else pending

    def tile_maps(
        self, batches: Iterable[list[Image]], padded: tuple[int, int]
    ) -> Iterator[NDArray[np.float32]]:
        """Run batches of tiles through the network; see `TileRunner.tile_maps`."""
        logits = self._engine.card.output == "logit"
        for tiles in batches:
            yield to_probability(self._run(tiles, plan_as_they_are(tiles, padded)), logits)

    def _run(self, images: Sequence[Image], plans: Sequence[ResizePlan]) -> NDArray[np.float32]:
        """Resize a batch and run the network: (B, h, w) float32, as it gives it."""
        card = self._engine.card
        normalization = card.normalization
        batch = self._allocate((len(images), 3, *plans[0].padded))
        for row, image, plan in zip(batch, images, plans, strict=True):
            preprocess(image, plan, normalization, row)
        maps = np.ascontiguousarray(self._engine(batch))
        check_maps(maps, card.name, card.output == "logit")
        return maps

    def _allocate(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        try:
            return np.empty(shape, np.float32)
        except MemoryError as error:
            raise EngineError(
                f"there is not enough memory for a network input of shape {shape}; use a smaller "
                "size or batch_size"
            ) from error
