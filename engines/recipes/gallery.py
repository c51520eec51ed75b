# SPDX-License-Identifier: Apache-2.0
"""Draw a picture of the texts that a model finds and misses.

python engines/recipes/gallery.py MODEL FORMAT:PATH PICTURE

Each tile shows the probability map in grey instead of the photo, as the photos of most data sets
may not be redistributed. True texts are green if found, red if missed, grey if not scored; wrong
detections are blue.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np
from dbnet_trt import Detector
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.samples import load_sample_image
from dbnet_trt.evaluation.evaluate import ScoredImage, detection_result, evaluate_samples, stretched
from numpy.typing import NDArray

TILE = (240, 320)
COLUMNS, ROWS = 6, 4
FOUND, MISSED, IGNORED, WRONG = (80, 200, 60), (60, 60, 240), (140, 140, 140), (255, 150, 60)


def draw_tile(detector: Detector, scored: ScoredImage) -> NDArray[np.uint8]:
    """Draw the map and outlines of one image into the top left of a tile: (240, 320, 3) uint8."""
    assert scored.sample is not None
    image = stretched(load_sample_image(scored.sample), scored.sample.stretch)
    prob_map = detector.detect(image, prob_map=True).prob_map
    assert prob_map is not None
    factor = min(TILE[0] / image.shape[0], TILE[1] / image.shape[1])
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    grey = (160 * cv2.resize(prob_map, size, interpolation=cv2.INTER_AREA)).astype(np.uint8)
    tile = np.zeros((*TILE, 3), np.uint8)
    tile[: size[1], : size[0]] = 30 + grey[:, :, None]
    for index, polygon in enumerate(scored.truths):
        found = index in scored.result.truth_hits
        color = IGNORED if scored.ignore[index] else FOUND if found else MISSED
        _outline(tile, polygon * factor, color)
    for index, polygon in enumerate(scored.detections):
        if detection_result(scored.result, index) == "false":
            _outline(tile, polygon * factor, WRONG)
    return tile


def _outline(tile: NDArray[np.uint8], polygon: NDArray[np.float64], color: tuple[int, ...]) -> None:
    cv2.polylines(tile, [np.rint(polygon).astype(np.int32)], True, color, 1, cv2.LINE_AA)


def main(model: str, data: str, picture: str) -> None:
    """Draw the first images of a data set."""
    detector = Detector(model)
    samples = read_dataset(data).samples[: ROWS * COLUMNS]
    tiles = [draw_tile(detector, scored) for scored in evaluate_samples(detector, samples).images]
    rows = [np.hstack(tiles[at : at + COLUMNS]) for at in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(picture, np.vstack(rows))


if __name__ == "__main__":
    main(*sys.argv[1:4])
