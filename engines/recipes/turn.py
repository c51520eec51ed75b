# SPDX-License-Identifier: Apache-2.0
"""Turn the photos of a data set: python engines/recipes/turn.py FORMAT:PATH FOLDER QUARTERS

FOLDER gets the photos, turned by QUARTERS times 90 degrees to the left, and a samples.jsonl. This
shows what a model makes of text that does not run from left to right.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
from dbnet_trt import DBNetError
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.readers.annotated import write_jsonl
from dbnet_trt.data.samples import Polygon, load_sample_image
from dbnet_trt.images.load import Image, write_image


def turn(image: Image, polygons: list[Polygon], quarters: int) -> tuple[Image, list[Polygon]]:
    """Turn an image and the (K, 2) polygons in it by quarters to the left."""
    for _ in range(quarters % 4):
        width = image.shape[1]
        image = np.ascontiguousarray(np.rot90(image))
        polygons = [np.stack([each[:, 1], width - each[:, 0]], axis=1) for each in polygons]
    return image, polygons


def main(data: str, folder: Path, quarters: int) -> None:
    """Write turned photos and their texts."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for number, sample in enumerate(read_dataset(data).samples):
        polygons = [text.polygon for text in sample.texts]
        image, turned = turn(load_sample_image(sample), polygons, quarters)
        path = folder.absolute() / f"{number}.png"
        write_image(path, image)
        pairs = zip(sample.texts, turned, strict=True)
        texts = tuple(dataclasses.replace(text, polygon=polygon) for text, polygon in pairs)
        samples.append(dataclasses.replace(sample, image=path, texts=texts, prob_map=None))
    write_jsonl(folder / "samples.jsonl", samples)
    print(f"{folder}: {len(samples)} photos")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    try:
        main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    except (DBNetError, ValueError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
