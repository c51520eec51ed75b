# SPDX-License-Identifier: Apache-2.0
"""Image files for tests of data sets."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def write_photo(path: Path, height: int = 120, width: int = 200, orientation: int = 1) -> Path:
    """Write an image of noise, seeded by its size; an EXIF orientation other than 1 needs JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng((height, width)).integers(0, 255, (height, width, 3), np.uint8)
    if orientation == 1:
        assert cv2.imwrite(str(path), noise)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(noise).save(path, exif=exif)
    return path


def write_lines(path: Path, *lines: str, encoding: str = "utf-8", newline: str = "\n") -> Path:
    """Write lines of text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + newline for line in lines).encode(encoding))
    return path
