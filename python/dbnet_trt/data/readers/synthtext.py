# SPDX-License-Identifier: Apache-2.0
"""Reader of SynthText: 858,750 rendered images, annotated in one .mat file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..dataset import DataSet, ImageAnnotation
from ..mat import load_mat
from ..samples import Text
from .files import only_file, read_annotations

MAX_MAT_BYTES = 4 << 30
"""Limit on the size of gt.mat, both packed and unpacked."""


def read_synthtext(path: Path) -> DataSet:
    """Read SynthText: `gt.mat`, or the folder that it lies in with the image folders 1/ to 200/.

    Of gt.mat, `imnames` are the images, `wordBB` their words' corners, (2, 4, N), and `txt` their
    strings, each of several words and lines. The whole set takes minutes and some 4 GB of memory to
    read.

    Defined at https://www.robots.ox.ac.uk/~vgg/data/scenetext/.

    Raises:
        ValueError: There is no gt.mat, or it is not in this format.
    """
    file = only_file(path, "gt.mat")
    names, boxes, strings = _load(file)
    found = DataSet()
    for image, corners, texts in zip(names, boxes, strings, strict=True):
        name = str(np.asarray(image).ravel()[:1].tolist()[0]) if np.size(image) else ""
        annotation = ImageAnnotation(file.parent / name, file)
        _read_image(annotation, corners, texts)
        found.add(annotation)
    return found


def _load(file: Path) -> tuple[Any, Any, Any]:
    keys = ["imnames", "wordBB", "txt"]
    try:
        data = read_annotations(file, at_least=MAX_MAT_BYTES)
        contents = load_mat(data, keys, max_bytes=max(MAX_MAT_BYTES, len(data)))
        columns = [contents[key].ravel() for key in keys]
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"expected {file} to hold {', '.join(keys)}, got {error!r}") from error
    if len({len(column) for column in columns}) != 1:
        raise ValueError(
            f"expected {', '.join(keys)} of one length in {file}, "
            f"got {', '.join(str(len(column)) for column in columns)}"
        )
    return columns[0], columns[1], columns[2]


def _read_image(annotation: ImageAnnotation, corners: Any, strings: Any) -> None:
    words = [word for string in np.ravel(strings) for word in str(string).split()]
    try:
        boxes = np.asarray(corners, np.float64)
    except (ValueError, TypeError):
        boxes = np.zeros(0)
    if boxes.shape == (2, 4):  # MATLAB drops the last axis where it is 1
        boxes = boxes[:, :, None]
    if boxes.ndim != 3 or boxes.shape[:2] != (2, 4):
        message = f"{annotation.image.name}: expected wordBB (2, 4, N), got {boxes.shape}; skipped"
        annotation.report(0, message, "line not understood")
        annotation.complete = False
        return
    if len(words) != boxes.shape[2]:
        message = f"{annotation.image.name}: expected {boxes.shape[2]} words, got {len(words)}"
        annotation.report(0, f"{message}; used without what they say", "other")
        words = [""] * boxes.shape[2]
    for index, word in enumerate(words):
        annotation.texts.append((0, Text(boxes[:, :, index].T.copy(), content=word)))
