# SPDX-License-Identifier: Apache-2.0
"""Outputs of `dbnet detect`: lines of JSON, tables, pictures, a video."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..conversions import COORDINATE_DECIMALS
from ..detections import Detections, FloatArray
from ..errors import ImageError
from ..images.ahead import PageOptions, ReadImage
from ..images.load import Image
from ..images.sources import real_path
from ..images.video import is_live
from .json_lines import JsonLines
from .pictures import Pictures
from .tables import Table, open_tables
from .targets import Targets

if TYPE_CHECKING:
    from ..tracking import Track

SCORE_DECIMALS = 4
"""Decimals of scores in JSON and tables."""


TIME_DECIMALS = 4
"""Decimals of times, in seconds."""


class ResultWriter:
    """A writer of results, each completed before the next. No input is overwritten."""

    def __init__(
        self,
        targets: Targets,
        inputs: list[str],
        first: list[str],
        options: PageOptions,
        run: dict[str, Any],
    ) -> None:
        """Check the outputs, then open the files of lines and tables.

        Args:
            targets: Files to write.
            inputs: Files, folders, globs, cameras and streams as the user named them.
            first: The first of the sources they stand for, and the second if there is one.
            options: Which pages of documents are read.
            run: What the results depend on, to be compared when they are continued.

        Raises:
            ValueError: There are more pictures than one file takes, or an input or earlier results
                would be overwritten, or nothing can be written under that name.
            ImageError: A file cannot be written.
        """
        if targets.resume and run.get("track"):
            raise ValueError(
                "--resume and --track exclude each other: the number of a text depends on all "
                "frames before; leave one out"
            )
        if not targets.named and (targets.overwrite or targets.resume):
            raise ValueError("--overwrite and --resume are for the file of --json; name it")
        if targets.resume and (targets.lines is None or str(targets.lines) == "-"):
            raise ValueError("--resume goes on from the lines of a file; name it by --json")
        _check_distinct(targets)
        self._pictures = Pictures(targets, inputs, first, options)
        if targets.resume and (self._pictures.is_file or any(map(is_live, inputs))):
            raise ValueError(
                "--resume is for files, and for pictures in a folder; a camera or stream does not "
                "come again, and a video is written from its start"
            )
        for option, path in targets.named.items():
            self._pictures.check_output(option, path)
        self._lines: JsonLines | None = None
        self._tables: list[Table] = []
        try:
            open_tables(targets, self._tables)
            if targets.lines is not None:
                self._lines = JsonLines(
                    targets.lines, run, overwrite=targets.overwrite, resume=targets.resume
                )
                for record in self._lines.records() if self._tables else ():
                    self._add_to_tables(record)
        except BaseException:
            self._close(is_complete=False)
            raise

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close(is_complete=kind is None)

    def _close(self, *, is_complete: bool) -> None:
        """Close all files; tables of a run that was ended are dropped."""
        if self._lines is not None:
            self._lines.close()
        with ExitStack() as all_closed:  # each of them, whatever another does
            all_closed.callback(self._pictures.close)
            for table in self._tables:
                all_closed.callback(table.close, is_complete=is_complete)

    def is_done(self, name: str, page: int | None = None, frame: int | None = None) -> bool:
        """Return whether the file of lines had an image when it was opened."""
        return self._lines is not None and self._lines.is_done((name, page, frame))

    def reserve(self, name: str, page: int | None = None, frame: int | None = None) -> Path | None:
        """Return where an image will be drawn; None if nowhere."""
        return self._pictures.reserve(name, page, frame)

    def write(
        self, label: Label, read: ReadImage, found: Detections, same_as: int | None = None
    ) -> None:
        """Write one image's result.

        Args:
            label: Names of the image.
            read: The image, and where it is drawn.
            found: Its detections.
            same_as: Number of the frame whose result it has, as it shows the same picture.

        Raises:
            ImageError: The picture or the video cannot be written.
            OSError: The line cannot be written.
        """
        picture, image, failure = read.picture, read.image, None
        assert image is not None
        try:
            self._pictures.draw(picture, label.frame, image, found, label.time)
        except ImageError as error:
            picture, failure = None, error
        record = label.record(image) | ({"picture": str(picture)} if picture else {})
        record |= {} if same_as is None else {"same_as": same_as}
        record |= _fields(found)
        if self._lines is not None:
            self._lines.write(record)
        self._add_to_tables(record)
        if failure is not None:
            raise failure

    def write_track(self, name: str, track: Track) -> None:
        """Write a line for a text of a video that was read.

        Args:
            name: The video's name.
            track: The text.

        Raises:
            OSError: The line cannot be written.
        """
        if self._lines is not None:
            frames = ("first_frame", "last_frame", "sharpest_frame")
            times = (("first_time", track.first_time), ("last_time", track.last_time))
            self._lines.write(
                {
                    "image": name,
                    "track_id": track.track_id,
                    **{frame: getattr(track, frame) for frame in frames},
                    **{
                        name: round(time, TIME_DECIMALS) for name, time in times if time is not None
                    },
                    "quad": _rounded(track.quad, COORDINATE_DECIMALS),
                    "text": track.text,
                    "confidence": round(track.confidence, SCORE_DECIMALS),
                }
            )

    def _add_to_tables(self, record: dict[str, Any]) -> None:
        for table in self._tables:
            table.add(record)


@dataclass(frozen=True, slots=True)
class Label:
    """Key of an image, which no other image has."""

    name: str
    """The file's name, the camera's number, or the stream's address."""

    page: int | None = None
    """Number of the page, from 1; None if the file has no pages."""

    frame: int | None = None
    """Number of the frame, from 0; None if it is not of a video."""

    time: float | None = None
    """Time of the frame in seconds; None if it is not known."""

    def __str__(self) -> str:
        page = "" if self.page is None else f" page {self.page}"
        return self.name + page + ("" if self.frame is None else f" frame {self.frame}")

    def record(self, image: Image) -> dict[str, Any]:
        """Return the beginning of an image's record; `JsonLines` reads it back."""
        numbers = {"page": self.page, "frame": self.frame}
        given = {name: number for name, number in numbers.items() if number is not None}
        size = {"height": image.shape[0], "width": image.shape[1]}
        time = {} if self.time is None else {"time": round(self.time, TIME_DECIMALS)}
        return {"image": self.name, **given, **size, **time}


def _check_distinct(targets: Targets) -> None:
    """Raise a ValueError if two options name the same file."""
    pictures = {} if targets.pictures is None else {"--save": targets.pictures}
    seen: dict[str, str] = {}
    for option, path in (targets.named | pictures).items():
        other = seen.setdefault(real_path(path), option)
        if other != option and str(path) != "-":
            raise ValueError(f"{other} and {option} name the same file, {path}; name another")


def _fields(found: Detections) -> dict[str, Any]:
    """Return quads, scores and polygons in the types of JSON."""
    fields: dict[str, Any] = {
        "quads": _rounded(found.quads, COORDINATE_DECIMALS),
        "scores": _rounded(found.scores, SCORE_DECIMALS),
    }
    if found.polygons is not None:
        fields["polygons"] = [_rounded(polygon, COORDINATE_DECIMALS) for polygon in found.polygons]
    if found.texts is not None and found.confidences is not None:
        fields["texts"] = found.texts
        fields["confidences"] = _rounded(found.confidences, SCORE_DECIMALS)
    if found.track_ids is not None:
        fields["track_ids"] = found.track_ids.tolist()
    return fields


def _rounded(values: FloatArray, decimals: int) -> list[Any]:
    return np.round(values.astype(np.float64), decimals).tolist()
