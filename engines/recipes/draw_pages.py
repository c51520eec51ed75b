# SPDX-License-Identifier: Apache-2.0
"""Draw pages of printed lines: python engines/recipes/draw_pages.py FOLDER COUNT [SEED]

Every second page is Chinese, every fifth white on black. FOLDER gets images and a samples.jsonl.
Letters are of DejaVu Sans, which comes with matplotlib, and of Debian's fonts-noto-cjk.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import TypeAlias

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

LATIN_FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
CHINESE_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")

WORDS = ("level", "north", "valve", "section", "pipe", "drawing", "wall", "total", "steel", "grid")
CHARACTERS = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工"
    "也能下过子说产种面而方后多定行学法所民得经"
)

SIZES = ((1000, 800), (800, 1100), (1200, 900))
"""Height and width of pages, in turn."""

FONT_SIZES = (14, 18, 22, 26, 32, 40, 56)

SEED = 5000
"""Seed of the first of the pages that are learnt; the others count up."""

Boxes: TypeAlias = list[tuple[float, float, float, float]]


def draw_page(
    height: int, width: int, seed: int, is_chinese: bool
) -> tuple[NDArray[np.uint8], Boxes]:
    """Draw a page, dark on bright: (height, width) uint8, and left, top, right, bottom of lines."""
    choose = random.Random(seed)
    image = Image.new("L", (width, height), choose.randint(225, 255))
    draw, boxes = ImageDraw.Draw(image), Boxes()
    y = choose.randint(10, 40)
    while y < height - 60:
        size = choose.choice(FONT_SIZES)
        x = choose.randint(10, 200)
        font = ImageFont.truetype(CHINESE_FONT if is_chinese else LATIN_FONT, size)
        while True:
            if is_chinese:
                text = "".join(choose.choice(CHARACTERS) for _ in range(choose.randint(2, 16)))
            else:
                text = " ".join(choose.choice(WORDS) for _ in range(choose.randint(1, 8)))
            end = x + font.getlength(text)
            if end > width - 10:
                break
            draw.text((x, y), text, font=font, fill=choose.randint(0, 90))
            boxes.append(draw.textbbox((x, y), text, font=font))
            x = int(end) + choose.randint(3 * size, 12 * size)
        y += int(size * choose.uniform(1.5, 2.6))
    return np.asarray(image), boxes


def main(folder: Path, count: int, seed: int) -> None:
    """Draw pages and write them with their lines."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for index in range(count):
        size = SIZES[index % len(SIZES)]
        image, boxes = draw_page(*size, seed + index, is_chinese=index % 2 == 1)
        name = f"{index}.png"
        cv2.imwrite(str(folder / name), 255 - image if index % 5 == 0 else image)
        texts = [
            {"polygon": [[left, top], [right, top], [right, bottom], [left, bottom]]}
            for left, top, right, bottom in boxes
        ]
        lines.append(json.dumps({"image": name, "texts": texts}) + "\n")
    (folder / "samples.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else SEED)
