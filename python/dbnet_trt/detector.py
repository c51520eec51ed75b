# SPDX-License-Identifier: Apache-2.0
"""Text detection in images: the main class of the package."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import NoReturn, TypeVar, Unpack

from .card import ModelCard
from .detections import Detections
from .engines import DeviceEngine, Engine
from .errors import ImageError
from .images.decode import MAX_PIXELS
from .images.gpu_memory import stream_handle
from .images.load import ImageSource
from .images.nv12 import Nv12Frame
from .images.same_picture import SamePicture
from .opening import make_runner, open_model
from .pipeline.batching import Batches, Call
from .pipeline.gpu import GpuRunner, GpuUsage
from .pipeline.options import (
    check_count,
    check_options,
    choose_max_pixels,
    choose_size,
    choose_tiles,
    override,
)
from .pipeline.scale_warning import ScaleWarning
from .pipeline.streaming import Begun, InOrder, Numbered
from .settings import (
    CpuConfig,
    DetectOptions,
    DetectorOptions,
    GpuConfig,
    PostprocessParams,
    SizePolicy,
)

logger = logging.getLogger("dbnet_trt")

Frame = TypeVar("Frame", bound=ImageSource)


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
        check_options(options, DetectorOptions)
        self._engine = open_model(model, device, card, cpu)
        self._runner = make_runner(self._engine, device, gpu, cpu)
        logger.info("%s runs on %s", self.card.name, self._engine.description)
        self._size = choose_size(options, self.card.size_policy)
        self._params = override(self.card.postprocess_params, options)
        self._tiles = choose_tiles(options, "auto")
        self._max_pixels = choose_max_pixels(options, MAX_PIXELS)
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
    def gpu_number(self) -> int | None:
        """Number of the GPU on which images are detected, from 0; None on the CPU."""
        return self._runner.gpu_number if isinstance(self._runner, GpuRunner) else None

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
        images in tiles are finished in this call everywhere. `stream` does this for frames.

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
        check_count("batch_size", batch_size)
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

    def stream(
        self,
        frames: Iterable[Frame | None],
        *,
        batch_size: int = 1,
        in_flight: int = 2,
        skip_same: bool = False,
        **options: Unpack[DetectOptions],
    ) -> Generator[tuple[Frame, Detections], None, None]:
        """Detect the text in frames as they come; the next is searched while a result is used.

        >>> for frame, found in detector.stream(frames):
        ...     show(found.plot(frame))

        On the CPU frames are searched by a thread of their own, or by the detector's streams
        (`CpuConfig.num_streams`), for which `in_flight` should be their number at least.

        Args:
            frames: Frames, as `detect` takes images; a generator is read one step ahead, and closed
                at the end. None in the place of a frame asks for all results so far. Arrays must
                not be changed before their result is there.
            batch_size: Number of frames that are handed over together, 1 or more.
            in_flight: Number of batches that are searched before the first result is waited for; 1
                gives each result before the next frame is asked for.
            skip_same: Whether a frame that shows the same picture as the last one that was searched
                gets its result, the same object, instead of being searched.
            **options: Options as in `detect`.

        Returns:
            Iterator over each frame with its detections, in order. Closing it, or leaving it to the
            garbage collector, waits for what is in flight.

        Raises:
            ImageError: A frame is missing, broken, or of another shape or type; the message says
                which. Like every error of `frames`, it comes after the results of those before it.
            EngineError: The network cannot run; see `detect`.
            ValueError: An argument is out of range.
            TypeError: `frames` is a single image or contains something else, or there is no such
                option.
        """
        check_count("batch_size", batch_size)
        check_count("in_flight", in_flight)
        _check_many(frames)
        self._batches(options, batch_size)
        frames_in_order = InOrder[Frame](
            lambda batch: self._begin(batch, batch_size, options),
            batch_size=batch_size,
            in_flight=in_flight,
            is_same=SamePicture() if skip_same else None,
            in_thread=self.device == "cpu" and self.num_streams == 1 and in_flight > 1,
        )
        return frames_in_order.run(frames)

    def _begin(
        self, batch: list[Numbered[Frame]], batch_size: int, options: DetectOptions
    ) -> Begun:
        """Begin to search frames, up to one that cannot be loaded."""
        batches = self._batches(options, batch_size)
        error: Exception | None = None
        for number, frame in batch:
            try:
                self._add(batches, frame, options)
            except ImageError as failed:
                error = ImageError(f"frame {number}: {failed}")
                error.__cause__ = failed
                break
            except Exception as failed:  # raised in its turn
                error = failed
                break
        try:
            batches.flush()
        except Exception as failed:  # of frames before the one that failed
            error = failed
        return Begun(batches, error)

    def _add(self, batches: Batches, source: ImageSource, options: DetectOptions) -> None:
        """Load an image into the batches."""
        stream = stream_handle(options.get("stream"))
        max_pixels = choose_max_pixels(options, self._max_pixels)
        batches.add(self._runner.load(source, stream, max_pixels))

    def _batches(self, options: DetectOptions, batch_size: int) -> Batches:
        check_options(options, DetectOptions)
        call = Call(
            choose_size(options, self._size),
            choose_tiles(options, self._tiles),
            override(self._params, options),
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
