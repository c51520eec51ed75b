# SPDX-License-Identifier: Apache-2.0
"""What a data set is: samples with their texts, and what is wrong with it.

Broken annotations become `Problem`s, each with its file and line. So that a network never learns
that text is background, what is left is used by this rule:

- a text whose outline cannot be right, but whose place is known (its edges cross, it reaches far
  out of the image), is kept as an ignored region;
- a text that covers no pixel (no area, wholly outside the image) is dropped;
- an image with a text that cannot be placed (a line that cannot be read, fewer than 3 points) is
  skipped as a whole, and so is one without annotation or with an unreadable file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ImageError
from ..images.load import image_size
from .checks import NoOutlineError, check_text
from .samples import Kind, Problem, Sample, Text


@dataclass(slots=True)
class ImageAnnotation:
    """One image's annotation while it is read.

    Attributes:
        image: Path of the image file.
        file: The annotation file.
        line: Where the image's annotation begins in it; 0 if it is a file of its own.
        texts: What was found, each with its line in the file.
        problems: What could not be read.
        complete: Every text has a place.
        prob_map: Path of the sample's probability map, if it has one.
        upright: See `Sample`.
    """

    image: Path
    file: Path
    line: int = 0
    texts: list[tuple[int, Text]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = True
    prob_map: Path | None = None
    upright: bool = False

    def read(self, line: int, parse: Callable[[Any], Text], raw: Any, what: str = "") -> None:
        """Add the text that `parse` makes of `raw`; its ValueError becomes a problem of the line.

        Args:
            line: Line in the annotation file, from 1; 0 if it has none.
            parse: Gives the text, or raises one of the errors of broken data.
            raw: The annotation of one text.
            what: Says which one it is where the line does not.
        """
        prefix = f"{what}: " if what else ""
        try:
            self.texts.append((line, parse(raw)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"expected a field {error}" if isinstance(error, KeyError) else str(error)
            self.report(line, f"{prefix}{reason}; its image is skipped", "line not understood")
            self.complete = False

    def report(self, line: int, message: str, kind: Kind) -> None:
        """Note a problem of the annotation file."""
        self.problems.append(Problem(self.file, line, message, kind, self.image))


@dataclass(slots=True)
class DataSet:
    """Samples of one data set, and what is wrong with it."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(
        self, annotation: ImageAnnotation, stretch: tuple[float, float] = (1.0, 1.0), part: str = ""
    ) -> None:
        """Check an image and its texts, and add what is sound by the rule of this module."""
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
                    stretch,
                    part,
                    annotation.prob_map,
                    annotation.upright,
                )
            )

    def _check_picture(
        self, annotation: ImageAnnotation, what: str, path: Path
    ) -> tuple[int, int] | None:
        """(height, width) of a picture; None, and a problem, where it cannot be had."""
        if not path.is_file():
            message = f"expected the {what} {path}, found none; skipped"
            self._report(annotation, annotation.line, message, "image missing")
            return None
        try:
            return image_size(path, upright=annotation.upright)
        except ImageError as error:
            message = f"expected an image; it {str(error).removeprefix(f'{path} ')}; skipped"
            self.problems.append(Problem(path, 0, message, "image unreadable", annotation.image))
            return None

    def _report(self, annotation: ImageAnnotation, line: int, message: str, kind: Kind) -> None:
        self.problems.append(Problem(annotation.file, line, message, kind, annotation.image))
