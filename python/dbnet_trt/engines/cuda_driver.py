# SPDX-License-Identifier: Apache-2.0
"""The part of the CUDA driver API that engines need: devices, memory, copies, streams."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numpy.typing import NDArray

from ..errors import EngineError

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


@cache
def load_driver() -> Any:
    """Load the driver's library.

    Raises:
        EngineError: There is no driver.
    """
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise EngineError(f"there is no CUDA driver here ({error})") from error


class Device:
    """A GPU, used through its primary context, which it shares with the CUDA runtime.

    Memory, copies and streams must be used within `with device.current():`.
    """

    def __init__(self, ordinal: int = 0) -> None:
        """Open GPU number `ordinal`.

        Raises:
            EngineError: There is no such GPU.
        """
        self._driver = load_driver()
        self._handle = ctypes.c_int()
        self._context = ctypes.c_void_p()
        self._call("cuInit", ctypes.c_uint(0))
        self._call("cuDeviceGet", ctypes.byref(self._handle), ctypes.c_int(ordinal))
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._handle)
        self.ordinal = ordinal

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this the calling thread's GPU for a `with` block, then restore the last one."""
        self._call("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    @property
    def compute_capability(self) -> str:
        """Compute capability, as in "8.6"."""
        numbers = []
        for attribute in (COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR):
            value = ctypes.c_int()
            self._call(
                "cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(attribute), self._handle
            )
            numbers.append(value.value)
        return "{}.{}".format(*numbers)

    def allocate(self, num_bytes: int) -> DeviceMemory:
        """Allocate memory on the GPU, which is freed with the returned object."""
        return DeviceMemory(self, num_bytes)

    def upload(self, array: NDArray[Any], pointer: int) -> None:
        """Copy a contiguous array to a device address, and wait."""
        self._call(
            "cuMemcpyHtoD_v2",
            ctypes.c_uint64(pointer),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(array.nbytes),
        )

    def download(self, pointer: int, array: NDArray[Any]) -> None:
        """Fill a contiguous array from a device address, and wait."""
        self._call(
            "cuMemcpyDtoH_v2",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_uint64(pointer),
            ctypes.c_size_t(array.nbytes),
        )

    def create_stream(self) -> int:
        """Create a stream, which lives as long as the process, and return its handle."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(0))
        return stream.value or 0

    def synchronize(self, stream: int) -> None:
        """Wait for all work on a stream."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            raise EngineError(f"{name} failed with CUDA error {status} ({self._explain(status)})")

    def _explain(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._driver.cuGetErrorName(ctypes.c_int(status), ctypes.byref(text))
        return text.value.decode() if text.value else "unknown"


class DeviceMemory:
    """Memory on a GPU, aligned to 256 bytes."""

    def __init__(self, device: Device, num_bytes: int) -> None:
        self.num_bytes = max(1, num_bytes)
        self._device = device
        self._pointer = ctypes.c_uint64(0)
        device._call("cuMemAlloc_v2", ctypes.byref(self._pointer), ctypes.c_size_t(self.num_bytes))

    @property
    def pointer(self) -> int:
        """Device address of the memory."""
        return self._pointer.value

    def __del__(self) -> None:
        if self._pointer.value:  # any thread may run this, with any GPU current
            driver = self._device._driver
            driver.cuCtxPushCurrent_v2(self._device._context)
            driver.cuMemFree_v2(self._pointer)
            driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
