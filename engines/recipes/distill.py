# SPDX-License-Identifier: Apache-2.0
"""Label a data set with a detector's probability maps, to train a smaller one (distillation).

python engines/recipes/distill.py TEACHER FORMAT:PATH OUTPUT own|teacher

OUTPUT gets images/ (in their original aspect ratio), maps/, and two data sets: outlines.jsonl with
outlines only, and distilled.jsonl with outlines and maps. The last argument chooses the outlines:
"own" for the data set's, if they are of the kind to be learnt (texts that the teacher misses are
drawn into its map), or "teacher" for the teacher's (uncertain ones are ignored).
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
from dbnet_trt import DBNetError, Detector
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.readers.annotated import write_jsonl
from dbnet_trt.data.samples import Sample, Text, load_sample_image
from dbnet_trt.training.targets import TargetConfig, make_targets
from numpy.typing import NDArray

SEEN = 0.3
"""Minimum mean probability inside a shrunk text for it to count as found by the teacher."""
SURE, MAYBE = 0.62, 0.4
"""Minimum scores of a teacher's outline: to be learnt, and to be ignored; others are dropped."""
SHRINK = TargetConfig(shrink_ratio=0.7)


def add_unseen(
    prob_map: NDArray[np.float32], texts: tuple[Text, ...], scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Draw the texts that a map does not show into it, shrunk.

    Args:
        prob_map: (h, w) float32.
        texts: Texts with outlines (K, 2) in pixels of the image.
        scale: Factors (x, y) from pixels of the image to pixels of the map.

    Returns:
        (h, w) float32.
    """
    for text in texts:
        outline = text.polygon * scale
        shrunk = make_targets([outline], [text.ignore], prob_map.shape, SHRINK).shrink_map
        if shrunk.any() and prob_map[shrunk > 0].mean() < SEEN:
            prob_map = np.maximum(prob_map, shrunk)
    return prob_map


def distill(detector: Detector, data: str, output: Path, outlines: str) -> None:
    """Label the photos of a data set.

    Args:
        detector: Teacher.
        data: Data set as FORMAT:PATH.
        output: Folder for images, maps and data sets.
        outlines: "own" for the data set's outlines, "teacher" for the teacher's.

    Raises:
        ValueError: The data set cannot be read.
        ImageError: An image is missing or damaged.
    """
    for name in ("images", "maps"):
        (output / name).mkdir(parents=True, exist_ok=True)
    samples = []
    for number, sample in enumerate(read_dataset(data).samples):
        image = load_sample_image(sample)
        stretch = np.array(sample.stretch)
        if (stretch != 1).any():
            size = np.rint(stretch * image.shape[1::-1]).astype(int).tolist()
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        found = detector.detect(image, score_threshold=MAYBE, prob_map=True)
        prob_map = found.prob_map
        assert prob_map is not None
        if outlines == "own":
            texts = tuple(Text(text.polygon * stretch, text.ignore) for text in sample.texts)
            scale = np.array(prob_map.shape[::-1]) / image.shape[1::-1]
            prob_map = add_unseen(prob_map, texts, scale)
        else:
            texts = tuple(Text(text.quad.astype(float), text.score < SURE) for text in found)
        image_file = output / "images" / f"{number}.jpg"
        map_file = output / "maps" / f"{number}.png"
        cv2.imwrite(str(image_file), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        cv2.imwrite(str(map_file), np.rint(prob_map * 255).astype(np.uint8))
        samples.append(Sample(image_file, texts, prob_map=map_file))
    outlines_only = [dataclasses.replace(sample, prob_map=None) for sample in samples]
    write_jsonl(output / "outlines.jsonl", outlines_only)
    write_jsonl(output / "distilled.jsonl", samples)  # last: recipes take its presence as "done"


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[4] not in ("own", "teacher"):
        raise SystemExit(__doc__)
    try:
        distill(Detector(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    except (DBNetError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
