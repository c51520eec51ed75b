# SPDX-License-Identifier: Apache-2.0
"""Read and write BGR uint8 frames of video files, cameras and streams."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import deque
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import TypeVar, overload

import numpy as np

from ..errors import ImageError
from . import nvdec, pyav
from .decode import MAX_PIXELS, check_num_pixels
from .load import VIDEO_SUFFIXES, Image
from .nv12 import Nv12Frame

logger = logging.getLogger("dbnet_trt")

WRITTEN_SUFFIXES = {".mp4": "mp4v", ".avi": "MJPG"}
"""Suffixes of video files that can be written, with the code (FourCC) of their codec."""

COUNTING_SUFFIXES = frozenset((".mp4", ".avi", ".mov", ".m4v"))
"""Suffixes of video files whose header holds the number of frames, not an estimate."""

FRAME_SIDES = (3, 4)  # CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT

Item = TypeVar("Item")

_STREAM = re.compile(r"(rtsps?|rtmps?|srt|tcp|udp)://")


def silence_opencv() -> None:
    """Keep OpenCV, and FFmpeg behind it, from printing warnings and errors."""
    import cv2

    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # before and after 4.13
    logging.setLogLevel(0)


def is_video(source: str) -> bool:
    """Whether a source is a video file, the number of a camera, or the address of a stream."""
    return is_live(source) or Path(source).suffix.lower() in VIDEO_SUFFIXES


def is_live(source: str) -> bool:
    """Whether a source is the number of a camera or the address of a stream."""
    return source.isdecimal() or _STREAM.match(source) is not None


def count_frames(source: str) -> int | None:
    """Read the number of frames from a video file's header; None if it is live or not stated."""
    import cv2

    count = int(_read_header(source, cv2.CAP_PROP_FRAME_COUNT))
    return count if count > 0 else None


def frame_rate(source: str) -> float:
    """Read the frames per second from a video file's header; 25 if it is live or not stated."""
    import cv2

    rate = _read_header(source, cv2.CAP_PROP_FPS)
    return rate if 0 < rate <= 1000 else 25.0


def _read_header(source: str, field: int) -> float:
    """Read a number from a video file's header; 0 if it is live or has no such number."""
    import cv2

    if is_live(source):
        return 0.0
    capture = cv2.VideoCapture(source)
    value = float(capture.get(field))
    capture.release()
    return value


@overload
def read_frames(source: str) -> Generator[tuple[int, Image], None, None]: ...
@overload
def read_frames(
    source: str, *, gpu: int | None
) -> Generator[tuple[int, Image | Nv12Frame], None, None]: ...
def read_frames(
    source: str, *, gpu: int | None = None
) -> Generator[tuple[int, Image | Nv12Frame], None, None]:
    """Read the frames of a video file, or of a camera or stream until it ends.

    Args:
        source: Path of a file, number of a camera, or address of a stream.
        gpu: Number of the GPU that decodes a file, as in `read_timed_frames`.

    Yields:
        Number of the frame, from 0, and the frame, (H, W, 3) uint8 BGR.

    Raises:
        ImageError: See `read_timed_frames`.
        EngineError: See `read_timed_frames`.
    """
    for number, _, frame in read_timed_frames(source, gpu=gpu):
        yield number, frame


@overload
def read_timed_frames(source: str) -> Generator[tuple[int, float | None, Image], None, None]: ...
@overload
def read_timed_frames(
    source: str, *, gpu: int | None
) -> Generator[tuple[int, float | None, Image | Nv12Frame], None, None]: ...
def read_timed_frames(
    source: str, *, gpu: int | None = None
) -> Generator[tuple[int, float | None, Image | Nv12Frame], None, None]:
    """Read the frames of a video with their times, which PyAV tells where it is installed.

    Args:
        source: Path of a file, number of a camera, or address of a stream.
        gpu: Number of the GPU that decodes a file, where PyNvVideoCodec is installed and the GPU
            can; otherwise the CPU does, and a warning says why, once for each reason. None decodes
            on the CPU, as cameras and streams always are.

    Yields:
        Number of the frame, from 0; its time in seconds, or None; and the frame, (H, W, 3) uint8
        BGR, or what the GPU decodes as an `Nv12Frame` in its memory.

    Raises:
        ImageError: The source cannot be opened, its frames are too large, or it has none. Raised
            after the last frame if there were far fewer than the header promises.
        EngineError: The GPU is missing, or this build has no CUDA.
        ValueError: `gpu` is not the number of a GPU.
    """
    if gpu is not None and (isinstance(gpu, bool) or not isinstance(gpu, int) or gpu < 0):
        raise ValueError(f"gpu must be the number of a GPU, 0 or more, or None, got {gpu!r}")
    if not is_live(source) and not Path(source).is_file():
        raise ImageError(f"there is no file {source}")
    if gpu is not None and not is_live(source):
        try:
            may_be_cut = Path(source).suffix.lower() not in COUNTING_SUFFIXES
            on_gpu = nvdec.open_video(source, gpu, max_pixels=MAX_PIXELS, may_be_cut=may_be_cut)
        except nvdec.NotOnGpuError as reason:
            _say_on_cpu(str(reason))
        else:
            yield from on_gpu
            return
    yield from _read_on_cpu(source)


