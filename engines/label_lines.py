# SPDX-License-Identifier: Apache-2.0
"""Label photos with the lines of text that the pretrained detector finds in them.

python engines/label_lines.py PHOTOS OUTPUT

OUTPUT gets images/, stretched to 1280x720 (the photos of ICDAR 2015 at hand had lost that shape),
and samples.jsonl. What the teacher is not sure of is ignored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
from dbnet_trt import Detector

SIZE = (1280, 720)
SURE = 0.62
"""Least score of a line to learn from; the rest, down to MAYBE, is ignored."""
MAYBE = 0.4


def main(photos: Path, output: Path) -> None:
    """Label the photos of a folder."""
    teacher = Detector("ppocrv6-small", score_threshold=MAYBE)
    (output / "images").mkdir(parents=True, exist_ok=True)
    lines = []
    for path in sorted(photos.iterdir()):
        image = cv2.resize(cv2.imread(str(path)), SIZE, interpolation=cv2.INTER_LINEAR)
        cv2.imwrite(str(output / "images" / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        texts = [
            {
                "polygon": text.quad.astype(float).round(1).tolist(),
                "ignore": bool(text.score < SURE),
            }
            for text in teacher.detect(image)
        ]
        lines.append(json.dumps({"image": f"images/{path.name}", "texts": texts}) + "\n")
    (output / "samples.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
