# SPDX-License-Identifier: Apache-2.0
"""Fake CUDA driver and fake TensorRT in host memory, called as the real ones are.

The fake engine computes 20 times the mean of the channels, as the network of
`tiny_model.make_model`. Names are those of the real library, which test_tensorrt_api.py checks.
"""

import ctypes
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import ModelCard
from dbnet_trt.engines import cuda_driver, tensorrt
from dbnet_trt.engines.engine_card import EngineCard, card_path
from dbnet_trt.gpu_status import CudaStatus, Gpu

VERSION = "10.9.0"
USABLE = CudaStatus(("86-real",), (12, 9), (13, 0), (Gpu("Fake GPU", (8, 6), 1 << 30),))


class FakeDriver:
    """Driver with memory, streams and one GPU of compute capability 8.6; `log` lists its calls."""

    def __init__(self) -> None:
        self.buffers: dict[int, Any] = {}
        self.log: list[str] = []
        self.capability = (8, 6)
        self.out_of_memory = False
        self.contexts: list[int] = []
        """Contexts of the calling thread; the last one is current."""

    def cuInit(self, _: Any) -> int:
        return 0

    def cuCtxPushCurrent_v2(self, context: Any) -> int:
        self.contexts.append(context.value)
        return 0

    def cuCtxPopCurrent_v2(self, _: Any) -> int:
        self.contexts.pop()
        return 0

    def cuDeviceGet(self, handle: Any, ordinal: Any) -> int:
        handle._obj.value = ordinal.value
        return 0 if ordinal.value == 0 else 101

    def cuDevicePrimaryCtxRetain(self, context: Any, _: Any) -> int:
        context._obj.value = 4711
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: Any, _: Any) -> int:
        value._obj.value = self.capability[attribute.value - 75]
        return 0

    def cuMemAlloc_v2(self, pointer: Any, num_bytes: Any) -> int:
        assert self.contexts
        if self.out_of_memory:
            return 2
        buffer = ctypes.create_string_buffer(num_bytes.value)
        pointer._obj.value = ctypes.addressof(buffer)
        self.buffers[pointer._obj.value] = buffer
        return 0

    def cuMemFree_v2(self, pointer: Any) -> int:
        del self.buffers[pointer.value]
        return 0

    def cuMemcpyHtoD_v2(self, target: Any, source: Any, num_bytes: Any) -> int:
        assert self.contexts
        self.log.append("upload")
        ctypes.memmove(target.value, source.value, num_bytes.value)
        return 0

    def cuMemcpyDtoH_v2(self, target: Any, source: Any, num_bytes: Any) -> int:
        self.log.append("download")
        ctypes.memmove(target.value, source.value, num_bytes.value)
        return 0

    def cuStreamCreate(self, stream: Any, _: Any) -> int:
        assert self.contexts
        stream._obj.value = 77
        return 0

    def cuStreamSynchronize(self, stream: Any) -> int:
        self.log.append(f"synchronize {stream.value}")
        return 0

    def cuGetErrorName(self, _: Any, text: Any) -> int:
        text._obj.value = b"CUDA_ERROR_OF_THE_TEST"
        return 0


class _Logger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class _Context:
    def __init__(self, engine: "_Engine", config: Any) -> None:
        self.engine, self.config = engine, config
        self.shape: tuple[int, ...] = ()
        self.addresses: dict[str, int] = {}
        self.memory = (0, 0)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        self.shape = tuple(shape)
        return True

    def infer_shapes(self) -> list[str]:
        return self.engine.missing

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert name == "map"
        batch, _, height, width = self.shape
        return batch, 1, height // self.engine.shrinks, width

    def update_device_memory_size_for_shapes(self) -> int:
        return int(np.prod(self.shape))

    def set_device_memory(self, memory: int, size: int) -> None:
        self.memory = memory, size

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        library = self.engine.library
        if library.fails:
            library.logger.log(_Logger.ERROR, "the network is on strike")
            return False
        library.driver.log.append(f"enqueue on {stream_handle}")
        assert self.memory[1] >= self.update_device_memory_size_for_shapes()
        dtype = np.float16 if self.engine.half else np.float32
        batch, _, height, width = self.shape
        images = _view(self.addresses["image"], self.shape, dtype)
        maps = _view(self.addresses["map"], (batch, height, width), dtype)
        maps[:] = 20 * images.astype(np.float32).mean(axis=1)
        return True


