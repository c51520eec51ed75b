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

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

logger = logging.getLogger("dbnet_trt")

Polygon = NDArray[np.float64]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")

EXIF_ORIENTATION = 0x0112
EXIF_LYING = range(5, 9)
"""Orientations in which height and width are swapped."""

Kind = Literal[
    "image missing",
    "image unreadable",
    "annotation missing",
    "annotation unreadable",
    "line not understood",
    "encoding",
    "outline",
    "out of bounds",
    "other",
]

OUTSIDE_LIMIT = 0.1
"""Text may reach so far out of its image, in the image's width or height: annotators overshoot."""

COORDINATE_LIMIT = 1e6
"""Pixels from the image's corner; what is further away, or not a number, is no place."""


@dataclass(frozen=True, slots=True)
class Text:
    """One outlined text.

    Attributes:
        polygon: (K, 2) float64, K >= 3, (x, y) in pixels of the sample's image.
        ignore: It does not count.
        content: What it says, "" if not known.
    """

    polygon: Polygon
    ignore: bool = False
    content: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its text.

    Attributes:
        image: Path of the image file.
        texts: Its texts.
        stretch: Factors (x, y) that give the image the aspect it was taken in.
        part: "train", "val" or "test" where the data set's own file says so, else "".
        prob_map: Path of a grey picture of P over the whole image, 0 to 255, of any size, such as
            another detector's: learnt in place of the shrunk texts.
        upright: The image is meant as EXIF turns it, else as it is stored.
    """

    image: Path
    texts: tuple[Text, ...]
    stretch: tuple[float, float] = (1.0, 1.0)
    part: str = ""
    prob_map: Path | None = None
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an annotation, and where.

    Attributes:
        file: The annotation file, or the image if that is what is wrong.
        line: Line in it from 1; 0 where a line says nothing, as in JSON and .mat files.
        message: What was expected, and what came.
        kind: What the problem is counted under.
        image: The image that is concerned, where that is known.
    """

    file: Path
    line: int
    message: str
    kind: Kind = "other"
    image: Path | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{where}: {self.message}"


class PlacelessError(ValueError):
    """A text is annotated, but not where it is."""


@dataclass(slots=True)
class Draft:
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

    def add(self, draft: Draft, stretch: tuple[float, float] = (1.0, 1.0), part: str = "") -> None:
        """Check an image and its texts, and add what is sound by the rule of this module."""
        self.problems += draft.problems
        size = self._check_picture(draft, "image", draft.image)
        if size is None:
            return
        if draft.prob_map is not None and not self._check_picture(draft, "map", draft.prob_map):
            return
        texts = []
        complete = draft.complete
        for line, text in draft.texts:
            try:
                checked, fault, kind = check_text(text, size)
            except PlacelessError as error:
                checked, fault, kind = None, f"{error}; its image is skipped", "outline"
                complete = False
            if fault:
                self._report(draft, line, fault, kind)
            if checked is not None:
                texts.append(checked)
        if complete:
            self.samples.append(
                Sample(draft.image, tuple(texts), stretch, part, draft.prob_map, draft.upright)
            )

    def _check_picture(self, draft: Draft, what: str, path: Path) -> tuple[int, int] | None:
        """(height, width) of a picture; None, and a problem, where it cannot be had."""
        if not path.is_file():
            message = f"expected the {what} {path}, found none; skipped"
            self._report(draft, draft.line, message, "image missing")
            return None
        try:
            return image_size(path, upright=draft.upright)
        except ImageError as error:
            message = f"expected an image; it {str(error).removeprefix(f'{path} ')}; skipped"
            self.problems.append(Problem(path, 0, message, "image unreadable", draft.image))
            return None

    def _report(self, draft: Draft, line: int, message: str, kind: Kind) -> None:
        self.problems.append(Problem(draft.file, line, message, kind, draft.image))


def check_text(text: Text, size: tuple[int, int]) -> tuple[Text | None, str, Kind]:
    """Check that the outline of a text is one.

    Args:
        text: The text, its polygon of any shape.
        size: (height, width) of its image.

    Returns:
        The text to use, or None if it covers no pixel; what is wrong, "" if nothing is; and the
        kind of that problem.

    Raises:
        PlacelessError: There are fewer than 3 points, or numbers that are none.
    """
    polygon = text.polygon
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise PlacelessError(
            f"expected an outline of 3 or more points (x, y), got shape {polygon.shape}"
        )
    x, y = polygon.T.tolist()  # plain numbers: NumPy's calls take longer than 4 points do
    if not all(abs(value) < COORDINATE_LIMIT for value in x + y):
        raise PlacelessError(f"expected an outline in pixels, got {text.polygon.tolist()}")
    height, width = size
    left, right, top, bottom = min(x), max(x), min(y), max(y)
    bounds = f"{width}x{height} image: x {left:g} to {right:g}, y {top:g} to {bottom:g}"
    if right < 0 or bottom < 0 or left >= width or top >= height:
        return None, f"{_show(text)} is not in its {bounds}; dropped", "out of bounds"
    points = polygon.astype(np.float32)
    is_far_out = (
        max(-left, right - width) > width * OUTSIDE_LIMIT
        or max(-top, bottom - height) > height * OUTSIDE_LIMIT
    )
    has_area = cv2.contourArea(points) >= 1
    if has_area and not is_far_out and not crosses_itself(polygon):
        return text, "", "other"
    hull = cv2.convexHull(points)
    if cv2.contourArea(hull) < 1:
        return None, f"{_show(text)} covers less than one pixel; dropped", "outline"
    ignored = Text(hull.reshape(-1, 2).astype(np.float64), True, text.content)
    if is_far_out:
        return ignored, f"{_show(text)} reaches far out of its {bounds}; ignored", "out of bounds"
    return ignored, f"the outline of {_show(text)} crosses itself; ignored", "outline"


