# SPDX-License-Identifier: Apache-2.0
"""Samples of data sets: images with outlined texts, and problems of their annotation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..images.load import load_image

Polygon = NDArray[np.float64]

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


@dataclass(frozen=True, slots=True)
class Text:
    """One outlined text.

    Attributes:
        polygon: (K, 2) float64, K >= 3, (x, y) in pixels of the sample's image.
        ignore: Whether the text is neither learnt nor scored.
        content: Transcription, "" if not known.
    """

    polygon: Polygon
    ignore: bool = False
    content: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with its texts.

    Attributes:
        image: Path of the image file.
        texts: Texts in the image.
        stretch: Factors (x, y) that restore the original aspect ratio of the image.
        part: "train", "val" or "test" if the data set itself defines it, else "".
        prob_map: Path of a gray picture, 0 to 255 and of any size, of a probability map over the
            whole image, such as another detector's; it is learnt instead of the shrunk texts.
        upright: Whether texts are in pixels of the image as EXIF turns it, else as stored.
    """

    image: Path
    texts: tuple[Text, ...]
    stretch: tuple[float, float] = (1.0, 1.0)
    part: str = ""
    prob_map: Path | None = None
    upright: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of an annotation or image, with file and line.

    Attributes:
        file: The annotation file, or the image if that has the problem.
        line: Line in the file, from 1; 0 for files without lines, such as JSON and .mat.
        message: What was expected, and what was found.
        kind: Kind of the problem, for counts.
        image: The image concerned, if known.
    """

    file: Path
    line: int
    message: str
    kind: Kind = "other"
    image: Path | None = None

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        return f"{where}: {self.message}"


def load_sample_image(sample: Sample) -> NDArray[np.uint8]:
    """Load a sample's image in the orientation of its texts: (H, W, 3) uint8 BGR, not stretched.

    Raises:
        ImageError: The file is missing, damaged, too large, or not an image.
    """
    return load_image(sample.image, upright=sample.upright)


def load_prob_map(path: Path) -> NDArray[np.uint8]:
    """Load the probability map of a sample as (h, w) uint8.

    Raises:
        ImageError: The file is missing, damaged, too large, or not an image.
    """
    return np.asarray(cv2.cvtColor(load_image(path), cv2.COLOR_BGR2GRAY), np.uint8)
