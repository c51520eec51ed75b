# SPDX-License-Identifier: Apache-2.0
"""Data sets: samples with their texts, and problems of their annotation.

Broken annotations become `Problem`s with file and line. So that a network never learns text as
background, the rest is used by these rules:

- a text whose outline is wrong but whose place is known (its edges cross, it reaches far out of
  the image) is kept as an ignored region;
- a text that covers no pixel (no area, wholly outside the image) is dropped;
- an image with a text that cannot be placed (a line that cannot be read, fewer than 3 points) is
  skipped as a whole, and so is one without annotation or with an unreadable file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ImageError
from ..files import is_file
from ..images.load import image_size
from .checks import NoOutlineError, check_text
from .orientation import fit_orientation, is_upright
from .samples import Kind, Problem, Sample, Text

BROKEN_DATA = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError)
"""Errors that parsing a broken annotation can raise."""


@dataclass(slots=True)
class ImageAnnotation:
    """Annotation of one image while it is read.

    Attributes:
        image: Path of the image file.
        file: The annotation file.
        line: Line where the image's annotation begins; 0 if the file is of this image only.
        texts: Texts found, each with its line in the file.
        problems: Problems of texts that could not be read.
        complete: Whether every text has a place.
        prob_map: Path of the sample's probability map, if it has one.
        part: See `Sample`.
        upright: See `Sample`.
        shown_size: (height, width) of the image in the labelling tool, if the annotation states it;
            it decides between the image as stored and as EXIF turns it.
    """

    image: Path
    file: Path
    line: int = 0
    texts: list[tuple[int, Text]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    prob_map: Path | None = None
    part: str = ""
    upright: bool = False
    shown_size: tuple[int, int] | None = None

    def read(self, line: int, parse: Callable[[Any], Text], raw: Any, what: str = "") -> None:
        """Parse one text and add it; an error of the parser becomes a problem of the line.

        Args:
            line: Line in the annotation file, from 1; 0 if it has none.
            parse: Function that returns the text, or raises an error of `BROKEN_DATA`.
            raw: The annotation of one text.
            what: Name of the text in messages, if the line does not identify it.
        """
        prefix = f"{what}: " if what else ""
        try:
            self.texts.append((line, parse(raw)))
        except BROKEN_DATA as error:
            reason = f"expected a field {error}" if isinstance(error, KeyError) else str(error)
            self.report(line, f"{prefix}{reason}; its image is skipped", "line not understood")
            self.complete = False

    def report(self, line: int, message: str, kind: Kind) -> None:
        """Add a problem of the annotation file.

        Args:
            line: Line in the file, from 1; 0 if it has none.
            message: What was expected, and what was found.
            kind: Kind of the problem, for counts.
        """
        self.problems.append(Problem(self.file, line, message, kind, self.image))


@dataclass(slots=True)
class DataSet:
    """Samples of one data set, its problems, and notes on how it was read."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_all(self, annotations: Iterable[ImageAnnotation], *, upright: bool) -> None:
        """Add the images of a format that does not define whether EXIF turns its photos.

        Args:
            annotations: The images and their texts.
            upright: Whether photos are taken as EXIF turns them if the labels fit both ways.
        """
        listed = list(annotations)
        labelled = ((each.image, [text for _, text in each.texts]) for each in listed)
        upright, note = fit_orientation(labelled, upright)
        self.notes += [note] if note else []
        for annotation in listed:
            annotation.upright = upright
            self.add(annotation)

    def add(self, annotation: ImageAnnotation) -> None:
        """Check an image and its texts, and add them by the rules of this module."""
        self.problems += annotation.problems
        size = self._check_picture(annotation, "image", annotation.image)
        if size is None:
            return
        if annotation.prob_map is not None and not self._check_picture(
            annotation, "map", annotation.prob_map
        ):
            return
        texts = []
        complete = annotation.complete
        for line, text in annotation.texts:
            try:
                checked, fault, kind = check_text(text, size)
            except NoOutlineError as error:
                checked, fault, kind = None, f"{error}; its image is skipped", "outline"
                complete = False
            if fault:
                self._report(annotation, line, fault, kind)
            if checked is not None:
                texts.append(checked)
        if complete:
            self.samples.append(
                Sample(
                    annotation.image,
                    tuple(texts),
                    part=annotation.part,
                    prob_map=annotation.prob_map,
                    upright=annotation.upright,
                )
            )

    def _check_picture(
        self, annotation: ImageAnnotation, what: str, path: Path
    ) -> tuple[int, int] | None:
        """Return (height, width) of a picture, or add a problem and return None."""
        if not is_file(path):
            message = f"expected the {what} {path}, found none; skipped"
            self._report(annotation, annotation.line, message, "image missing")
            return None
        try:
            if annotation.shown_size is not None and path == annotation.image:
                annotation.upright = is_upright(path, annotation.shown_size, annotation.upright)
            return image_size(path, upright=annotation.upright)
        except ImageError as error:
            reason = str(error).removeprefix(str(path)).removeprefix(":").strip()
            message = f"expected an image; {reason}; skipped"
            self.problems.append(Problem(path, 0, message, "image unreadable", annotation.image))
        except ValueError as error:
            self._report(annotation, annotation.line, str(error), "out of bounds")
        return None

    def _report(self, annotation: ImageAnnotation, line: int, message: str, kind: Kind) -> None:
        self.problems.append(Problem(annotation.file, line, message, kind, annotation.image))
