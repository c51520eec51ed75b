# SPDX-License-Identifier: Apache-2.0
"""Text detection in images: the main class of the package."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NoReturn, Unpack

import numpy as np

from .card import ModelCard
from .detections import Detections
from .engines import DeviceEngine, Engine
from .errors import ImageError, did_you_mean
from .images.decode import MAX_PIXELS
from .images.gpu_memory import stream_handle
from .images.load import ImageSource
from .images.nv12 import Nv12Frame
from .opening import make_runner, open_model
from .pipeline.batching import Batches, Call
from .pipeline.gpu import GpuRunner, GpuUsage
from .pipeline.scale_warning import ScaleWarning
from .settings import (
    CpuConfig,
    DetectOptions,
    DetectorOptions,
    GpuConfig,
    PostprocessOptions,
    PostprocessParams,
    SizePolicy,
    Tiles,
    check_tiles,
)

logger = logging.getLogger("dbnet_trt")


class Detector:
    """Text detector.

    It may be shared between threads, and gives the same results as calls one after the other. On
    the CPU calls run in parallel, each with its own buffers; on the GPU they take turns.

    >>> detector = Detector()
    >>> for text in detector.detect("photo.jpg"):
    ...     print(text.quad, text.score)
    """

    def __init__(
        self,
        model: str | Path | Engine | DeviceEngine | None = None,
        *,
        device: str = "auto",
        card: ModelCard | str | None = None,
        cpu: CpuConfig | None = None,
        gpu: GpuConfig | None = None,
        **options: Unpack[DetectorOptions],
    ) -> None:
        """Open a model.

        Args:
            model: Name of a model; path of an .onnx file, of an .engine file that `dbnet-build`
                wrote, or of a .safetensors checkpoint; or an engine object. None opens the default
                model.
            device: "auto", "cpu", "cuda" or "cuda:0".
            card: Card of another project's ONNX file, its path, or the name of the project
                ("paddleocr", "mmocr", "doctr", "opencv"). Named models and files of this package
                need none.
            cpu: Library, precision and threads on the CPU; None takes the defaults.
            gpu: Limits on GPU memory; None takes the defaults.
            **options: Size of images in the network, tiles and thresholds for every call; see
                `DetectorOptions`. The card's values apply where they are left out or None.

        Raises:
            EngineError: The model, the library that runs it or the device is missing, or the model
                cannot run on this device.
            ValueError: An argument is out of range, there is no model of that name, or a card is
                given for a model that has its own.
            TypeError: `model` is not a name, a path or an engine, or there is no such option.
        """
        _check_options(options, DetectorOptions)
        self._engine = open_model(model, device, card, cpu)
        self._runner = make_runner(self._engine, device, gpu, cpu)
        logger.info("%s runs on %s", self.card.name, self._engine.description)
        self._size = _choose_size(options, self.card.size_policy)
        self._params = _override(self.card.postprocess_params, options)
        self._tiles = _choose_tiles(options, "auto")
        self._max_pixels = _choose_max_pixels(options, MAX_PIXELS)
        self._scale_warning = ScaleWarning()

    @property
    def card(self) -> ModelCard:
        """Card of the model."""
        return self._engine.card

    @property
    def device(self) -> str:
        """Where the detector runs: "cpu" or "cuda"."""
        return "cuda" if isinstance(self._runner, GpuRunner) else "cpu"

    @property
    def num_streams(self) -> int:
        """Number of images that run side by side on the CPU; 1 on the GPU."""
        return 1 if isinstance(self._runner, GpuRunner) else self._runner.num_streams

    @property
    def size(self) -> SizePolicy:
        """Size of images in the network, for calls that do not set it."""
        return self._size

    @property
    def params(self) -> PostprocessParams:
        """Post-processing parameters, for calls that do not set them."""
        return self._params

    @property
    def is_gpu(self) -> bool:
        """Whether images are detected on a GPU."""
        return isinstance(self._runner, GpuRunner)

    @property
    def gpu_usage(self) -> GpuUsage:
        """Memory held for the GPU without that of the network; all 0 on the CPU."""
        return self._runner.usage() if isinstance(self._runner, GpuRunner) else GpuUsage()

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            "a Detector cannot be copied or sent to another process; open a new one there"
        )

    def __repr__(self) -> str:
        return f"Detector({self.card.name}: {self._engine.description})"

    def detect(self, image: ImageSource, **options: Unpack[DetectOptions]) -> Detections:
        """Detect the text in one image.

        Args:
            image: (H, W), (H, W, 3) BGR or (H, W, 4) BGRA uint8 array; the path or the bytes of
                an image file; a PIL image; an `Nv12Frame` of a video; or, with device="cuda", a
                (H, W, 3) BGR uint8 array in GPU memory (torch, CuPy, PyCUDA, JAX), which is not
                copied.
            **options: Size, tiles, thresholds and further options of this call; see
                `DetectOptions`. The detector's values apply where they are left out or None.

        Returns:
            The detections, the best score first; empty if there is no text.

        Raises:
            ImageError: The image is missing, broken, or of another shape or type.
            EngineError: The network cannot run: it does not take this size, memory is short (main
                or GPU), the GPU was lost, or the process was forked after the detector was opened.
            ValueError: An option is out of range.
            TypeError: `image` is not an image, or there is no such option.
        """
        batches = self._batches(options, 1)
        self._add(batches, image, options)
        (found,) = batches.finish()
        return found

    def detect_batch(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int = 4,
        **options: Unpack[DetectOptions],
    ) -> list[Detections]:
        """Detect the text in several images.

        Images of the same size in the network are processed in batches.

        Args:
            images: Iterable of images as `detect` takes them; sizes may differ.
            batch_size: Maximum number of images in one batch, 1 or more. OpenVINO and ONNX Runtime
                get images one by one, which is no slower on a CPU and takes less memory.
            **options: Options as in `detect`.

        Returns:
            One result per image, in the order of the images.

        Raises:
            ImageError: An image is missing, broken, or of another shape or type; the message says
                which.
            EngineError: The network cannot run; see `detect`.
            ValueError: An argument is out of range.
            TypeError: `images` is a single image or contains something else, or there is no such
                option.
        """
        return self.submit(images, batch_size=batch_size, **options).collect()

    def submit(
        self,
        images: Iterable[ImageSource],
        *,
        batch_size: int = 4,
        **options: Unpack[DetectOptions],
    ) -> Ticket:
        """Start to detect the text in several images, and return before it is found.

        On the GPU the next batch is uploaded while this one computes. On the CPU all work is done
        in this call, unless the detector has several streams (`CpuConfig.num_streams`): it then
        returns when all images have begun or wait for a stream, at most one batch for each. Large
        images in tiles are finished in this call everywhere.

        >>> ahead = None
        >>> for frame in frames:
        ...     ticket = detector.submit([frame])
        ...     if ahead is not None:
        ...         show(detector.collect(ahead))
        ...     ahead = ticket

        Args:
            images: Images as in `detect_batch`. Arrays in GPU memory must not be changed before the
                results are collected, except by later work on the same `stream`.
            batch_size: Maximum number of images in one batch, 1 or more. OpenVINO and ONNX Runtime
                get images one by one, which is no slower on a CPU and takes less memory.
            **options: Options as in `detect`.

        Returns:
            A ticket for `collect`.

        Raises:
            ImageError: An image is missing, broken, or of another shape or type; the message says
                which.
            EngineError: The network cannot run; see `detect`.
            ValueError: An argument is out of range.
            TypeError: `images` is a single image or contains something else, or there is no such
                option.
        """
        is_whole = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
        if not is_whole or batch_size < 1:
            raise ValueError(f"batch_size must be a whole number, 1 or more, got {batch_size!r}")
        _check_many(images)
        batches = self._batches(options, batch_size)
        index = 0
        for image in images:
            try:
                self._add(batches, image, options)
            except ImageError as error:
                raise ImageError(f"image {index} of the batch: {error}") from error
            del image  # before a generator makes the next one
            index += 1  # noqa: SIM113 - enumerate would keep the image as well
        batches.flush()
        return Ticket(batches)

    def collect(self, ticket: Ticket) -> list[Detections]:
        """Wait for the results of `submit`.

        Tickets may be collected in any order, and more than once.

        Args:
            ticket: Return value of `submit`.

        Returns:
            One result per image, in the order of the images.

        Raises:
            EngineError: The network failed, or the GPU ran out of memory or was lost.
        """
        return ticket.collect()

    def _add(self, batches: Batches, source: ImageSource, options: DetectOptions) -> None:
        """Load an image into the batches."""
        stream = stream_handle(options.get("stream"))
        max_pixels = _choose_max_pixels(options, self._max_pixels)
        batches.add(self._runner.load(source, stream, max_pixels))

    def _batches(self, options: DetectOptions, batch_size: int) -> Batches:
        _check_options(options, DetectOptions)
        call = Call(
            _choose_size(options, self._size),
            _choose_tiles(options, self._tiles),
            _override(self._params, options),
            options.get("prob_map", False),
            1 if getattr(self._engine, "runs_one_by_one", False) else batch_size,
        )
        return Batches(self._runner, call, self._scale_warning)


class Ticket:
    """Images whose text is being detected, as `Detector.submit` returns them."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def collect(self) -> list[Detections]:
        """Wait for the results, one per image, in the order of the images.

        Raises:
            EngineError: The network failed, or the GPU ran out of memory or was lost.
        """
        return self._batches.finish()


