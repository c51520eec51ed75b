# SPDX-License-Identifier: Apache-2.0
"""Video files decoded by the GPU (NVDEC), by PyNvVideoCodec: frames stay in GPU memory."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from .. import _core
from ..errors import EngineError, ImageError
from ..extras import install_hint
from . import pyav
from .decode import check_num_pixels
from .gpu_memory import ReadyArray
from .nv12 import Matrix, Nv12Frame, frame_size

MATRICES: dict[int, Matrix] = {1: "bt709", 2: "bt601", 5: "bt601", 6: "bt601"}
"""Standards of colours that the kernels know, by FFmpeg's number. 2 is for a file that names none,
which FFmpeg takes for BT.601, too."""

FULL_RANGE = 2
"""FFmpeg's number of values from 0 to 255; others are from 16."""

FORMATS = ("yuv420p", "yuvj420p", "nv12")
"""FFmpeg's names of what becomes NV12."""

TimedFrames = Generator[tuple[int, float | None, Nv12Frame], None, None]


class NotOnGpuError(Exception):
    """A reason to decode a file in main memory instead."""


@dataclass(frozen=True, slots=True)
class _Stream:
    """Facts of a video, by PyAV: the demuxer of PyNvVideoCodec reads the container alone."""

    size: tuple[int, int]
    matrix: Matrix
    full_range: bool
    num_frames: int
    """Number of frames that the header promises; 0 if it does not."""


def open_video(source: str, gpu: int, *, max_pixels: int, may_be_cut: bool = False) -> TimedFrames:
    """Open a video file and decode its first frame on the GPU.

    Args:
        source: Path of the file.
        gpu: Number of the GPU, from 0.
        max_pixels: Limit on width x height of the frames.
        may_be_cut: Whether the number of frames in its header is only an estimate.

    Returns:
        Iterator over number of the frame, from 0; its time in seconds; and the frame, in GPU memory
        of its own: a copy of the decoder's, which is overwritten. It raises an ImageError where the
        file is damaged.

    Raises:
        NotOnGpuError: A library is missing, or the GPU cannot decode this file.
        ImageError: Its frames are too large.
        EngineError: The GPU is missing, or this build has no CUDA.
    """
    nvc, stream = _import_library(), _probe(source, max_pixels, may_be_cut)
    frames = _decode(nvc, source, gpu, stream)
    try:
        first = next(frames, None)
    except EngineError:
        raise
    except (nvc.PyNvVCException, nvc.PyNvVCExceptionUnsupported, RuntimeError) as error:
        raise NotOnGpuError(f"PyNvVideoCodec cannot decode it ({_first_line(error)})") from error
    if first is None:
        raise NotOnGpuError("PyNvVideoCodec delivers no frame")
    size = first[1].shape[:2]
    if size != stream.size:
        raise NotOnGpuError(f"PyNvVideoCodec delivers frames of {size} instead of {stream.size}")
    return _number(nvc, source, first, frames, stream)


def _import_library() -> Any:
    try:
        return importlib.import_module("PyNvVideoCodec")
    except ImportError as error:
        if error.name != "PyNvVideoCodec":
            raise NotOnGpuError(f"PyNvVideoCodec cannot be used ({_first_line(error)})") from error
        hint = install_hint("PyNvVideoCodec")
        raise NotOnGpuError(f"PyNvVideoCodec is not installed; {hint}") from error
    except Exception as error:  # it looks for the driver's libraries, and raises RuntimeError
        raise NotOnGpuError(f"PyNvVideoCodec cannot be used ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" :")


def _probe(source: str, max_pixels: int, may_be_cut: bool) -> _Stream:
    """Decode one frame in main memory, to know its colours and whether the GPU's are as good."""
    av = pyav.import_av()
    if av is None:
        hint = install_hint("PyNvVideoCodec")
        raise NotOnGpuError(f"PyAV, which tells its colours, is not installed; {hint}")
    try:
        with av.open(source) as container:
            if not container.streams.video:
                raise NotOnGpuError("there is no video in it")
            stream = container.streams.video[0]
            check_num_pixels(stream.width, stream.height, source, max_pixels)
            frame = next(container.decode(stream), None)
            num_frames = 0 if may_be_cut else stream.frames
    except av.FFmpegError as error:
        raise NotOnGpuError(f"FFmpeg cannot read it ({error.strerror})") from error
    if frame is None:
        raise NotOnGpuError("there is no frame in it")
    name, matrix = frame.format.name, MATRICES.get(int(frame.colorspace))
    if name not in FORMATS:
        raise NotOnGpuError(f"its pixels are {name}, not 4:2:0 of 8 bits")
    if frame.width % 2 or frame.height % 2:
        raise NotOnGpuError("its frames have an odd width or height")
    if matrix is None:
        raise NotOnGpuError(
            f"its colours are neither BT.601 nor BT.709 (number {int(frame.colorspace)} of FFmpeg)"
        )
    if round(frame.rotation / 90) % 4:
        raise NotOnGpuError("its frames have to be turned")
    is_full = int(frame.color_range) == FULL_RANGE or name == "yuvj420p"
    return _Stream((frame.height, frame.width), matrix, is_full, num_frames)


def _decode(
    nvc: Any, source: str, gpu: int, stream: _Stream
) -> Generator[tuple[float, Nv12Frame], None, None]:
    memory = _core.FrameMemory(gpu)
    demuxer = nvc.CreateDemuxer(source)
    second = Fraction(demuxer.GetTimebaseNum(), demuxer.GetTimebaseDen())
    decoder = nvc.CreateDecoder(
        gpuid=gpu,
        codec=demuxer.GetNvCodecId(),
        cudacontext=0,  # the primary one, as ours
        cudastream=memory.stream,
        usedevicememory=True,
    )
    try:
        for packet in demuxer:  # the last one is empty and asks for the frames that are left
            frames = decoder.Decode(packet)
            if frames:
                decoder.WaitOnCUStream(memory.stream)
            for frame in frames:
                if frame.format != nvc.Pixel_Format.NV12:
                    raise RuntimeError(f"a frame is {frame.format.name}, not NV12")
                copy = _copy(memory, frame, gpu)
                matrix, full_range = stream.matrix, stream.full_range
                yield float(frame.getPTS() * second), Nv12Frame(copy, None, matrix, full_range)
    finally:
        frames = frame = decoder = None  # before the stream that they use


def _copy(memory: _core.FrameMemory, frame: Any, gpu: int) -> ReadyArray:
    """Copy a frame before the decoder overwrites it: (H * 3 / 2, W)."""
    planes = [each.__cuda_array_interface__ for each in frame.cuda()]
    height, width = frame_size([tuple(each["shape"]) for each in planes])
    luma, chroma = ((each["data"][0], each["strides"][0]) for each in planes)
    owner = memory.copy(luma, chroma, (height, width))
    return ReadyArray(owner.address, (height * 3 // 2, width), gpu, owner)


def _number(
    nvc: Any,
    source: str,
    first: tuple[float, Nv12Frame],
    frames: Generator[tuple[float, Nv12Frame], None, None],
    stream: _Stream,
) -> TimedFrames:
    yield 0, *first
    del first
    number = 1
    try:
        for time, frame in frames:
            yield number, time, frame
            number += 1
    except EngineError:
        raise
    except (nvc.PyNvVCException, nvc.PyNvVCExceptionUnsupported, RuntimeError) as error:
        raise ImageError(f"{source} ends after {number} frames: {_first_line(error)}") from error
    if number < 0.9 * stream.num_frames:
        raise ImageError(
            f"{source} ends after {number} of {stream.num_frames} frames: cut off, damaged"
        )
