# SPDX-License-Identifier: Apache-2.0
"""Read images in GPU memory (torch, CuPy, PyCUDA, JAX, Numba) without copying them."""

from __future__ import annotations

import ctypes
import dataclasses
from dataclasses import dataclass
from typing import Any

from ..errors import ImageError
from .nv12 import NO_COLORS, Colors, Nv12Frame, frame_size

CUDA_DEVICE_TYPE = 2  # of DLPack
LEGACY_STREAM = 1


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """An image in GPU memory, BGR or NV12."""

    pixels: int
    """Device address of the (H, W, 3) uint8 pixels, or of NV12's (H, W) luma; rows are dense."""

    pitch: int
    """Distance of rows in bytes."""

    chroma: int
    """Device address of NV12's (H / 2, W) uint8 chroma; 0 for BGR."""

    chroma_pitch: int
    """Distance of rows of the chroma in bytes."""

    shape: tuple[int, int, int]
    """Shape (H, W, 3) of the image in BGR."""

    streams: tuple[int, ...]
    """Handles of the CUDA streams that the read is ordered after."""

    owner: Any
    """Object that keeps the memory alive."""

    colors: Colors = NO_COLORS
    """Conversion from NV12 to BGR."""

    def cut(self, y: int, x: int, height: int, width: int) -> DeviceImage:
        """Return a part of the image, in the same memory; all numbers are even for NV12."""
        chroma, per_pixel = 0, 3
        if self.chroma:
            chroma, per_pixel = self.chroma + y // 2 * self.chroma_pitch + x, 1
        return dataclasses.replace(
            self,
            pixels=self.pixels + y * self.pitch + x * per_pixel,
            chroma=chroma,
            shape=(height, width, 3),
        )


def is_on_device(source: Any) -> bool:
    """Whether an image is an array in CUDA memory."""
    if isinstance(source, Nv12Frame):
        return any(map(is_on_device, source.planes))
    if hasattr(source, "__cuda_array_interface__"):
        return True
    device = getattr(source, "__dlpack_device__", None)
    return device is not None and int(device()[0]) == CUDA_DEVICE_TYPE


def read_device_image(
    source: Any, stream: int | None, reader: int, ordinal: int = 0
) -> DeviceImage:
    """Find the address, layout and streams of an image in CUDA memory.

    Args:
        source: Array with `__dlpack__` or `__cuda_array_interface__`, or an `Nv12Frame` of such.
        stream: Handle of the stream that the caller works on; None asks the array.
        reader: Handle of the reading stream, which an array that is asked synchronizes with.
        ordinal: Number of the GPU that will read it.

    Raises:
        ImageError: The image is neither (H, W, 3) uint8 nor NV12, its rows are not contiguous, its
            matrix is not known, or it is on another GPU.
    """
    for array in source.planes if isinstance(source, Nv12Frame) else (source,):
        _check_gpu(array, ordinal)
    if isinstance(source, Nv12Frame):
        return _read_nv12(source, stream, reader)
    array = _read_array(source, stream, reader)
    if not array.is_bytes or len(array.shape) != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise ImageError(
            "an image in GPU memory must be (H, W, 3) uint8, BGR, or an Nv12Frame, got "
            f"{array.kind} of shape {array.shape}"
        )
    array.check_rows()
    height, width, _ = array.shape
    return DeviceImage(
        array.pointer, array.strides[0], 0, 0, (height, width, 3), array.streams, array.owner
    )


def _check_gpu(source: Any, ordinal: int) -> None:
    """Check that an image lies on GPU number `ordinal`, where DLPack tells its GPU."""
    device = getattr(source, "__dlpack_device__", None)
    if isinstance(source, ReadyArray):
        kind, number = CUDA_DEVICE_TYPE, source.ordinal
    elif device is None:
        return
    else:
        kind, number = map(int, device())
    if kind == CUDA_DEVICE_TYPE and number != ordinal:
        raise ImageError(
            f"the image is in the memory of cuda:{number} and the detector runs on cuda:{ordinal}; "
            f'copy the image, or open the detector with device="cuda:{number}"'
        )


