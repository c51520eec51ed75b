# SPDX-License-Identifier: Apache-2.0
"""Images that lie in GPU memory already: torch, CuPy, PyCUDA, JAX, Numba. Never copied."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from .errors import ImageError

CUDA_DEVICE_TYPE = 2  # of DLPack
LEGACY_STREAM = 1


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """A BGR image in GPU memory."""

    pointer: int
    """Device address of (H, W, 3) uint8, the values of a row next to each other."""

    shape: tuple[int, int, int]
    """(H, W, 3)."""

    pitch: int
    """Bytes from one row to the next."""

    stream: int | None
    """Handle of the stream in whose order the image is read; None where its owner saw to that."""

    owner: Any
    """Keeps the memory alive."""


def is_on_device(source: Any) -> bool:
    """Whether an image is an array in CUDA memory."""
    if hasattr(source, "__cuda_array_interface__"):
        return True
    device = getattr(source, "__dlpack_device__", None)
    return device is not None and int(device()[0]) == CUDA_DEVICE_TYPE


def read_device_image(source: Any, stream: int | None, reader: int) -> DeviceImage:
    """Where an array in CUDA memory lies.

    Args:
        source: Has `__dlpack__` or `__cuda_array_interface__`.
        stream: Handle of the stream that the caller works on; None asks the array.
        reader: Handle of the stream that will read the image.

    Raises:
        ImageError: It is no (H, W, 3) uint8 image with dense rows.
    """
    if hasattr(source, "__dlpack__"):
        # -1: no synchronisation by the owner of the array; the pipeline does it.
        capsule = source.__dlpack__(stream=reader if stream is None else -1)
        pointer, shape, strides, is_bytes = _read_capsule(capsule)
        return _checked(pointer, shape, strides, is_bytes, stream, (source, capsule))
    interface = source.__cuda_array_interface__
    shape = tuple(interface["shape"])
    strides = interface.get("strides") or _dense_strides(shape)
    if stream is None:
        stream = interface.get("stream") or LEGACY_STREAM
    is_bytes = interface["typestr"] == "|u1"
    return _checked(interface["data"][0], shape, tuple(strides), is_bytes, stream, source)


def _checked(
    pointer: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    is_bytes: bool,
    stream: int | None,
    owner: Any,
) -> DeviceImage:
    if not is_bytes or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        kind = "uint8" if is_bytes else "other numbers"
        raise ImageError(
            f"an image in GPU memory must be (H, W, 3) uint8, BGR, got {kind} of shape {shape}"
        )
    if strides[1:] != (3, 1) or strides[0] < 3 * shape[1]:
        raise ImageError(
            "an image in GPU memory must have dense rows (H, W, 3), as `.contiguous()` of torch "
            f"or `cupy.ascontiguousarray` gives, got strides {strides} bytes"
        )
    return DeviceImage(pointer, (shape[0], shape[1], 3), strides[0], stream, owner)


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a contiguous array of bytes."""
    strides: list[int] = []
    step = 1
    for side in reversed(shape):
        strides.insert(0, step)
        step *= side
    return tuple(strides)


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, the start of what a capsule holds."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("type_code", ctypes.c_uint8),
        ("type_bits", ctypes.c_uint8),
        ("type_lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def _read_capsule(capsule: Any) -> tuple[int, tuple[int, ...], tuple[int, ...], bool]:
    """Address, shape, strides, and whether the values are bytes; the capsule stays the owner."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = _Tensor.from_address(get_pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else _dense_strides(shape)
    unsigned = 1
    is_bytes = (tensor.type_code, tensor.type_bits, tensor.type_lanes) == (unsigned, 8, 1)
    return (tensor.data or 0) + tensor.byte_offset, shape, strides, is_bytes


def stream_handle(stream: Any) -> int | None:
    """The handle of a stream: a number, or an object of torch, CuPy or PyCUDA."""
    if stream is None:
        return None
    for name in ("cuda_stream", "ptr", "handle"):
        stream = getattr(stream, name, stream)
    return int(stream) or LEGACY_STREAM
