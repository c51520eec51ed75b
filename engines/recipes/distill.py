# SPDX-License-Identifier: Apache-2.0
"""Have a detector say what a smaller one shall learn: its probability maps of a data set's photos.

python engines/recipes/distill.py TEACHER FORMAT:PATH OUTPUT own|teacher

OUTPUT gets images/ (in the aspect they were taken in), maps/, and two data sets: outlines.jsonl,
and distilled.jsonl, which has the maps beside the outlines. The last argument says whose: the
data set's own, where they follow the convention to be learnt (those that the teacher does not see
are drawn into its map), or the teacher's, of which the unsure ones are ignored.
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
"""Least mean probability inside a shrunk text that the teacher sees."""
SURE, MAYBE = 0.62, 0.4
"""Least score of a teacher's outline to learn from, and of one to ignore."""
SHRINK = TargetConfig(shrink_ratio=0.7)


def add_unseen(
    prob_map: NDArray[np.float32], texts: tuple[Text, ...], scale: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(h, w) float32: the map, and in it the shrunk texts of which it shows nothing.

    `scale` are the factors (x, y) from the texts' pixels to the map's.
    """
    for text in texts:
        outline = text.polygon * scale
        shrunk = make_targets([outline], [text.ignore], prob_map.shape, SHRINK).shrink_map
        if shrunk.any() and prob_map[shrunk > 0].mean() < SEEN:
            prob_map = np.maximum(prob_map, shrunk)
    return prob_map


def distill(detector: Detector, data: str, output: Path, outlines: str) -> None:
    """Label the photos of a data set; `outlines` is "own" or "teacher"."""
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
    write_jsonl(output / "distilled.jsonl", samples)  # last: the recipes take it for done


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[4] not in ("own", "teacher"):
        raise SystemExit(__doc__)
    try:
        distill(Detector(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    except (DBNetError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
