# SPDX-License-Identifier: Apache-2.0
"""Outputs of `dbnet detect`: lines of JSON, pictures, a video."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..detections import Detections, FloatArray
from ..errors import ImageError
from ..images import video
from ..images.load import IMAGE_SUFFIXES, VIDEO_SUFFIXES, WRITTEN_SUFFIXES, Image
from ..images.video import VideoFile, frame_rate, is_live, is_video
from .json_lines import JsonLines

DECIMALS = 2
"""Decimals of coordinates in JSON, in pixels."""

SCORE_DECIMALS = 4
"""Decimals of scores in JSON."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Files to write, and whether to replace or continue them."""

    pictures: Path | None = None
    """File for one picture or one video, or folder for many pictures."""

    lines: Path | None = None
    """File of JSON lines, or "-" for standard output."""

    overwrite: bool = False
    """Whether to replace the file of lines."""

    resume: bool = False
    """Whether to append to the file of lines."""


class ResultWriter:
    """A writer of results, each completed before the next. No input is overwritten."""

    def __init__(self, targets: Targets, inputs: list[str], sources: list[str]) -> None:
        """Check the outputs, then open the file of lines.

        Args:
            targets: Files to write.
            inputs: Files, folders, globs, cameras and streams as the user named them.
            sources: The files, cameras and streams they stand for, from `find_sources`.

        Raises:
            ValueError: There are more pictures than one file takes, or an input or earlier results
                would be overwritten, or nothing can be written under that name.
            ImageError: The file of lines cannot be written.
        """
        pictures, lines = targets.pictures, targets.lines
        if lines is None and (targets.overwrite or targets.resume):
            raise ValueError("--overwrite and --resume are for the file of --json; name it")
        if targets.resume and any(map(is_video, sources)):
            raise ValueError("--resume is for images; a video is read from its start")
        self._file: Path | None = None
        self._video: VideoFile | None = None
        self._folder: Path | None = None
        self._roots = _find_roots(inputs)
        self._choose(pictures, sources)
        self._used: set[Path] = set()
        images = [source for source in sources if not is_video(source)]
        self._picture_paths = {source: self._new_picture_path(source, None) for source in images}
        self._check_inputs(pictures, lines, sources)
        self._lines: JsonLines | None = None
        if lines is not None:
            self._lines = JsonLines(lines, overwrite=targets.overwrite, resume=targets.resume)

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            self._lines.close()
        if self._video is not None:
            self._video.close()

    @property
    def done(self) -> set[str]:
        """Names of the images that the file of lines already has."""
        return self._lines.done if self._lines is not None else set()

    def _choose(self, pictures: Path | None, sources: list[str]) -> None:
        """Decide whether pictures go to a file, into a video or into a folder."""
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
        """Check that no input is among the outputs."""
        files = [name for name in sources if not is_live(name)]
        inputs = {Path(name).resolve() for name in files}
        drawn = [pictures] if pictures is not None else []
        if self._folder is not None:
            drawn = [self._folder / path for path in self._picture_paths.values()]
        for option, paths in (("--save", drawn), ("--json", [lines] if lines else [])):
            for path in paths:
                if path.resolve() in inputs:
                    raise ValueError(f"{option} would overwrite the input {path}; name another")

    def write(self, name: str, frame: int | None, image: Image, found: Detections) -> None:
        """Write one image's result.

        Args:
            name: The file's name, the camera's number, or the stream's address.
            frame: Number of the frame; None if it is not of a video.
            image: (H, W, 3) uint8 BGR.
            found: Its detections.

        Raises:
            ImageError: The picture or the video cannot be written.
            OSError: The line cannot be written.
        """
        picture, failure = None, None
        try:
            picture = self._draw(name, frame, image, found)
        except ImageError as error:
            failure = error
        if self._lines is not None:
            record: dict[str, Any] = {
                "image": name,
                "height": image.shape[0],
                "width": image.shape[1],
            }
            if frame is not None:
                record["frame"] = frame
            if picture is not None:
                record["picture"] = str(picture)
            self._lines.write(record | _fields(found))
        if failure is not None:
            raise failure

    def _draw(self, name: str, frame: int | None, image: Image, found: Detections) -> Path | None:
        """Draw one image's outlines into its output, and return the picture's path."""
        picture = self._file
        if self._video is not None:
            drawn = found.plot(image)
            left_out = max((frame or 0) - self._video.num_frames, 0)
            for _ in range(left_out + 1):  # the video keeps the pace of a live source
                self._video.add(drawn)
        elif self._folder is not None:
            path = self._picture_paths.get(name)
            picture = self._folder / (path or self._new_picture_path(name, frame))
        if picture is not None:
            found.save(picture, image)
        return picture

    def _new_picture_path(self, name: str, frame: int | None) -> Path:
        """Return a unique path for a picture, in the folders of the input."""
        if is_live(name):
            name = f"camera{name}" if name.isdecimal() else "stream"
        path = Path(name)
        root = next((root for root in self._roots if path.is_relative_to(root)), path.parent)
        folder = path.parent.relative_to(root)
        suffix = path.suffix if path.suffix.lower() in WRITTEN_SUFFIXES else ".jpg"
        stem = path.stem if frame is None else f"{path.stem}_{frame:06d}"
        unique, number = folder / (stem + suffix), 2
        while unique in self._used:
            unique, number = folder / f"{stem}_{number}{suffix}", number + 1
        self._used.add(unique)
        return unique


def _find_roots(inputs: list[str]) -> list[Path]:
    """Return the folders among the inputs, and those of globs up to their first wildcard."""
    roots = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            roots.append(path)
        elif glob.has_magic(given) and not path.exists():
            fixed = [part for part in path.parents if not glob.has_magic(str(part))]
            roots.append(fixed[0])
    return roots


def _fields(found: Detections) -> dict[str, Any]:
    """Return quads, scores and polygons in the types of JSON."""
    fields: dict[str, Any] = {
        "quads": _rounded(found.quads, DECIMALS),
        "scores": _rounded(found.scores, SCORE_DECIMALS),
    }
    if found.polygons is not None:
        fields["polygons"] = [_rounded(polygon, DECIMALS) for polygon in found.polygons]
    if found.texts is not None and found.confidences is not None:
        fields["texts"] = found.texts
        fields["confidences"] = _rounded(found.confidences, SCORE_DECIMALS)
    return fields


def _rounded(values: FloatArray, decimals: int) -> list[Any]:
    return np.round(values.astype(np.float64), decimals).tolist()
