# SPDX-License-Identifier: Apache-2.0
"""Engines of TensorRT 10, TensorRT 11 and TensorRT-RTX; the library's features select the calls."""

from __future__ import annotations

import hashlib
import importlib
import logging
import threading
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..errors import EngineError
from ..extras import install_hint
from ..gpu_status import read_cuda_status
from ..settings import device_ordinal
from .cuda_driver import Device, DeviceMemory
from .engine_card import BACKENDS, EngineCard, Shape, read_engine_card

logger = logging.getLogger("dbnet_trt")

MAX_SHAPES = 8
"""Maximum number of input shapes a `HostEngine` keeps; the least recently used is dropped first."""


def open_engine(path: Path, device: str = "auto") -> TensorRTEngine:
    """Open an engine that `dbnet-build` wrote.

    Args:
        path: The .engine file; its card lies beside it.
        device: "auto", "cuda" or "cuda:0".

    Raises:
        EngineError: The file or its card is missing or broken, or was made for another library,
            version or GPU; there is no CUDA, or no such library.
    """
    data, card = _read(path)
    reason = 'device="cpu" was given' if device == "cpu" else read_cuda_status().problem
    if reason:
        raise EngineError(f"{path} runs on a CUDA GPU, and {reason}; on a CPU give the .onnx file")
    return engine_from_bytes(data, card, device_ordinal(device), str(path))


def engine_from_bytes(
    data: bytes, card: EngineCard, ordinal: int = 0, name: str = "the engine"
) -> TensorRTEngine:
    """Load an engine from memory.

    Args:
        data: Bytes of the engine file.
        card: Card of the engine.
        ordinal: Number of the GPU.
        name: Name of the engine, for messages.

    Raises:
        EngineError: The engine was made for another library, version or GPU, or is broken; there
            is no CUDA, or no such library.
    """
    library = load_library(card.backend)
    gpu = Device(ordinal)
    card.check(name, library.__version__, gpu.compute_capability)
    with gpu.current():
        return TensorRTEngine(_deserialize(library, name, data), library, card, gpu)


def load_library(backend: str) -> Any:
    """Import "tensorrt" or "tensorrt_rtx".

    Raises:
        EngineError: The library is not known or not installed, or cannot be loaded.
    """
    if backend not in BACKENDS:
        raise EngineError(f"an engine's backend is {' or '.join(BACKENDS)}, not {backend!r}")
    try:
        return importlib.import_module(backend)
    except (ImportError, OSError) as error:
        raise EngineError(
            f"{BACKENDS[backend]} cannot be imported ({error}); {install_hint(backend)}"
        ) from error


@cache
def make_logger(library: Any) -> Any:
    """Make the library's logger, which feeds ours; TensorRT wants one for all objects.

    Its method `take_errors` returns the errors since its last call. Equal warnings are logged once:
    a quantized network causes hundreds of them.
    """
    levels = {
        library.ILogger.INTERNAL_ERROR: logging.ERROR,
        library.ILogger.ERROR: logging.ERROR,
        library.ILogger.WARNING: logging.WARNING,
        library.ILogger.INFO: logging.DEBUG,
        library.ILogger.VERBOSE: logging.DEBUG - 5,
    }

    class Logger(library.ILogger):  # type: ignore[misc]  # known at run time only
        def __init__(self) -> None:
            library.ILogger.__init__(self)
            self._errors: list[str] = []
            self._warnings: set[str] = set()

        def log(self, severity: Any, msg: str) -> None:
            """Log a message; called by the library."""
            level = levels.get(severity, logging.DEBUG)
            if "BuildCanceled" in msg:  # by Ctrl-C: not an error
                level = logging.DEBUG
            if level == logging.ERROR:
                self._errors.append(msg)
            if level == logging.WARNING:
                level = logging.DEBUG if msg in self._warnings else level
                self._warnings.add(msg)
            logger.log(level, "%s: %s", library.__name__, msg)

        def take_errors(self) -> str:
            """Return the errors since the last call, in one line."""
            errors, self._errors = self._errors, []
            return "; ".join(errors) or "it does not say why"

    return Logger()


