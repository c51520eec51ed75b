# SPDX-License-Identifier: Apache-2.0
"""Runner for the GPU: the compiled pipeline around an engine."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..detections import Detections
from ..engines import DeviceEngine
from ..images.decode import MAX_PIXELS
from ..images.gpu_memory import DeviceImage, is_on_device, read_device_image
from ..images.load import Image, load_image
from ..images.nv12 import Nv12Frame, Nv12Image, read_nv12
from ..settings import GpuConfig, PostprocessParams, ResizePlan
from .polygons import to_probability
from .postprocess import check_maps, core_params, postprocess, with_maps
from .text_limit import TextLimit
from .tiles import TilePlan, cut_tiles, detect_in_tiles, params_of_all, plan_as_they_are

logger = logging.getLogger("dbnet_trt")

LoadedImage: TypeAlias = Image | Nv12Image | DeviceImage


@dataclass(frozen=True, slots=True)
class GpuUsage:
    """Memory that a detector holds for the GPU, without that of the network."""

    device_bytes: int = 0
    """GPU memory in bytes."""

    pinned_bytes: int = 0
    """Page-locked host memory in bytes."""

    num_shapes: int = 0
    """Number of input shapes (batch, height, width) that are kept ready."""

    num_graphs: int = 0
    """Number of CUDA graphs captured for these shapes."""


class _NetworkCallbacks:
    """Functions of an engine that the compiled pipeline calls."""

    def __init__(self, engine: DeviceEngine) -> None:
        self.prepare, self._enqueue = engine.prepare, engine.enqueue
        self.release = getattr(engine, "release", lambda batch, height, width: None)
        self.warn = logger.warning

    def enqueue(self, *arguments: Any) -> None:
        """Enqueue the network without garbage collection: freeing GPU memory breaks a capture."""
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            self._enqueue(*arguments)
        finally:
            if was_enabled:
                gc.enable()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A submitted batch; it keeps images in GPU memory alive."""

    ticket: _core.Ticket
    images: Sequence[DeviceImage]
    plans: Sequence[ResizePlan]
    params: PostprocessParams
    prob_map: bool
    tiles: Sequence[_core.Ticket] = ()
    """Batches of the tiles whose joined map is searched."""

    on_host: Callable[[], Detections] | None = None
    """Detection of these tiles in main memory, which finds more texts than the GPU considers."""