@cache
def _say_on_cpu(reason: str) -> None:
    """Say once that the GPU decodes no video of this kind."""
    logger.warning("the video is decoded on the CPU: %s (said once)", reason)


def _read_on_cpu(source: str) -> Generator[tuple[int, float | None, Image], None, None]:
    import cv2

    if not is_live(source) and pyav.import_av() is not None:
        may_be_cut = Path(source).suffix.lower() not in COUNTING_SUFFIXES
        yield from pyav.read_timed_frames(source, max_pixels=MAX_PIXELS, may_be_cut=may_be_cut)
        return
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    try:
        if capture.isOpened():
            width, height = (int(capture.get(field)) for field in FRAME_SIDES)
            check_num_pixels(width, height, source, MAX_PIXELS)
        got, frame = capture.read() if capture.isOpened() else (False, None)
        if not got:
            what = f"camera {source}" if source.isdecimal() else source
            raise ImageError(f"{what} delivers no frame: not there, in use, or not a video")
        number = 0
        while got:
            yield number, None, np.asarray(frame, np.uint8)
            number += 1
            got, frame = capture.read()
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if Path(source).suffix.lower() in COUNTING_SUFFIXES and number < 0.9 * promised:
            raise ImageError(f"{source} ends after {number} of {promised} frames: cut off, damaged")
    finally:
        capture.release()


def writes_h264(path: Path) -> bool:
    """Whether a video file of this name is written in H.264."""
    return path.suffix.lower() == ".mp4" and pyav.import_av() is not None


def newest(items: Generator[Item, None, None]) -> Generator[Item, None, None]:
    """Yield the newest item of a live source and drop older ones; a thread reads the source.

    A consumer that is slower than a camera then sees the present frame, and no queue grows. The
    very last item and an error of the source are never dropped.

    Raises:
        Exception: The error that the source raised, after its last item.
    """
    waiting: deque[Item] = deque(maxlen=1)
    changed = threading.Condition()
    ended = False
    failed: list[Exception] = []

    def take_all() -> None:
        nonlocal ended
        try:
            for item in items:
                with changed:
                    if ended:
                        break
                    waiting.append(item)
                    changed.notify()
        except Exception as error:  # the caller's thread raises it
            failed.append(error)
        finally:
            items.close()
            with changed:
                ended = True
                changed.notify()

    # A daemon: a camera that delivers nothing may block the thread, but not the program's end.
    thread = threading.Thread(target=take_all, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting or ended)
                if not waiting:
                    break
                item = waiting.pop()
            yield item
        if failed:
            raise failed[0]
    finally:
        with changed:
            ended = True
        thread.join(timeout=1)


class VideoFile:
    """A video file that is written frame by frame and finished by `close`.

    A .mp4 is H.264, which browsers play, where PyAV is installed, else MPEG-4.

    Args:
        path: File to write; its suffix, one of `WRITTEN_SUFFIXES`, selects the format.
        rate: Frames per second.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float) -> None:
        import cv2

        self._path, self._rate = Path(path), rate
        self._writer = cv2.VideoWriter()
        self._h264: pyav.H264Writer | None = None
        self._shape: tuple[int, ...] = ()
        self.num_frames = 0

    def add(self, frame: Image, time: float | None = None) -> None:
        """Append a frame.

        Args:
            frame: (H, W, 3) uint8 BGR; the first one determines the size.
            time: Its time in seconds, which H.264 keeps; None follows at the rate.

        Raises:
            ImageError: The file cannot be written, or the frame has another size.
        """
        if not self._shape:
            self._open(frame.shape)
        if frame.shape != self._shape:
            raise ImageError(
                f"{self._path}: a frame of {frame.shape[1]}x{frame.shape[0]} does not fit into "
                f"a video of {self._shape[1]}x{self._shape[0]}"
            )
        if self._h264 is not None:
            self._h264.write(frame, time)
        else:
            self._writer.write(frame)
        self.num_frames += 1

    def _open(self, shape: tuple[int, ...]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch()
        except OSError as error:
            raise ImageError(f"{self._path} cannot be written: {error.strerror}") from error
        if writes_h264(self._path):
            self._h264 = pyav.H264Writer(self._path, self._rate, (shape[0], shape[1]))
            self._shape = shape
            return
        code = WRITTEN_SUFFIXES[self._path.suffix.lower()]
        fourcc = self._writer.fourcc(*code)
        if not self._writer.open(str(self._path), fourcc, self._rate, (shape[1], shape[0])):
            raise ImageError(f"{self._path} cannot be written: this OpenCV lacks {code}")
        self._shape = shape

    def close(self) -> None:
        """Finish the file.

        Raises:
            ImageError: The file holds fewer frames than were written; the disk may be full.
        """
        if not self._shape:
            return
        if self._h264 is not None:
            self._h264.close()
        else:
            self._writer.release()
        if (count_frames(str(self._path)) or 0) < self.num_frames:
            raise ImageError(f"{self._path} lacks frames at its end; is the disk full?")