def _view(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


class _RuntimeConfig:
    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy


class _RtxRuntimeConfig(_RuntimeConfig):
    cuda_graph_strategy = "unset"
    dynamic_shapes_kernel_specialization_strategy = "unset"


class _Engine:
    def __init__(self, library: Any) -> None:
        self.library = library
        self.half = False
        self.missing: list[str] = []
        self.shrinks = 1
        self.contexts: list[_Context] = []
        self.names = ["image", "map"]
        self.num_io_tensors = 2

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "image" else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return "half" if self.half else "float"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert (name, profile_index) == ("image", 0)
        return [(1, 3, 32, 32), (1, 3, 64, 64), (4, 3, 256, 320)]

    def create_execution_context(self, config: Any) -> _Context:
        assert self.library.driver.contexts
        self.contexts.append(_Context(self, config))
        return self.contexts[-1]


class _EngineWithConfig(_Engine):
    def create_runtime_config(self) -> Any:
        return _RtxRuntimeConfig() if self.library.rtx else _RuntimeConfig()


class FakeTensorRT(types.ModuleType):
    """TensorRT of three generations: 10.0 ("old"), 10.16 and 11 ("new"), and "rtx"."""

    def __init__(self, driver: FakeDriver, generation: str) -> None:
        super().__init__("tensorrt_rtx" if generation == "rtx" else "tensorrt")
        self.driver, self.rtx, self.fails = driver, generation == "rtx", False
        self.__version__ = VERSION
        self.ILogger = _Logger
        self.TensorIOMode = types.SimpleNamespace(INPUT="input", OUTPUT="output")
        self.DataType = types.SimpleNamespace(HALF="half", FLOAT="float")
        self.ExecutionContextAllocationStrategy = types.SimpleNamespace(USER_MANAGED="managed")
        self.engine = (_Engine if generation == "old" else _EngineWithConfig)(self)
        self.accepts = True
        self.invalid = False
        self.Runtime = self._rtx_runtime if self.rtx else self._runtime
        if self.rtx:
            self.EngineValidity = types.SimpleNamespace(INVALID="invalid")
            self.CudaGraphStrategy = types.SimpleNamespace(DISABLED="disabled")
            self.DynamicShapesKernelSpecializationStrategy = types.SimpleNamespace(EAGER="eager")

    def init_libnvinfer_plugins(self, logger: Any, namespace: str) -> bool:
        self.driver.log.append("plugins")
        return True

    def _runtime(self, logger: Any) -> Any:
        self.logger = logger
        self.driver.log.append("runtime")
        return types.SimpleNamespace(deserialize_cuda_engine=self._deserialize)

    def _rtx_runtime(self, logger: Any) -> Any:
        runtime = self._runtime(logger)
        validity = "invalid" if self.invalid else "valid"
        runtime.get_engine_validity = lambda _: (validity, ["UNSUPPORTED_CC"])
        return runtime

    def _deserialize(self, data: bytes) -> Any:
        assert self.driver.contexts
        if not self.accepts:
            self.logger.log(_Logger.ERROR, "bytes of another world")
            return None
        return self.engine


def install(monkeypatch: pytest.MonkeyPatch, generation: str = "new") -> FakeTensorRT:
    """Replace the GPU and TensorRT by fakes."""
    import sys

    library = FakeTensorRT(FakeDriver(), generation)
    monkeypatch.setattr(cuda_driver, "load_driver", lambda: library.driver)
    monkeypatch.setattr(tensorrt, "read_cuda_status", lambda: USABLE)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    return library


def write_engine(path: Path, model: ModelCard, **changes: Any) -> Path:
    """Write an engine file of meaningless bytes, and its card."""
    import hashlib

    path.write_bytes(b"engine")
    shapes = ((1, 32, 32), (1, 64, 64), (4, 256, 320))
    digest = hashlib.sha256(b"engine").hexdigest()
    fields: dict[str, Any] = {
        "backend": "tensorrt",
        "version": VERSION,
        "compute_capabilities": ("8.6",),
        "precision": "fp32",
        "shapes": shapes,
        "sha256": digest,
    }
    card = EngineCard(model, **{**fields, **changes})
    card_path(path).write_text(card.to_json())
    return path
