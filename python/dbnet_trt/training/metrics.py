# SPDX-License-Identifier: Apache-2.0
"""Logging of a training run: metrics.jsonl, TensorBoard, and a callback."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.samples import Sample, load_sample_image
from ..detector import Detector
from ..evaluation.evaluate import stretched
from ..files import append_whole, write_atomically

logger = logging.getLogger("dbnet_trt")

Record = dict[str, Any]
"""One line of metrics.jsonl: `step`, and the values measured after it. TensorBoard joins nested
names by a slash."""

PICTURE_HEIGHT = 480
"""Height of the pictures in TensorBoard, in pixels."""


class Metrics:
    """Writer of records and pictures."""

    def __init__(self, folder: Path, step: int, watch: Callable[[Record], None] | None) -> None:
        """Open the files of a run; records of steps after `step` are removed.

        Args:
            folder: Folder of the run.
            step: Number of steps done.
            watch: Called with each record.
        """
        path = folder / "metrics.jsonl"
        _drop_after(path, step)
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        self._board = _open_board(folder, step)
        self._watch = watch

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
        if self._board is not None:
            self._board.close()

    def append(self, record: Record) -> None:
        """Write one record to every destination.

        Raises:
            OSError: It cannot be written; metrics.jsonl ends with a whole line.
        """
        try:
            append_whole(self._descriptor, f"{json.dumps(record)}\n".encode())
        except OSError as error:
            error.filename = str(self._path)
            raise
        if self._board is not None:
            for name, value in _flatten(record):
                if name != "step":
                    self._board.add_scalar(name, value, record["step"])
        if self._watch is not None:
            self._watch(record)

    def show(self, detector: Detector, samples: Sequence[Sample], step: int) -> None:
        """Write pictures of a detector's results to TensorBoard.

        Args:
            detector: Detector to run on the samples.
            samples: Samples to draw.
            step: Number of steps done.
        """
        if self._board is not None:
            for index, sample in enumerate(samples):
                picture = draw_prediction(detector, sample)[:, :, ::-1].copy()
                self._board.add_image(f"prediction/{index}", picture, step, dataformats="HWC")


def draw_prediction(detector: Detector, sample: Sample) -> NDArray[np.uint8]:
    """Draw an image with its detections beside its probability map.

    Returns:
        (480, W, 3) uint8 BGR.

    Raises:
        ImageError: The image is missing or damaged.
    """
    image = stretched(load_sample_image(sample), sample.stretch)
    found = detector.detect(image, prob_map=True)
    drawn = found.plot(image)
    prob_map = np.asarray(found.prob_map) * 255
    size = (round(drawn.shape[1] * PICTURE_HEIGHT / drawn.shape[0]), PICTURE_HEIGHT)
    gray = cv2.resize(prob_map.astype(np.uint8), size)
    parts = [cv2.resize(drawn, size), cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)]
    return np.asarray(np.hstack(parts), np.uint8)


def _open_board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        logger.info("tensorboard is not installed; metrics.jsonl has the same numbers")
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)


def _flatten(record: Record, prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, dict):
            pairs += _flatten(value, f"{prefix}{name}/")
        else:
            pairs.append((prefix + name, float(value)))
    return pairs


def _drop_after(path: Path, step: int) -> None:
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if _step_of(line) <= step]
        text = "".join(line + "\n" for line in kept)
        write_atomically(path, lambda temporary: temporary.write_text(text, "utf-8"))


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut off when the program was killed
        return 1 << 62
