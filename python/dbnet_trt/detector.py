# SPDX-License-Identifier: Apache-2.0
"""From an image to its text: the whole public face."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from .batches import Batches
from .card import ModelCard
from .detections import Detections
from .device_arrays import stream_handle
from .engines import DeviceEngine, Engine
from .engines.onnx import Backend, CpuConfig, Precision
from .errors import ImageError
from .gpu import GpuConfig, GpuPath
from .images import ImageSource
from .nv12 import Nv12Frame
from .opening import open_model, open_path
from .postprocess import PostprocessParams
from .preprocess import SizePolicy

logger = logging.getLogger("dbnet_trt")


class Detector:
    """Finds text in images.

    May be shared between threads: calls give the same bytes as one after the other. On the CPU they
    run side by side, each with its own buffers; on the GPU they take turns.

    >>> detector = Detector()
    >>> for text in detector.detect("photo.jpg"):
    ...     print(text.quad, text.score)
    """

    def __init__(
        self,
        engine: str | Path | Engine | DeviceEngine | None = None,
        *,
        device: str = "auto",
        card: ModelCard | str | None = None,
        size: SizePolicy | None = None,
        binary_threshold: float | None = None,
        score_threshold: float | None = None,
        unclip_ratio: float | None = None,
        max_candidates: int | None = None,
        polygons: bool = False,
        backend: Backend = "auto",
        precision: Precision = "auto",
        num_threads: int = 0,
        gpu: GpuConfig | None = None,
    ) -> None:
        """Open a model.

        Args:
            engine: Name of a model, or path of an .onnx file, of an .engine file that `dbnet-build`
                wrote, or of a .safetensors checkpoint; or an engine, ready to run; None takes the
                default model.
            device: "auto", "cpu", "cuda" or "cuda:0".
            card: What a model of another project needs and gives: a card, the path of one, or the
                name of the project ("paddleocr", "mmocr", "doctr", "opencv"). Named models and our
                own files have theirs.
            size: How large images enter the network; the card's by default.
            binary_threshold: Text is where the probability is greater, in [0, 1].
            score_threshold: Text with a lower score is dropped, in [0, 1].
            unclip_ratio: How far outlines grow around the shrunk regions; 0 leaves them shrunk.
            max_candidates: At most so many texts an image, the best ones.
            polygons: Give polygons that follow curved text, too.
            backend: On the CPU: "auto", "openvino" or "onnxruntime".
            precision: On the CPU: "auto", "fp32" or "bf16"; "auto" takes bf16 where the CPU is
                fast at it.
            num_threads: Threads of the network on the CPU; 0 takes one a core.
            gpu: What to take of the GPU, where the model runs there.

        Raises:
            EngineError: The model or the device is not there, or the model cannot run.
            ValueError: An argument is out of range, or there is no model of that name, or a card is
                given for an engine, which has its own.
        """
        cpu = CpuConfig(backend, precision, num_threads)
        self._engine = open_model(engine, device, card, cpu)
        self._path = open_path(self._engine, device, gpu)
        logger.info("%s runs on %s", self.card.name, self._engine.description)
        self._size = _choose_size(size, self.card.size_policy)
        self._params = _override(
            dataclasses.replace(self.card.postprocess_params, polygons=polygons),
            binary_threshold=binary_threshold,
            score_threshold=score_threshold,
            unclip_ratio=unclip_ratio,
            max_candidates=max_candidates,
        )

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._engine.card

    @property
    def size(self) -> SizePolicy:
        """How large images enter the network, where a call does not say."""
        return self._size

    @property
    def params(self) -> PostprocessParams:
        """How text is read off the map, where a call does not say."""
        return self._params

    @property
    def gpu_usage(self) -> dict[str, int]:
        """Bytes of GPU and pinned memory that are held beside the network's own, and how many
        shapes and graphs; nothing on the CPU."""
        return self._path.usage() if isinstance(self._path, GpuPath) else {}

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Detector cannot be copied or sent to another process; open one there")

    def __repr__(self) -> str:
        return f"Detector({self.card.name}: {self._engine.description})"

    def detect(
        self,
        image: ImageSource,
        *,
        size: SizePolicy | None = None,
        binary_threshold: float | None = None,
        score_threshold: float | None = None,
        unclip_ratio: float | None = None,
        max_candidates: int | None = None,
        polygons: bool | None = None,
        prob_map: bool = False,
        stream: Any = None,
    ) -> Detections:
        """Find the text in one image.

        Args:
            image: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA uint8 array; the path or the bytes of
                an image file; a PIL image; an `Nv12Frame` of a video; or, with device="cuda", a
                (H, W, 3) BGR uint8 array in GPU memory (torch, CuPy, PyCUDA, JAX), which is not
                copied.
            size: As in the constructor, for this call; likewise those that follow.
            binary_threshold: As in the constructor.
            score_threshold: As in the constructor.
            unclip_ratio: As in the constructor.
            max_candidates: As in the constructor.
            polygons: As in the constructor.
            prob_map: Give the probability map, too.
            stream: The CUDA stream on which images in GPU memory are written: its handle, or an
                object of torch, CuPy or PyCUDA; by default the one that is current for the array.

        Returns:
            The texts, best score first; empty where there is none.

        Raises:
            ImageError: The image is missing, broken, or not an image.
            ValueError: An argument is out of range.
        """
        params = _override(
            self._params,
            binary_threshold=binary_threshold,
            score_threshold=score_threshold,
            unclip_ratio=unclip_ratio,
            max_candidates=max_candidates,
            polygons=polygons,
        )
        batches = Batches(self._path, _choose_size(size, self._size), params, prob_map)
        batches.add(self._path.load(image, stream_handle(stream)))
        (found,) = batches.finish()
        return found

    def detect_batch(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int = 4,
        size: SizePolicy | None = None,
        binary_threshold: float | None = None,
        score_threshold: float | None = None,
        unclip_ratio: float | None = None,
        max_candidates: int | None = None,
        polygons: bool | None = None,
        prob_map: bool = False,
        stream: Any = None,
    ) -> list[Detections]:
        """Find the text in many images.

        Images that have the same size inside the network go through it together.

        Args:
            images: Any iterable of what `detect` takes, of mixed sizes.
            batch_size: At most so many images at a time, 1 or more.
            size: As in `detect`; likewise those that follow.
            binary_threshold: As in `detect`.
            score_threshold: As in `detect`.
            unclip_ratio: As in `detect`.
            max_candidates: As in `detect`.
            polygons: As in `detect`.
            prob_map: As in `detect`.
            stream: As in `detect`.

        Returns:
            One result an image, in the order of the images.

        Raises:
            ImageError: An image is missing, broken, or not an image; the message says which.
            ValueError: An argument is out of range.
            TypeError: `images` is one image.
        """
        return self.submit(
            images,
            batch_size=batch_size,
            size=size,
            binary_threshold=binary_threshold,
            score_threshold=score_threshold,
            unclip_ratio=unclip_ratio,
            max_candidates=max_candidates,
            polygons=polygons,
            prob_map=prob_map,
            stream=stream,
        ).collect()

    def submit(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int = 4,
        size: SizePolicy | None = None,
        binary_threshold: float | None = None,
        score_threshold: float | None = None,
        unclip_ratio: float | None = None,
        max_candidates: int | None = None,
        polygons: bool | None = None,
        prob_map: bool = False,
        stream: Any = None,
    ) -> Ticket:
        """Begin to find the text in images, and return.

        On the GPU the next frame is uploaded while this one computes; on the CPU the work is done
        here.

        >>> ahead = None
        >>> for frame in frames:
        ...     ticket = detector.submit([frame])
        ...     if ahead is not None:
        ...         show(detector.collect(ahead))
        ...     ahead = ticket

        Args:
            images: As in `detect_batch`. Arrays in GPU memory must not be changed before the
                results are collected, unless in the order of `stream`.
            batch_size: As in `detect_batch`.
            size: As in `detect`; likewise those that follow.
            binary_threshold: As in `detect`.
            score_threshold: As in `detect`.
            unclip_ratio: As in `detect`.
            max_candidates: As in `detect`.
            polygons: As in `detect`.
            prob_map: As in `detect`.
            stream: As in `detect`.

        Raises:
            ImageError: An image is missing, broken, or not an image; the message says which.
            ValueError: An argument is out of range.
            TypeError: `images` is one image.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
        _check_many(images)
        params = _override(
            self._params,
            binary_threshold=binary_threshold,
            score_threshold=score_threshold,
            unclip_ratio=unclip_ratio,
            max_candidates=max_candidates,
            polygons=polygons,
        )
        size = _choose_size(size, self._size)
        batches = Batches(self._path, size, params, prob_map, batch_size)
        handle = stream_handle(stream)
        for index, image in enumerate(images):
            try:
                batches.add(self._path.load(image, handle))
            except ImageError as error:
                raise ImageError(f"image {index} of the batch: {error}") from error
        batches.flush()
        return Ticket(batches)

    def collect(self, ticket: Ticket) -> list[Detections]:
        """Wait for the results of `submit`, one an image, in the order of the images.

        May be called in any order, and again.
        """
        return ticket.collect()


class Ticket:
    """Images that `Detector.submit` took."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def collect(self) -> list[Detections]:
        """Wait for the results, one an image, in the order of the images."""
        return self._batches.finish()


def _check_many(images: object) -> None:
    """TypeError for one image, which may be iterable, too: an array is, by its rows."""
    shape = getattr(images, "shape", None)
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Nv12Frame)
    is_iterable = hasattr(images, "__iter__") or hasattr(images, "__getitem__")
    if isinstance(images, kinds) or not is_iterable or (shape is not None and len(shape) < 4):
        raise TypeError(
            f"images must be an iterable of images, got one {type(images).__name__}; "
            "call detect for one image, or give a list"
        )


def _choose_size(size: SizePolicy | None, default: SizePolicy) -> SizePolicy:
    if size is not None and not isinstance(size, SizePolicy):
        raise TypeError(
            f"size must be a SizePolicy, as in SizePolicy(short_side=736), got {size!r}"
        )
    return size or default


def _override(params: PostprocessParams, **values: Any) -> PostprocessParams:
    """The same parameters, but for the values that are not None."""
    given = {name: value for name, value in values.items() if value is not None}
    return dataclasses.replace(params, **given) if given else params