def _read_nv12(frame: Nv12Frame, stream: int | None, reader: int) -> DeviceImage:
    if not all(map(is_on_device, frame.planes)):
        raise ImageError("one plane of the Nv12Frame is in GPU memory, the other is not")
    planes = [_read_array(plane, stream, reader) for plane in frame.planes]
    for plane in planes:
        if not plane.is_bytes:
            raise ImageError(f"NV12 must be uint8, got {plane.kind}; P010 and P016 are not read")
    height, width = frame_size([plane.shape for plane in planes])
    for plane in planes:
        plane.check_rows()
    luma, last = planes[0], planes[-1]
    return DeviceImage(
        luma.pointer,
        luma.strides[0],
        last.pointer if frame.chroma is not None else luma.pointer + height * luma.strides[0],
        last.strides[0],
        (height, width, 3),
        tuple({stream for plane in planes for stream in plane.streams}),
        [plane.owner for plane in planes],
        frame.colors,
    )


@dataclass(frozen=True, slots=True)
class ReadyArray:
    """Bytes in CUDA memory that no stream writes any more."""

    pointer: int
    shape: tuple[int, ...]
    """Shape of the array, whose values are dense."""

    ordinal: int
    """Number of the GPU."""

    owner: Any
    """Object that keeps the memory alive."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Description for other libraries."""
        data = (self.pointer, False)
        return {"version": 3, "shape": self.shape, "typestr": "|u1", "data": data, "stream": None}


@dataclass(frozen=True, slots=True)
class _Array:
    """An array in CUDA memory, as its owner describes it."""

    pointer: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes, where the values are bytes
    is_bytes: bool
    streams: tuple[int, ...]
    owner: Any

    @property
    def kind(self) -> str:
        """Kind of the values, for messages."""
        return "uint8" if self.is_bytes else "other numbers"

    def check_rows(self) -> None:
        """Check that the values of each row are contiguous and that rows do not overlap.

        Raises:
            ImageError: They are not, or they do.
        """
        dense = _dense_strides(self.shape)
        apart = [
            axis
            for axis, side in enumerate(self.shape)
            if side > 1  # the stride of a single value means nothing, and libraries differ
            and (self.strides[axis] < dense[0] if axis == 0 else self.strides[axis] != dense[axis])
        ]
        if apart:
            raise ImageError(
                "an image in GPU memory must have dense rows, as `.contiguous()` of torch or "
                f"`cupy.ascontiguousarray` gives, got shape {self.shape}, strides {self.strides} "
                "bytes"
            )


def _read_array(source: Any, stream: int | None, reader: int) -> _Array:
    if hasattr(source, "__dlpack__"):
        # -1: no synchronisation by the owner of the array; the pipeline does it.
        capsule = source.__dlpack__(stream=reader if stream is None else -1)
        streams = (reader if stream is None else stream,)
        return _Array(*_read_capsule(capsule), streams, (source, capsule))
    interface = source.__cuda_array_interface__
    shape = tuple(interface["shape"])
    strides = tuple(interface.get("strides") or _dense_strides(shape))
    if stream is None:
        stream = interface.get("stream") or LEGACY_STREAM
    is_bytes = interface["typestr"] == "|u1"
    written_by = () if isinstance(source, ReadyArray) else (stream,)
    return _Array(interface["data"][0], shape, strides, is_bytes, written_by, source)


def _dense_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Compute the strides of a contiguous array of bytes."""
    strides: list[int] = []
    step = 1
    for side in reversed(shape):
        strides.insert(0, step)
        step *= side
    return tuple(strides)


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, which a capsule begins with."""

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
    """Read address, shape, strides, and whether values are bytes; the capsule keeps the memory."""
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    tensor = _Tensor.from_address(get_pointer(capsule, b"dltensor"))
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else _dense_strides(shape)
    unsigned = 1
    is_bytes = (tensor.type_code, tensor.type_bits, tensor.type_lanes) == (unsigned, 8, 1)
    return (tensor.data or 0) + tensor.byte_offset, shape, strides, is_bytes


def stream_handle(stream: Any) -> int | None:
    """Return the handle of a CUDA stream: a number, or an object of torch, CuPy or PyCUDA."""
    if stream is None:
        return None
    for name in ("cuda_stream", "ptr", "handle"):
        stream = getattr(stream, name, stream)
    return int(stream) or LEGACY_STREAM
