# SPDX-License-Identifier: Apache-2.0
"""Recognisers in ONNX with a CTC head: one score per character and step, and one for "none"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineError
from ..settings import CpuConfig
from .network import open_network

Image = NDArray[np.uint8]

METADATA = "character"
"""Key of an ONNX file's metadata under which PaddleOCR's models keep their characters."""

WIDTH_STEP = 32
"""Multiple to which inputs are padded, in pixels: fewer shapes to prepare for."""


@dataclass(frozen=True, slots=True)
class CtcConfig:
    """What a recogniser takes; the defaults are those of PaddleOCR."""

    height: int = 48
    """Height of its input, in pixels."""

    min_width: int = 240
    """Minimum width of its input, in pixels; shorter texts are padded with zeros."""

    mean: float = 127.5
    """Mean that is subtracted from pixels in 0 to 255."""

    std: float = 127.5
    """Standard deviation by which pixels are then divided."""

    channel_order: Literal["bgr", "rgb"] = "bgr"
    """Order of the colour channels."""

    blank: Literal["first", "last"] = "first"
    """Place of the score for no character."""

    batch_size: int = 2
    """Maximum number of texts that are read at once; more is no faster on one core."""


class CtcReader:
    """A reader that runs a recogniser on the CPU.

    Texts are scaled to one height, sorted by width and padded to the widest of their batch.
    """

    def __init__(
        self,
        model: str | Path,
        characters: Sequence[str] | str | Path | None = None,
        config: CtcConfig = CtcConfig(),
        cpu: CpuConfig = CpuConfig(),
    ) -> None:
        """Open a recogniser.

        Args:
            model: ONNX file with one input (B, 3, height, width) and one output (B, steps,
                classes), probabilities or logits.
            characters: Characters in the order of the classes, without the blank; or the path of a
                text file with one per line; None takes them from the model's metadata. A space
                may be missing at the end.
            config: What the recogniser takes.
            cpu: Library, precision and threads, as for `Detector`.

        Raises:
            EngineError: The model cannot be opened, has other inputs, or has no characters.
            OSError: The file of characters cannot be read.
        """
        self._model, self._config = model, config
        self._network = open_network(model, cpu)
        self._characters = self._find_characters(characters)

    def __call__(self, crops: Sequence[Image]) -> list[tuple[str, float]]:
        """Read upright crops (h, w, 3) uint8 BGR; returns (text, confidence in [0, 1]) of each.

        Raises:
            EngineError: The network fails, or its number of classes is not that of the characters.
        """
        widths = [self._width(crop) for crop in crops]
        order = sorted(range(len(crops)), key=widths.__getitem__)
        read: list[tuple[str, float]] = [("", 0.0)] * len(crops)
        size = self._config.batch_size
        for batch in (order[i : i + size] for i in range(0, len(order), size)):
            width = -(-max(self._config.min_width, widths[batch[-1]]) // WIDTH_STEP) * WIDTH_STEP
            images = np.stack([self._prepare(crops[i], widths[i], width) for i in batch])
            for i, text in zip(batch, self._decode(self._network.run(images)), strict=True):
                read[i] = text
        return read

    def _find_characters(self, characters: Sequence[str] | str | Path | None) -> list[str]:
        if characters is None:
            kept = self._network.metadata.get(METADATA)
            if kept is None:
                raise EngineError(
                    f'the recogniser {self._model} has no "{METADATA}" in its metadata; give its '
                    "characters, or the file that lists them"
                )
            return kept.split("\n")
        if isinstance(characters, (str, Path)):
            return Path(characters).read_text(encoding="utf-8").rstrip("\n").split("\n")
        return list(characters)

    def _width(self, crop: Image) -> int:
        return max(1, round(self._config.height * crop.shape[1] / crop.shape[0]))

    def _prepare(self, crop: Image, width: int, padded: int) -> NDArray[np.float32]:
        """Scale a crop to (3, height, padded) float32."""
        import cv2

        shrinks = crop.shape[0] > 2 * self._config.height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        scaled = cv2.resize(crop, (width, self._config.height), interpolation=method)
        if self._config.channel_order == "rgb":
            scaled = scaled[:, :, ::-1]
        image = np.zeros((3, self._config.height, padded), np.float32)
        pixels = (scaled.astype(np.float32) - self._config.mean) / self._config.std
        image[:, :, :width] = pixels.transpose(2, 0, 1)
        return image

    def _decode(self, scores: NDArray[np.float32]) -> list[tuple[str, float]]:
        """Convert (B, steps, classes) scores to texts by the best path."""
        num_classes = scores.shape[-1]
        characters = self._characters
        if num_classes == len(characters) + 2:
            characters = [*characters, " "]
        if scores.ndim != 3 or num_classes != len(characters) + 1:
            raise EngineError(
                f"the recogniser {self._model} gives scores of shape {scores.shape}; for "
                f"{len(self._characters)} characters and the blank the last must be "
                f"{len(self._characters) + 1}, or one more with a space"
            )
        best = scores.argmax(axis=2)
        certainty = np.take_along_axis(scores, best[:, :, None], axis=2)[:, :, 0]
        if not np.allclose(scores[:, 0].sum(axis=1), 1, atol=0.01):  # logits
            peaks = scores.max(axis=2)
            certainty = np.exp(certainty - peaks) / np.exp(scores - peaks[:, :, None]).sum(axis=2)
        first = self._config.blank == "first"
        blank = 0 if first else num_classes - 1
        new = np.ones(best.shape, bool)
        new[:, 1:] = best[:, 1:] != best[:, :-1]
        texts = []
        for path, sure, kept in zip(best, certainty, new & (best != blank), strict=True):
            text = "".join(characters[i - first] for i in path[kept])
            texts.append((text, float(sure[kept].mean()) if kept.any() else 0.0))
        return texts