class TensorRTEngine:
    """An engine on a GPU. May be used by one thread at a time.

    Each input shape gets an execution context with scratch memory of just its size, both at fixed
    addresses, so that a captured graph stays valid until `release` or the engine's end.
    """

    def __init__(self, engine: Any, library: Any, card: EngineCard, device: Device) -> None:
        self._engine, self._library = engine, library
        self.device, self.ordinal = device, device.ordinal
        self._logger = make_logger(library)
        self.card: ModelCard = card.model
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._input = self._choose(names, library.TensorIOMode.INPUT, self.card.input_name)
        self._output = self._choose(names, library.TensorIOMode.OUTPUT, self.card.output_name)
        self.input_is_half = self._is_half(self._input)
        self.output_is_half = self._is_half(self._output)
        smallest, _, largest = engine.get_tensor_profile_shape(self._input, 0)
        self._range = _without_channels(smallest), _without_channels(largest)
        self._contexts: dict[Shape, tuple[Any, DeviceMemory]] = {}
        self.description = (
            f"{BACKENDS[card.backend]} {card.version}, cuda:{device.ordinal}, {card.precision}"
        )

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Make the context and scratch memory for an input shape.

        Args:
            batch: Number of images.
            height: Height of the input in pixels.
            width: Width of the input in pixels.

        Raises:
            EngineError: The engine does not take this shape, or the GPU is out of memory.
        """
        shape = (batch, height, width)
        if shape in self._contexts:
            return
        self._check_range(shape)
        with self.device.current():
            self._contexts[shape] = self._prepare_context(shape)

    def _prepare_context(self, shape: Shape) -> tuple[Any, DeviceMemory]:
        batch, height, width = shape
        context = self._create_context()
        context.set_input_shape(self._input, (batch, 3, height, width))
        missing = context.infer_shapes()
        if missing:
            raise EngineError(f"the engine needs inputs other than an image: {', '.join(missing)}")
        output = tuple(context.get_tensor_shape(self._output))
        if output not in (shape, (batch, 1, height, width)):
            raise EngineError(
                f'"{self.card.name}" gives a map of shape {output} for an input of shape '
                f"{(batch, 3, height, width)}; a map of the input's size was expected"
            )
        memory = self.device.allocate(context.update_device_memory_size_for_shapes())
        if hasattr(context, "set_device_memory"):
            context.set_device_memory(memory.pointer, memory.num_bytes)
        else:
            context.device_memory = memory.pointer
        return context, memory

    def release(self, batch: int, height: int, width: int) -> None:
        """Free a shape's context and memory; no graph captured with it may run afterwards.

        Does nothing if the shape was not prepared.

        Args:
            batch: Number of images.
            height: Height of the input in pixels.
            width: Width of the input in pixels.
        """
        self._contexts.pop((batch, height, width), None)

    def enqueue(
        self, input_pointer: int, output_pointer: int, shape: tuple[int, int, int], stream: int
    ) -> None:
        """Enqueue the network on a stream.

        Args:
            input_pointer: Device address of (B, 3, h, w), contiguous.
            output_pointer: Device address for (B, h, w), contiguous.
            shape: (B, h, w), prepared before.
            stream: Handle of the stream; it may be capturing a graph.

        Raises:
            EngineError: TensorRT cannot run the network; the message has its reason.
        """
        context, _ = self._contexts[shape]
        context.set_tensor_address(self._input, input_pointer)
        context.set_tensor_address(self._output, output_pointer)
        if not context.execute_async_v3(stream):
            raise EngineError(f"{self.description}: {self._logger.take_errors()}")

    def _create_context(self) -> Any:
        """Create a context for which we manage memory, graphs and the time of compilation."""
        library = self._library
        strategy = library.ExecutionContextAllocationStrategy.USER_MANAGED
        if not hasattr(self._engine, "create_runtime_config"):
            context = self._engine.create_execution_context(strategy)
        else:
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            if hasattr(config, "cuda_graph_strategy"):
                config.cuda_graph_strategy = library.CudaGraphStrategy.DISABLED
            if hasattr(config, "dynamic_shapes_kernel_specialization_strategy"):
                config.dynamic_shapes_kernel_specialization_strategy = (
                    library.DynamicShapesKernelSpecializationStrategy.EAGER
                )
            context = self._engine.create_execution_context(config)
        if context is None:
            raise EngineError(f"{self.description}: {self._logger.take_errors()}")
        return context

    def _check_range(self, shape: Shape) -> None:
        smallest, largest = self._range
        fits = all(
            low <= side <= high for low, side, high in zip(smallest, shape, largest, strict=True)
        )
        if not fits:
            (b0, h0, w0), (b1, h1, w1) = smallest, largest
            raise EngineError(
                f'"{self.card.name}" was built for batches of {b0} to {b1}, heights of {h0} to '
                f"{h1} and widths of {w0} to {w1} pixels, got {shape}; use another size or "
                "batch, or run dbnet-build with other --shapes or --batch"
            )

    def _choose(self, names: list[str], mode: Any, wanted: str) -> str:
        found = [name for name in names if self._engine.get_tensor_mode(name) == mode]
        if wanted in found:
            return wanted
        if wanted or len(found) != 1:
            raise EngineError(
                f"the engine's tensors ({', '.join(names)}) are not those of its card "
                f"({wanted or 'one input, one output'}); run dbnet-build again"
            )
        return found[0]

    def _is_half(self, name: str) -> bool:
        types = self._library.DataType
        dtype = self._engine.get_tensor_dtype(name)
        if dtype not in (types.HALF, types.FLOAT):
            raise EngineError(f'"{name}" of the engine is {dtype}, expected fp32 or fp16')
        return bool(dtype == types.HALF)


class HostEngine:
    """An engine on a GPU for arrays in host memory. May be called from several threads at once."""

    def __init__(self, engine: TensorRTEngine) -> None:
        self._engine, self._device = engine, engine.device
        self.card, self.description = engine.card, engine.description
        with self._device.current():
            self._stream = self._device.create_stream()
        self._lock = threading.Lock()
        self._shapes: OrderedDict[Shape, None] = OrderedDict()

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (B, 3, h, w) float32 and return (B, h, w) float32."""
        shape = (batch.shape[0], batch.shape[2], batch.shape[3])
        engine, device = self._engine, self._device
        images = np.ascontiguousarray(batch, np.float16 if engine.input_is_half else np.float32)
        maps = np.empty(shape, np.float16 if engine.output_is_half else np.float32)
        with self._lock, device.current():
            self._prepare(shape)
            source, target = device.allocate(images.nbytes), device.allocate(maps.nbytes)
            device.upload(images, source.pointer)
            engine.enqueue(source.pointer, target.pointer, shape, self._stream)
            device.synchronize(self._stream)
            device.download(target.pointer, maps)
        return maps.astype(np.float32, copy=False)

    def _prepare(self, shape: Shape) -> None:
        self._engine.prepare(*shape)
        self._shapes[shape] = None
        self._shapes.move_to_end(shape)
        if len(self._shapes) > MAX_SHAPES:
            self._engine.release(*self._shapes.popitem(last=False)[0])


def _read(path: Path) -> tuple[bytes, EngineCard]:
    """Read an engine file and its card, and check that they belong together."""
    if not path.is_file():
        raise EngineError(f"there is no file {path}")
    card = read_engine_card(path)
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise EngineError(
            f"{path} is not the engine that its card describes (its SHA-256 differs); "
            "run dbnet-build again"
        )
    return data, card


def _deserialize(library: Any, name: str, data: bytes) -> Any:
    log = make_logger(library)
    library.init_libnvinfer_plugins(log, "")
    runtime = library.Runtime(log)
    if hasattr(runtime, "get_engine_validity"):
        validity, diagnostics = runtime.get_engine_validity(data)
        if validity == library.EngineValidity.INVALID:
            raise EngineError(
                f"{name} does not run here ({diagnostics}): {log.take_errors()}; "
                "run dbnet-build again"
            )
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise EngineError(f"{name} cannot be loaded: {log.take_errors()}; run dbnet-build again")
    return engine


def _without_channels(shape: Any) -> Shape:
    batch, _, height, width = (int(side) for side in shape)
    return batch, height, width