def _check_many(images: object) -> None:
    """Raise a TypeError for a single image; it may be iterable, as an array is by its rows."""
    shape = getattr(images, "shape", None)
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Nv12Frame)
    is_iterable = hasattr(images, "__iter__") or hasattr(images, "__getitem__")
    if isinstance(images, kinds) or not is_iterable or (shape is not None and len(shape) < 4):
        raise TypeError(
            f"images must be an iterable of images, got one {type(images).__name__}; "
            "call detect for one image, or give a list"
        )


def _check_options(options: Mapping[str, object], known: type[DetectorOptions]) -> None:
    for name in options:
        if name not in known.__annotations__:
            names = known.__annotations__
            hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
            if name in CpuConfig.__dataclass_fields__:
                hint = f"; give it as cpu=CpuConfig({name}=...)"
            raise TypeError(f"there is no option {name!r}{hint}")


def _choose_size(options: DetectorOptions, default: SizePolicy) -> SizePolicy:
    size = options.get("size")
    if size is not None and not isinstance(size, SizePolicy):
        raise TypeError(
            f"size must be a SizePolicy, as in SizePolicy(short_side=736), got {size!r}"
        )
    return size or default


def _choose_tiles(
    options: DetectorOptions, default: Tiles | Literal["auto", "off"]
) -> Tiles | Literal["auto", "off"]:
    tiles = options.get("tiles")
    return default if tiles is None else check_tiles(tiles)


def _choose_max_pixels(options: DetectorOptions, default: int) -> int:
    limit = options.get("max_pixels")
    if limit is None:
        return default
    if isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1:
        raise ValueError(f"max_pixels must be a whole number, 1 or more, got {limit!r}")
    return int(limit)


def _override(params: PostprocessParams, options: DetectorOptions) -> PostprocessParams:
    """Replace the parameters that the options set."""
    names = PostprocessOptions.__annotations__
    given: dict[str, Any] = {
        name: value for name, value in options.items() if name in names and value is not None
    }
    return dataclasses.replace(params, **given) if given else params
