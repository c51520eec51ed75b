# SPDX-License-Identifier: Apache-2.0
"""Readers of text detection data sets: annotation files in, samples out.

A broken annotation is a `Problem` with its file and line; what is left of its image is used.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError

logger = logging.getLogger("dbnet_trt")

Polygon = NDArray[np.float64]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")


@dataclass(frozen=True, slots=True)
class Text:
    """One outlined text.

    Attributes:
        polygon: (K, 2) float64, K >= 3, (x, y) in pixels of the image file.
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
    """

    image: Path
    texts: tuple[Text, ...]
    stretch: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an annotation, and where."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(slots=True)
class DataSet:
    """Samples of one folder, and what had to be skipped."""

    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_icdar2015(folder: Path) -> DataSet:
    """Read ICDAR 2015 (or 2017, 2019 in the same form): `images/X.jpg` with `gts/gt_X.txt`.

    Lines are x1,y1,...,x4,y4,text; `###` is ignored. ICDAR 2015's own images are all 1280x720: a
    copy of other proportions is stretched back.
    """
    found = DataSet()
    for image in _images(folder / "images"):
        annotation = folder / "gts" / f"gt_{image.stem}.txt"
        texts = _read_lines(annotation, _parse_icdar, found.problems)
        height, width = image_size(image)
        stretch = (1280 / width, 720 / height) if (height, width) == (640, 960) else (1.0, 1.0)
        found.samples.append(Sample(image, texts, stretch))
    return found


def _parse_icdar(line: str) -> Text:
    parts = line.split(",", 8)
    if len(parts) < 9:
        raise ValueError(f"expected x1,y1,...,x4,y4,text, got {len(parts)} fields")
    content = parts[8].strip()
    corners = np.array([float(part) for part in parts[:8]]).reshape(4, 2)
    return Text(corners, content == "###", content)


def read_td500(folder: Path) -> DataSet:
    """Read MSRA-TD500: `X.JPG` with `X.gt` beside it.

    Lines are index, difficult, x, y, width, height, angle: an upright box, turned about its centre
    by an angle in radians. Difficult lines are ignored.
    """
    found = DataSet()
    for image in _images(folder):
        texts = _read_lines(image.with_suffix(".gt"), _parse_td500, found.problems)
        found.samples.append(Sample(image, texts))
    return found


def _parse_td500(line: str) -> Text:
    parts = line.split()
    if len(parts) != 7:
        raise ValueError(f"expected index difficult x y w h angle, got {len(parts)} fields")
    x, y, width, height, angle = (float(part) for part in parts[2:])
    offsets = np.array([[-width, -height], [width, -height], [width, height], [-width, height]])
    sine, cosine = math.sin(angle), math.cos(angle)
    turned = offsets / 2 @ np.array([[cosine, sine], [-sine, cosine]])
    return Text(turned + [x + width / 2, y + height / 2], parts[1] == "1")


def read_jsonl(file: Path) -> DataSet:
    """Read JSON Lines: {"image": path, "texts": [{"polygon": [[x, y], ...], "ignore": false}]}.

    Paths are relative to the file. This is also what `dbnet synth` writes.
    """
    found = DataSet()
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                image = file.parent / record["image"]
                texts = tuple(
                    check_text(
                        Text(
                            np.array(text["polygon"], np.float64),
                            bool(text.get("ignore", False)),
                            str(text.get("content", "")),
                        )
                    )
                    for text in record["texts"]
                )
            except (ValueError, KeyError, TypeError) as error:
                found.problems.append(Problem(file, number, f"not a sample: {error!r}"))
                continue
            if not image.is_file():
                found.problems.append(Problem(file, number, f"there is no image {image}"))
                continue
            found.samples.append(Sample(image, texts))
    return found


def write_jsonl(file: Path, samples: list[Sample]) -> None:
    """Write samples as `read_jsonl` reads them."""
    with file.open("w", encoding="utf-8") as lines:
        for sample in samples:
            texts = [
                {
                    "polygon": text.polygon.round(2).tolist(),
                    "ignore": text.ignore,
                    "content": text.content,
                }
                for text in sample.texts
            ]
            name = sample.image.relative_to(file.parent).as_posix()
            lines.write(json.dumps({"image": name, "texts": texts}) + "\n")


READERS: dict[str, Callable[[Path], DataSet]] = {
    "icdar2015": read_icdar2015,
    "td500": read_td500,
    "jsonl": read_jsonl,
}


VALIDATION_EVERY = 6
"""Of a data set that is split, every so many-th image is held out for validation."""


def read_dataset(name: str) -> DataSet:
    """Read "FORMAT:PATH", as in "td500:data/msra_td500/train".

    "FORMAT:PATH#val" is every sixth image of it, "FORMAT:PATH#train" the other five sixths.

    Raises:
        ValueError: There is no such format or path, or it holds no sample.
    """
    form, _, rest = name.partition(":")
    path, _, part = rest.partition("#")
    if form not in READERS or not path or part not in ("", "train", "val"):
        raise ValueError(
            f"expected FORMAT:PATH, FORMAT:PATH#train or FORMAT:PATH#val, "
            f"FORMAT one of {', '.join(READERS)}; got {name!r}"
        )
    if not Path(path).exists():
        raise ValueError(f"there is no {path}; it was named by {name!r}")
    found = READERS[form](Path(path))
    for problem in found.problems:
        logger.warning("skipped: %s", problem)
    if part:
        found.samples = [
            sample
            for index, sample in enumerate(found.samples)
            if (index % VALIDATION_EVERY == 0) == (part == "val")
        ]
    if not found.samples:
        raise ValueError(f"{path} holds no sample in the format {form}")
    return found


def load_sample_image(sample: Sample) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 BGR, as stored in the file: not stretched, EXIF rotation ignored.

    Raises:
        ImageError: It is missing or no image.
    """
    image = cv2.imread(str(sample.image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise ImageError(f"{sample.image} cannot be read as an image; remove it from the data set")
    return np.asarray(image, np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file, from its header.

    Raises:
        ImageError: It is missing or no image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise ImageError(f"{path} cannot be read as an image: {error}") from error


def check_text(text: Text) -> Text:
    """The same text, if its outline is one.

    Raises:
        ValueError: Fewer than 3 points, numbers that are none, or no area.
    """
    polygon = text.polygon
    if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise ValueError(f"a polygon needs 3 points (x, y) or more, got shape {polygon.shape}")
    if not np.isfinite(polygon).all():
        raise ValueError("a polygon has a coordinate that is not a number")
    if cv2.contourArea(polygon.astype(np.float32)) < 1:
        raise ValueError("a polygon has an area of less than one pixel")
    return text


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def _read_lines(
    file: Path, parse: Callable[[str], Text], problems: list[Problem]
) -> tuple[Text, ...]:
    """The texts of an annotation file, one a line; lines that are broken become problems."""
    return tuple(_parsed(file, parse, problems))


def _parsed(file: Path, parse: Callable[[str], Text], problems: list[Problem]) -> Iterator[Text]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(file, 0, f"cannot be read: {error}"))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield check_text(parse(line))
        except ValueError as error:
            problems.append(Problem(file, number, str(error)))
