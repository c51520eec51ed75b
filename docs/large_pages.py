# SPDX-License-Identifier: Apache-2.0
"""Draw images/large-pages.png: a part of a drawn floor plan, shrunk and in tiles.

python docs/large_pages.py [MODEL]
"""

import random
import sys
from pathlib import Path
from typing import Literal

import cv2
import matplotlib
import numpy as np
from dbnet_trt import CpuConfig, Detector
from PIL import Image, ImageDraw, ImageFont

SIZE = (6000, 4800)
PART = (slice(1180, 1880), slice(1180, 2180))
NAMES = ("OFFICE", "STORE", "LAB 2", "KITCHEN", "PLANT", "HALL B")


def font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")
    return ImageFont.truetype(path, size)


def floor_plan() -> np.ndarray:
    """Draw rooms with names, areas and measures: (H, W, 3) uint8."""
    choose = random.Random(5)
    image = Image.new("L", SIZE, 252)
    draw = ImageDraw.Draw(image)
    for y in range(200, SIZE[1] - 500, 500):
        for x in range(200, SIZE[0] - 500, 560):
            draw.rectangle((x, y, x + 560, y + 500), outline=30, width=6)
            draw.line((x + 60, y + 90, x + 500, y + 90), fill=90, width=2)
            draw.arc((x + 400, y + 380, x + 560, y + 540), 180, 270, fill=90, width=2)
            draw.text((x + 210, y + 54), f"{choose.randint(2000, 6400)}", fill=40, font=font(24))
            draw.text((x + 120, y + 220), choose.choice(NAMES), fill=20, font=font(34))
            area = f"{choose.randint(8, 40)}.{choose.randint(0, 9)} m2  F{choose.randint(30, 90)}"
            draw.text((x + 120, y + 270), area, fill=20, font=font(26))
            draw.text((x + 420, y + 350), f"D{choose.randint(10, 99)}", fill=20, font=font(22))
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_GRAY2BGR))


def found_in_part(detector: Detector, image: np.ndarray, tiles: Literal["on", "off"]) -> np.ndarray:
    found = detector.detect(image, tiles=tiles)
    print(f"tiles={tiles}: {len(found)} texts")
    drawn = image.copy()
    cv2.polylines(drawn, list(np.rint(found.quads).astype(np.int32)), True, (60, 160, 0), 5)
    return cv2.resize(drawn[PART], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def main() -> None:
    model = sys.argv[1] if len(sys.argv) > 1 else None
    detector = Detector(model, cpu=CpuConfig(num_threads=1))
    image = floor_plan()
    parts = [found_in_part(detector, image, tiles) for tiles in ("off", "on")]
    gap = np.full((parts[0].shape[0], 12, 3), 255, np.uint8)
    path = Path(__file__).parent / "images" / "large-pages.png"
    cv2.imwrite(str(path), cv2.hconcat([parts[0], gap, parts[1]]))
    small = Image.open(path).quantize(32)
    small.save(path, optimize=True)
    print(path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
