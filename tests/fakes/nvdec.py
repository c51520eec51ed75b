# SPDX-License-Identifier: Apache-2.0
"""Fake PyNvVideoCodec: PyAV decodes, into memory of the fake GPU that the next call overwrites.

Names, arguments and the layout of frames are those of PyNvVideoCodec 2.2.4's compiled module.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fakes.cuda import FakeCuda

PADDING = 40  # bytes after each row


class PyNvVCExceptionError(Exception):
    """PyNvVCException, and PyNvVCExceptionUnsupported."""


class PixelFormat(enum.Enum):
    NV12 = 0
    P016 = 2


def to_nv12(frame: Any) -> np.ndarray:
    """Interleave the planes of a frame of PyAV: (H * 3 / 2, W) uint8."""
    planes = [
        np.frombuffer(each, np.uint8).reshape(each.height, each.line_size)[:, : each.width]
        for each in frame.planes
    ]
    chroma = np.stack(planes[1:], axis=2).reshape(len(planes[1]), -1)
    return np.concatenate([planes[0], chroma])


class MemoryView:
    """CAIMemoryView."""

    def __init__(self, plane: np.ndarray) -> None:
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": list(plane.shape),
            "strides": list(plane.strides),
            "typestr": "|u1",
            "stream": 2,
            "data": (plane.ctypes.data, False),
        }


class DecodedFrame:
    def __init__(self, surface: np.ndarray, size: tuple[int, int], pts: int, kind: Any) -> None:
        self._surface, self._size, self._pts, self.format = surface, size, pts, kind

    def cuda(self) -> list[MemoryView]:
        height, width = self._size
        luma = self._surface[:height, :width, None]
        chroma = self._surface[height:, :width].reshape(height // 2, width // 2, 2, copy=False)
        return [MemoryView(luma), MemoryView(chroma)]

    def getPTS(self) -> int:
        return self._pts


class Demuxer:
    def __init__(self, source: str) -> None:
        import av

        self._container = av.open(source)
        self._stream = self._container.streams.video[0]
        time_base = self._stream.time_base
        assert time_base is not None
        self._unit = Fraction(time_base)

    def GetNvCodecId(self) -> str:
        return self._stream.codec_context.name

    def GetTimebaseNum(self) -> int:
        return self._unit.numerator

    def GetTimebaseDen(self) -> int:
        return self._unit.denominator

    def __iter__(self) -> Iterator[Any]:
        yield from self._container.demux(self._stream)  # the last packet is empty
        self._container.close()


class Decoder:
    """Writes frames on its stream, into the same surfaces for each packet."""

    def __init__(self, fake: FakeNvdec, stream: int) -> None:
        self._fake, self._stream = fake, stream
        self._surfaces: list[np.ndarray] = []
        self._num_packets = 0

    def Decode(self, packet: Any) -> list[DecodedFrame]:
        if self._num_packets == self._fake.fails_at:
            raise self._fake.PyNvVCException("HandlePictureDecode : \nCUDA_ERROR_NO_DEVICE")
        self._num_packets += 1
        for surface in self._surfaces:
            surface[:] = 200
        found = []
        for i, frame in enumerate(packet.decode()):
            nv12 = to_nv12(frame)
            pitch = frame.width + PADDING
            if i == len(self._surfaces) or self._surfaces[i].shape != (len(nv12), pitch):
                self._surfaces[i:] = [np.full((len(nv12), pitch), 200, np.uint8)]
            wide = np.pad(nv12, ((0, 0), (0, PADDING)))
            self._fake.memory += [wide, self._surfaces[i]]
            at = self._surfaces[i].ctypes.data
            self._fake.cuda.copy(at, wide.ctypes.data, wide.nbytes, self._stream)
            kind = self._fake.kind
            found.append(
                DecodedFrame(self._surfaces[i], (frame.height, frame.width), frame.pts, kind)
            )
        self._fake.is_ready = not found
        return found

    def WaitOnCUStream(self, stream: int) -> None:
        assert stream == self._stream
        self._fake.is_ready = True


class FakeNvdec(types.ModuleType):
    """The module; put it into sys.modules."""

    Pixel_Format = PixelFormat
    PyNvVCException = PyNvVCExceptionUnsupported = PyNvVCExceptionError

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__("PyNvVideoCodec")
        self.cuda = cuda
        self.kind = PixelFormat.NV12
        self.fails_at = -1  # number of the packet that cannot be decoded
        self.is_ready = True
        self.memory: list[np.ndarray] = []  # kept, as copies may run after a decoder is gone

    def CreateDemuxer(self, filename: str) -> Demuxer:
        return Demuxer(filename)

    def CreateDecoder(
        self, *, gpuid: int, codec: str, cudacontext: int, cudastream: int, usedevicememory: bool
    ) -> Decoder:
        assert (gpuid, codec, cudacontext, usedevicememory) == (0, "h264", 0, True)
        return Decoder(self, cudastream)


def write_clip(
    path: Path,
    pictures: list[np.ndarray],
    *,
    pix_fmt: str = "yuv420p",
    colorspace: int = 2,
    color_range: int = 1,
) -> str:
    """Write BGR pictures in H.264 with these numbers of FFmpeg for colours."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "8", "bf": "2"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        stream.codec_context.colorspace = colorspace
        stream.codec_context.color_range = color_range
        known = {"dst_colorspace": colorspace} if colorspace in (1, 5) else {}
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame = frame.reformat(format=pix_fmt, dst_color_range=color_range, **known)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return str(path)
