# SPDX-License-Identifier: Apache-2.0
"""Where `dbnet detect` puts results: lines of JSON, pictures, a video."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TextIO

from ..detections import Detections
from ..errors import ImageError
from ..images import video
from ..images.load import IMAGE_SUFFIXES, VIDEO_SUFFIXES, WRITTEN_SUFFIXES, Image
from ..images.video import VideoFile, frame_rate, is_live, is_video


class ResultWriter:
    """Writes each result whole before the next. Nothing that is read is overwritten."""

    def __init__(self, pictures: Path | None, lines: Path | None, sources: list[str]) -> None:
        """Check where results go, then open the file of lines.

        Args:
            pictures: A file for one picture or the frames of one video, or a folder for many.
            lines: A file, or "-" for standard output.
            sources: What is read: files, numbers of cameras, addresses of streams.

        Raises:
            ValueError: There are more pictures than one file takes, or an input would be
                overwritten, or nothing can be written under that name.
            ImageError: The file of lines cannot be written.
        """
        self._file: Path | None = None
        self._video: VideoFile | None = None
        self._folder: Path | None = None
        self._choose(pictures, sources)
        self._used: set[str] = set()
        self._check_inputs(pictures, lines, sources)
        self._lines = _open(lines)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines not in (None, sys.stdout):
            self._lines.close()
        if self._video is not None:
            self._video.close()

    def _choose(self, pictures: Path | None, sources: list[str]) -> None:
        """Whether pictures go to a file, into a video or into a folder."""
        if pictures is None:
            return
        suffix = "" if pictures.is_dir() else pictures.suffix.lower()
        one_video = len(sources) == 1 and is_video(sources[0])
        if suffix in WRITTEN_SUFFIXES:
            if len(sources) > 1 or one_video:
                raise ValueError(
                    f"--save {pictures} names one picture, but there are more to write; "
                    f"name a folder{' or a video (.mp4)' if one_video else ''}"
                )
            self._file = pictures
        elif suffix in video.WRITTEN_SUFFIXES:
            if not one_video:
                raise ValueError(
                    f"--save {pictures} names a video, but what is read is not one video; "
                    "name a folder"
                )
            self._video = VideoFile(pictures, frame_rate(sources[0]))
        elif suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise ValueError(
                f"--save {pictures}: pictures are written as "
                f"{', '.join(sorted(WRITTEN_SUFFIXES))}, "
                f"videos as {', '.join(sorted(video.WRITTEN_SUFFIXES))}"
            )
        else:
            self._folder = pictures

    def _check_inputs(self, pictures: Path | None, lines: Path | None, sources: list[str]) -> None:
        """That no input is among the outputs."""
        files = [name for name in sources if not is_live(name)]
        inputs = {Path(name).resolve() for name in files}
        drawn = [pictures] if pictures is not None else []
        if self._folder is not None:
            drawn = [self._folder / self._picture_name(name, None) for name in files]
            self._used.clear()
        for option, paths in (("--save", drawn), ("--json", [lines] if lines else [])):
            for path in paths:
                if path.resolve() in inputs:
                    raise ValueError(f"{option} would overwrite the input {path}; name another")

    def write(self, name: str, frame: int | None, image: Image, found: Detections) -> None:
        """Put one image's result where it belongs.

        Args:
            name: The file's name, the camera's number, or the stream's address.
            frame: Number of a video's frame.
            image: (H, W, 3) uint8 BGR.
            found: Its text.

        Raises:
            ImageError: The picture or the video cannot be written.
            OSError: The line cannot be written.
        """
        if self._lines is not None:
            record = {"image": name, "height": image.shape[0], "width": image.shape[1]}
            if frame is not None:
                record["frame"] = frame
            # One write a line: whatever stops the program leaves whole lines.
            self._lines.write(json.dumps(record | json.loads(found.to_json())) + "\n")
            self._lines.flush()
        if self._file is not None:
            found.save(self._file, image)
        elif self._video is not None:
            drawn = found.plot(image)
            left_out = max((frame or 0) - self._video.num_frames, 0)
            for _ in range(left_out + 1):  # the video keeps the pace of a live source
                self._video.add(drawn)
        elif self._folder is not None:
            found.save(self._folder / self._picture_name(name, frame), image)

    def _picture_name(self, name: str, frame: int | None) -> str:
        """A name of its own for each picture, also where folders hold files of the same name."""
        if is_live(name):
            name = f"camera{name}" if name.isdecimal() else "stream"
        path = Path(name)
        suffix = path.suffix if path.suffix.lower() in WRITTEN_SUFFIXES else ".jpg"
        stem = path.stem if frame is None else f"{path.stem}_{frame:06d}"
        unique, number = stem + suffix, 2
        while unique in self._used:
            unique, number = f"{stem}_{number}{suffix}", number + 1
        self._used.add(unique)
        return unique


def _open(path: Path | None) -> TextIO | None:
    if path is None:
        return None
    if str(path) == "-":
        return sys.stdout
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror}") from error
