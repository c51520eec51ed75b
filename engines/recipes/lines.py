# SPDX-License-Identifier: Apache-2.0
"""Prepare the photos of dbnet-lines: hold photos out, and join words to lines.

python engines/recipes/lines.py FORMAT:PATH OUTPUT.jsonl train|held-out [joined]

OUTPUT.jsonl gets the photos that dbnet-lines-held-out.txt does not list ("train") or lists
("held-out"); with "joined", upright words that follow each other become one line.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from dbnet_trt import DBNetError
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.readers.annotated import write_jsonl
from dbnet_trt.data.samples import Text

HELD_OUT = Path(__file__).with_name("dbnet-lines-held-out.txt")


def join_words(texts: Sequence[Text]) -> tuple[Text, ...]:
    """Join upright words to lines.

    Two words belong to one line if they share half of the lower one's height, neither is twice as
    high as the other, and the gap between them is at most that height. A line is ignored if one of
    its words is.
    """
    corners = [(*text.polygon.min(axis=0), *text.polygon.max(axis=0)) for text in texts]
    lines = list(range(len(texts)))
    for i, (left, top, right, bottom) in enumerate(corners):
        for j, (other_left, other_top, other_right, other_bottom) in enumerate(corners[:i]):
            heights = sorted((bottom - top, other_bottom - other_top))
            shared = min(bottom, other_bottom) - max(top, other_top)
            gap = max(left, other_left) - min(right, other_right)
            if shared > heights[0] / 2 and heights[1] < 2 * heights[0] and gap < heights[0]:
                old, new = lines[i], lines[j]
                lines = [new if line == old else line for line in lines]
    joined = []
    for line in dict.fromkeys(lines):
        words = [text for text, own in zip(texts, lines, strict=True) if own == line]
        polygon = words[0].polygon
        if len(words) > 1:
            points = np.concatenate([word.polygon for word in words]).astype(np.float32)
            polygon = cv2.boxPoints(cv2.minAreaRect(points)).astype(np.float64)
        joined.append(Text(polygon, any(word.ignore for word in words)))
    return tuple(joined)


def main(data: str, output: Path, part: str, joins: bool) -> None:
    """Write one part of a data set."""
    names = set(HELD_OUT.read_text(encoding="utf-8").splitlines())
    samples = [
        dataclasses.replace(sample, texts=join_words(sample.texts)) if joins else sample
        for sample in read_dataset(data).samples
        if (sample.image.name in names) == (part == "held-out")
    ]
    write_jsonl(output, samples)
    print(f"{output}: {len(samples)} photos")


if __name__ == "__main__":
    if sys.argv[3:] not in (["train"], ["held-out"], ["train", "joined"], ["held-out", "joined"]):
        raise SystemExit(__doc__)
    try:
        main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], "joined" in sys.argv)
    except (DBNetError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