def crosses_itself(polygon: Polygon) -> bool:
    """Whether two edges of a (K, 2) outline properly cross; touching is no crossing."""
    # The quick way out for most outlines; a longer one may turn one way only and wind twice.
    if len(polygon) <= 4 and cv2.isContourConvex(polygon.astype(np.float32)):
        return False
    start, end = polygon, np.roll(polygon, -1, axis=0)
    along = end - start

    def side(points: Polygon) -> NDArray[np.float64]:
        """[i, j]: on which side of edge i point j lies."""
        offset = points[None] - start[:, None]
        cross = along[:, None, 0] * offset[..., 1] - along[:, None, 1] * offset[..., 0]
        return np.asarray(np.sign(cross), np.float64)

    parted = side(start) * side(end) < 0
    return bool((parted & parted.T).any())


def _show(text: Text) -> str:
    return f"text {text.content!r}" if text.content else "a text"


VALIDATION_EVERY = 6
"""Of a data set that is split, every so many-th image is held out for validation."""

MAX_LOGGED = 20
"""Problems of a data set that are logged one by one; the rest is counted."""


def read_dataset(name: str) -> DataSet:
    """Read "FORMAT:PATH", as in "td500:data/msra_td500/train".

    "PATH" alone will do where the files tell their format. "FORMAT:PATH#train" and "#val" are the
    parts that the data set itself names, as COCO-Text does; where it names none, "#val" is every
    sixth image, and "#train" the others. Problems are logged, a few of them in full.

    Raises:
        ValueError: There is no such format or path, or it holds no sample.
    """
    found = read_as_is(name)
    for problem in found.problems[:MAX_LOGGED]:
        logger.warning("%s", problem)
    if found.problems:
        count = f"{len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}"
        logger.warning("%s: %s in all; see `dbnet data check %s`", name, count, name)
    if not found.samples:
        first = f"; the first problem is {found.problems[0]}" if found.problems else ""
        raise ValueError(f"{name} holds no sample{first}")
    return found


def read_as_is(name: str) -> DataSet:
    """Read what `read_dataset` reads, but log nothing, and accept that there is no sample.

    Raises:
        ValueError: There is no such format or path, or it holds another format.
    """
    from .readers import READERS

    form, path, part = split_name(name)
    found = READERS[form](path)
    if part:
        found.samples = _select(found.samples, part)
    return found


def split_name(name: str) -> tuple[str, Path, str]:
    """(format, path, part) of "FORMAT:PATH#PART"; the format is guessed where it is left out.

    Raises:
        ValueError: There is no such format or path, or the format cannot be told.
    """
    from .readers import READERS, guess_format

    whole, _, part = name.partition("#")
    form, colon, rest = whole.partition(":")
    named = bool(colon) and (form in READERS or not Path(whole).exists())
    path = Path(rest if named else whole).expanduser()  # the shell does not, behind a colon
    if part not in ("", "train", "val", "test") or not whole or (named and form not in READERS):
        raise ValueError(
            "expected FORMAT:PATH, and perhaps #train, #val or #test behind it, "
            f"FORMAT one of {', '.join(READERS)}; got {name!r}"
        )
    if not (rest if named else whole) or not path.exists():
        raise ValueError(f"there is no {path}; it was named by {name!r}")
    return form if named else guess_format(path), path, part


def _select(samples: list[Sample], part: str) -> list[Sample]:
    if part == "test" or any(sample.part == "val" for sample in samples):
        return [sample for sample in samples if sample.part == part]
    return [
        sample
        for index, sample in enumerate(samples)
        if (index % VALIDATION_EVERY == 0) == (part == "val")
    ]


def load_sample_image(sample: Sample) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR, the image that the texts lie in: not stretched.

    Raises:
        ImageError: It is missing or no image.
    """
    as_stored = 0 if sample.upright else cv2.IMREAD_IGNORE_ORIENTATION
    return _load(sample.image, cv2.IMREAD_COLOR | as_stored)


def load_prob_map(path: Path) -> NDArray[np.uint8]:
    """(h, w) uint8, of a sample's `prob_map`.

    Raises:
        ImageError: It is missing or no image.
    """
    return _load(path, cv2.IMREAD_GRAYSCALE)


def _load(path: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ImageError(f"{path} cannot be read as an image; remove it from the data set")
    return np.asarray(image, np.uint8)


def image_size(path: Path, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) of an image file, as stored or as EXIF turns it, from its header.

    Raises:
        ImageError: It is missing or no image.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            lies = upright and image.getexif().get(EXIF_ORIENTATION) in EXIF_LYING
            return (image.width, image.height) if lies else (image.height, image.width)
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is no image, or one that is cut off") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path} has too many pixels to learn from; make it smaller") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read as an image: {error}") from error
