# SPDX-License-Identifier: Apache-2.0
"""Runner for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..detections import Detections
from ..engines import Engine
from ..errors import EngineError, ImageError
from ..images.decode import MAX_PIXELS
from ..images.gpu_memory import is_on_device
from ..images.load import Image, load_image
from ..settings import PostprocessParams, ResizePlan
from .postprocess import check_maps, postprocess, with_maps
from .preprocess import preprocess
from .text_limit import TextLimit


class CpuRunner:
    """Runner that does all work of a batch in `submit`, one step after the other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit = TextLimit()

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
    ) -> list[Detections]:
        """Detect the text in one batch.

        Args:
            images: B images (H, W, 3) uint8 BGR.
            plans: B plans with the same `padded` size.
            params: Post-processing parameters.
            prob_map: Whether the results contain the probability map.

        Returns:
            B results, one per image.

        Raises:
            EngineError: The network cannot run.
        """
        card = self._engine.card
        normalization = card.normalization
        batch = self._allocate((len(images), 3, *plans[0].padded))
        for row, image, plan in zip(batch, images, plans, strict=True):
            preprocess(image, plan, normalization, row)
        maps = np.ascontiguousarray(self._engine(batch))
        logits = card.output == "logit"
        check_maps(maps, card.name)
        found = postprocess(maps, plans, self._limit.ask(params), logits=logits)
        found = self._limit.keep_best(found, params)
        return with_maps(found, maps, plans, logits) if prob_map else found

    def collect(self, pending: list[Detections]) -> list[Detections]:
        """Return the results of `submit`."""
        return pending

    def _allocate(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        try:
            return np.empty(shape, np.float32)
        except MemoryError as error:
            raise EngineError(
                f"there is not enough memory for a network input of shape {shape}; use a smaller "
                "size or batch_size"
            ) from error
