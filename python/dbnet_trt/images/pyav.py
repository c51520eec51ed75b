# SPDX-License-Identifier: Apache-2.0
"""Video files by PyAV: frames with their times, and H.264."""

from __future__ import annotations

import importlib
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ImageError
from .decode import check_num_pixels
from .load import Image

ENCODERS = ("libx264", "libopenh264")
"""Encoders of H.264, the preferred one first."""

TIME_BASE = Fraction(1, 90_000)
"""Unit of times in written files, in seconds."""

QUALITY = "20"
"""Constant rate factor of x264; 18 to 23 look like the original, by its documentation."""


def import_av() -> Any:
    """Return the package av; None if it is not installed."""
    try:
        return importlib.import_module("av")
    except ImportError:
        return None


def read_timed_frames(
    source: str, *, max_pixels: int, may_be_cut: bool = False
) -> Generator[tuple[int, float | None, Image], None, None]:
    """Read the frames of a video file, turned upright.

    Args:
        source: Path of the file.
        max_pixels: Limit on width x height of the frames.
        may_be_cut: Whether the number of frames in its header is only an estimate.

    Yields:
        Number of the frame, from 0; its time in seconds, None if the file has none; and the frame,
        (H, W, 3) uint8 BGR.

    Raises:
        ImageError: The file cannot be read, its frames are too large, it has none, or far fewer
            than its header promises.
    """
    av, number, promised = import_av(), 0, 0
    try:
        with av.open(source) as container:
            if not container.streams.video:
                raise ImageError(f"{source} has no video in it")
            stream = container.streams.video[0]
            check_num_pixels(stream.width, stream.height, source, max_pixels)
            promised = 0 if may_be_cut else stream.frames
            for frame in container.decode(stream):
                pixels = frame.to_ndarray(format="bgr24")
                turns = round(frame.rotation / 90) % 4  # counter-clockwise
                yield number, frame.time, np.ascontiguousarray(np.rot90(pixels, turns))
                number += 1
    except av.FFmpegError as error:
        if number == 0:
            raise ImageError(f"{source} delivers no frame: {error.strerror}") from error
        raise ImageError(f"{source} ends after {number} frames: {error.strerror}") from error
    if number == 0:
        raise ImageError(f"{source} delivers no frame: not a video, or cut off")
    if number < 0.9 * promised:
        raise ImageError(f"{source} ends after {number} of {promised} frames: cut off, damaged")


class H264Writer:
    """A file in H.264, 4:2:0, which browsers play from its start."""

    def __init__(self, path: Path, rate: float, size: tuple[int, int]) -> None:
        """Open the file.

        Args:
            path: File to write.
            rate: Frames per second, of frames without a time.
            size: Height and width of the frames; an odd one is made even by repeating the border.

        Raises:
            ImageError: The file cannot be written, or this PyAV has no encoder.
        """
        self._av = av = import_av()
        encoder = next((name for name in ENCODERS if name in av.codecs_available), None)
        if encoder is None:
            raise ImageError(f"{path} cannot be written: this PyAV lacks {' and '.join(ENCODERS)}")
        self._path, self._step = path, Fraction(1) / Fraction(rate).limit_denominator(100_000)
        self._pad = [(0, side % 2) for side in size]
        self._next = Fraction(0)
        self._last_ticks = -1
        try:
            self._file = av.open(str(path), "w", options={"movflags": "+faststart"})
            options = {"crf": QUALITY} if encoder == "libx264" else {}
            self._stream = self._file.add_stream(encoder, rate=1 / self._step, options=options)
            self._stream.height, self._stream.width = (side + side % 2 for side in size)
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = TIME_BASE
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{path} cannot be written: {error}") from error

    def write(self, frame: Image, time: float | None) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) uint8 BGR.
            time: Its time in seconds, later than the last one; None follows at the rate.

        Raises:
            ImageError: The file cannot be written.
        """
        padded = np.pad(frame, (*self._pad, (0, 0)), mode="edge")
        picture = self._av.VideoFrame.from_ndarray(padded, format="bgr24")
        at = self._next if time is None else Fraction(time)
        ticks = max(round(at / TIME_BASE), self._last_ticks + 1)
        picture.pts, picture.time_base = ticks, TIME_BASE
        self._last_ticks, self._next = ticks, ticks * TIME_BASE + self._step
        self._encode(picture)

    def close(self) -> None:
        """Finish the file.

        Raises:
            ImageError: The file cannot be written.
        """
        self._encode(None)
        try:
            self._file.close()
        except (self._av.FFmpegError, OSError) as error:
            raise ImageError(f"{self._path} cannot be written: {error}") from error

    def _encode(self, picture: Any) -> None:
        try:
            for packet in self._stream.encode(picture):
                self._file.mux(packet)
        except (self._av.FFmpegError, OSError) as error:
            raise ImageError(f"{self._path} cannot be written: {error}") from error
