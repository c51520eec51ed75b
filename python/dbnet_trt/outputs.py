# SPDX-License-Identifier: Apache-2.0
"""Where `dbnet detect` puts results: lines of JSON, and pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TextIO

from .detections import Detections
from .errors import ImageError
from .images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, WRITTEN_SUFFIXES, Image, is_video


class Outputs:
    """Writes each result whole before the next. Nothing that is read is overwritten."""

    def __init__(self, pictures: Path | None, lines: Path | None, sources: list[str]) -> None:
        """Check where results go, then open the file of lines.

        Args:
            pictures: A file for one picture, or a folder for many.
            lines: A file, or "-" for standard output.
            sources: What is read: files and numbers of cameras.

        Raises:
            ValueError: There are more pictures than one file takes, or an input would be
                overwritten, or no picture can be written under that name.
            ImageError: The file of lines cannot be written.
        """
        suffix = pictures.suffix.lower() if pictures is not None and not pictures.is_dir() else ""
        self._file = pictures if suffix in WRITTEN_SUFFIXES else None
        self._folder = None if self._file is not None else pictures
        if self._folder is not None and suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            raise ValueError(
                f"--save {pictures}: pictures are written as {', '.join(sorted(WRITTEN_SUFFIXES))}"
            )
        if self._file is not None and (len(sources) > 1 or is_video(sources[0])):
            raise ValueError(
                f"--save {pictures} names one picture, but there are more to write; name a folder"
            )
        self._used: set[str] = set()
        self._check_inputs(sources, lines)
        self._lines = _open(lines)

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines not in (None, sys.stdout):
            self._lines.close()

    def _check_inputs(self, sources: list[str], lines: Path | None) -> None:
        """That no input is among the outputs."""
        files = [name for name in sources if not name.isdecimal()]
        inputs = {Path(name).resolve() for name in files}
        pictures = [] if self._file is None else [self._file]
        if self._folder is not None:
            pictures = [self._folder / self._picture_name(name, None) for name in files]
            self._used.clear()
        for option, paths in (("--save", pictures), ("--json", [lines] if lines else [])):
            for path in paths:
                if path.resolve() in inputs:
                    raise ValueError(f"{option} would overwrite the input {path}; name another")

    def write(self, name: str, frame: int | None, image: Image, found: Detections) -> None:
        """Put one image's result where it belongs.

        Args:
            name: The file's name, or the camera's number.
            frame: Number of a video's frame.
            image: (H, W, 3) uint8 BGR.
            found: Its text.

        Raises:
            ImageError: The picture cannot be written.
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
        elif self._folder is not None:
            found.save(self._folder / self._picture_name(name, frame), image)

    def _picture_name(self, name: str, frame: int | None) -> str:
        """A name of its own for each picture, also where folders hold files of the same name."""
        path = Path(name if not name.isdecimal() else f"camera{name}")
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
