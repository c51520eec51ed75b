# SPDX-License-Identifier: Apache-2.0
"""The way of images through a network on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..detections import Detections
from ..engines import Engine
from ..errors import ImageError
from ..images.gpu_memory import is_on_device
from ..images.load import Image, load_image
from ..settings import PostprocessParams, ResizePlan
from .postprocess import postprocess, with_maps
from .preprocess import preprocess


class CpuRunner:
    """Preprocess, network and post-processing, one after the other, when a frame is submitted."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def load(self, source: Any, stream: int | None) -> Image:
        """The image in host memory."""
        if is_on_device(source):
            raise ImageError(
                "the image is in GPU memory, but this detector runs on the CPU; "
                'open it with device="cuda", or give a NumPy array'
            )
        return load_image(source)

    def submit(
        self,
        images: Sequence[Image],
        plans: Sequence[ResizePlan],
        params: PostprocessParams,
        prob_map: bool,
    ) -> list[Detections]:
        """Find the text in images of the same padded size."""
        card = self._engine.card
        normalization = card.normalization
        batch = np.empty((len(images), 3, *plans[0].padded), np.float32)
        for row, image, plan in zip(batch, images, plans, strict=True):
            preprocess(image, plan, normalization, row)
        maps = np.ascontiguousarray(self._engine(batch))
        logits = card.output == "logit"
        found = postprocess(maps, plans, params, logits=logits)
        return with_maps(found, maps, plans, logits) if prob_map else found

    def collect(self, pending: list[Detections]) -> list[Detections]:
        """What `submit` gave."""
        return pending