class GpuRunner:
    """Runner that does all work of a batch in one CUDA graph.

    Batches overlap until they are collected: one is uploaded while another computes.
    """

    def __init__(
        self, engine: DeviceEngine, device: int = 0, config: GpuConfig | None = None
    ) -> None:
        """Create the pipeline.

        Args:
            engine: Engine on the same GPU.
            device: Number of the GPU, from 0.
            config: Limits on memory; None takes the defaults.

        Raises:
            EngineError: The GPU is missing, or this build has no CUDA.
        """
        config = config or GpuConfig()
        card = engine.card
        self._is_half = engine.output_is_half
        self._logits = card.output == "logit"
        self.gpu_number = device
        self._name = card.name
        self.limit = TextLimit()
        normalization = card.normalization
        core_config = _core.PipelineConfig(
            device=device,
            input_is_half=engine.input_is_half,
            output_is_half=engine.output_is_half,
            captures=config.cuda_graphs,
            max_shapes=config.max_shapes,
            max_bytes=config.max_memory_mb << 20,
            scale=normalization.multiplier.tolist(),
            bias=normalization.offset.tolist(),
            swap_red_blue=normalization.swap_red_blue,
        )
        self._pipeline = _core.Pipeline(_NetworkCallbacks(engine), core_config)

    def load(
        self, source: Any, stream: int | None = None, max_pixels: int = MAX_PIXELS
    ) -> LoadedImage:
        """Load an image; an array in GPU memory stays there.

        Args:
            source: Image, as `Detector.detect` takes it.
            stream: Handle of the CUDA stream that writes an array in GPU memory; None takes the
                array's own.
            max_pixels: Limit on width x height of an image file or PIL image.

        Raises:
            ImageError: The image is missing, broken, of another shape or type, or on another GPU.
            TypeError: `source` is not an image.
        """
        if is_on_device(source):
            return read_device_image(source, stream, self._pipeline.import_stream, self.gpu_number)
        if isinstance(source, Nv12Frame):
            return read_nv12(source)
        return load_image(source, max_pixels=max_pixels)

    def submit(
        self,
        images: Sequence[LoadedImage],
        plans: Sequence[ResizePlan],
        params: PostprocessParams,
        prob_map: bool,
    ) -> _Pending:
        """Enqueue one batch, and return before the text is found.

        Args:
            images: B images from `load`.
            plans: B plans with the same `padded` size.
            params: Post-processing parameters.
            prob_map: Whether the results contain the probability map.

        Returns:
            A handle for `collect`.

        Raises:
            EngineError: The network cannot run, memory is short, or the GPU was lost.
        """
        ticket = self._pipeline.submit(
            [(_to_core(image), plan.resized) for image, plan in zip(images, plans, strict=True)],
            plans[0].padded,
            core_params(self.limit.ask(params), self._logits),
            wants_maps=params.polygons or prob_map,
            wants_labels=params.polygons,
            streams=_streams(images),
        )
        return _Pending(ticket, _on_device(images), plans, params, prob_map)

    def submit_tiles(
        self,
        image: LoadedImage,
        plan: TilePlan,
        params: PostprocessParams,
        prob_map: bool,
        batch_size: int,
    ) -> _Pending | Detections:
        """Enqueue one image in tiles; see `Runner.submit_tiles`.

        Their maps are joined on the GPU and searched there as one. One that has a side over 8192
        pixels, or does not fit into GPU memory, is joined and searched in main memory, at once.
        """

        def on_host() -> Detections:
            return detect_in_tiles(self, image, plan, params, prob_map, batch_size)

        joined = self._pipeline.join(plan.resized)
        if joined is None:
            return on_host()
        tickets = []
        for tiles, parts in cut_tiles(image, plan, batch_size):
            items = [(_to_core(tile), tile.shape[:2]) for tile in tiles]
            streams = _streams(tiles)
            tickets.append(self._pipeline.submit_tiles(items, plan.padded, joined, parts, streams))
        params = params_of_all(params, plan)
        ticket = self._pipeline.submit_joined(
            joined,
            plan.image,
            core_params(self.limit.ask(params), self._logits),
            wants_maps=params.polygons or prob_map,
            wants_labels=params.polygons,
        )
        whole = [ResizePlan(plan.image, plan.resized, plan.resized)]
        return _Pending(ticket, _on_device([image]), whole, params, prob_map, tickets, on_host)

    def tile_maps(
        self, batches: Iterable[list[LoadedImage]], padded: tuple[int, int]
    ) -> Iterator[NDArray[np.float32]]:
        """Run batches of tiles through the network; see `TileRunner.tile_maps`.

        A batch is uploaded while the one before it computes.
        """
        ahead = None
        for tiles in batches:
            plans = plan_as_they_are(tiles, padded)
            pending = self.submit(tiles, plans, PostprocessParams(), prob_map=True)
            if ahead is not None:
                yield self._tile_maps_of(ahead)
            ahead = pending
        if ahead is not None:
            yield self._tile_maps_of(ahead)

    def _tile_maps_of(self, pending: _Pending) -> NDArray[np.float32]:
        _, _, map_bytes, _ = self._pipeline.collect(pending.ticket)
        return to_probability(self._to_maps(map_bytes, pending.plans), self._logits)

    def _to_maps(
        self, map_bytes: NDArray[np.uint8], plans: Sequence[ResizePlan]
    ) -> NDArray[np.float32]:
        """Read and check the (B, h, w) maps of a batch."""
        dtype = np.float16 if self._is_half else np.float32
        maps = map_bytes.view(dtype).reshape(len(plans), *plans[0].padded).astype(np.float32)
        check_maps(maps, self._name, self._logits)
        return maps

    def collect(self, pending: _Pending | Detections) -> list[Detections]:
        """Wait for a batch.

        Args:
            pending: Return value of `submit` or `submit_tiles`.

        Returns:
            B results, one per image.

        Raises:
            EngineError: The network failed, or the GPU was lost.
        """
        if isinstance(pending, Detections):
            return [pending]
        for ticket in pending.tiles:  # the search of the joined map does not tell of their errors
            self._pipeline.collect(ticket)
        texts, num_dropped, map_bytes, labels = self._pipeline.collect(pending.ticket)
        if num_dropped > 0 and pending.on_host is not None:
            return [pending.on_host()]
        if num_dropped > 0:
            logger.warning(
                "%d text regions were left out: the GPU considers 8192 per image; use the CPU to "
                "find all", num_dropped,
            )  # fmt: skip
        plans, params = pending.plans, pending.params
        found = [Detections(quads, scores) for quads, scores in texts]
        found = self.limit.keep_best(found, params)
        if len(map_bytes) == 0:
            return found
        maps = self._to_maps(map_bytes, plans)
        if params.polygons:
            asked = self.limit.ask(params)
            found = postprocess(
                maps, plans, asked, logits=self._logits, first_pixels=labels.reshape(maps.shape)
            )
            found = self.limit.keep_best(found, params)
        return with_maps(found, maps, plans, self._logits) if pending.prob_map else found

    def usage(self) -> GpuUsage:
        """Return the memory that the pipeline holds at present."""
        return GpuUsage(**self._pipeline.usage())


def _on_device(images: Sequence[LoadedImage]) -> list[DeviceImage]:
    return [image for image in images if isinstance(image, DeviceImage)]


def _streams(images: Sequence[LoadedImage]) -> list[int]:
    """List the streams that write images in GPU memory."""
    return sorted({stream for image in _on_device(images) for stream in image.streams})


def _to_core(image: LoadedImage) -> _core._PipelineImage:
    if isinstance(image, DeviceImage):
        planes = image.pixels, image.pitch, image.chroma, image.chroma_pitch
        return (*planes, *image.shape[:2], image.colors)
    return (image.luma, image.chroma, image.colors) if isinstance(image, Nv12Image) else image
