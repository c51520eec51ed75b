# SPDX-License-Identifier: Apache-2.0
"""Results of text detection in one image."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from . import conversions
from .crops import crop_text
from .files import parse_json
from .layout.arrange import arrange
from .layout.runs import Block
from .layout.texts import read_direction

if TYPE_CHECKING:
    import pandas
    import supervision

    from .images.load import ImageSource

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """One detected text."""

    quad: FloatArray
    """(4, 2) float32: corners (x, y) in pixels, clockwise from the text's top left."""

    score: float
    """Mean probability inside the outline, in [0, 1]."""

    polygon: FloatArray | None = None
    """(K, 2) float32: outline (x, y) in pixels; None unless polygons were requested."""

    text: str | None = None
    """What was read; None unless it was."""

    confidence: float | None = None
    """Confidence of the recogniser, in [0, 1]; None unless the text was read."""

    track_id: int | None = None
    """Number of the text in its video; None unless it was followed."""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Upright box (x_min, y_min, x_max, y_max) in pixels."""
        (x_min, y_min), (x_max, y_max) = self.quad.min(axis=0), self.quad.max(axis=0)
        return float(x_min), float(y_min), float(x_max), float(y_max)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detections:
    """Text detected in one image, the best score first.

    Supports `len`, iteration (over `Detection`), and indexing: a number gives one `Detection`; a
    slice, an index array or a boolean mask gives `Detections`, as in `found[found.scores > 0.8]`.
    """

    quads: FloatArray
    """(N, 4, 2) float32: corners (x, y) in pixels, clockwise from the text's top left."""

    scores: FloatArray
    """(N,) float32 in [0, 1]: mean probability inside each outline."""

    polygons: tuple[FloatArray, ...] | None = None
    """N outlines (K, 2) float32 in pixels; None unless polygons were requested."""

    prob_map: FloatArray | None = None
    """(h, w) float32 in [0, 1]: probability map of the whole image, at the size of the network's
    input without padding; None unless it was requested."""

    texts: tuple[str, ...] | None = None
    """N texts; None unless they were read, by `dbnet_trt.reading.read_text`."""

    confidences: FloatArray | None = None
    """(N,) float32 in [0, 1]: confidences of the recogniser; None unless the texts were read."""

    track_ids: NDArray[np.int64] | None = None
    """(N,) int64: numbers of the texts in their video, from 1; None unless they were followed, by
    `dbnet_trt.tracking.Tracker`."""

    def __post_init__(self) -> None:
        expected = (len(self.scores), 4, 2)
        if self.quads.shape != expected:
            raise ValueError(f"quads must have shape {expected}, got {self.quads.shape}")
        if self.polygons is not None and len(self.polygons) != len(self.scores):
            raise ValueError(
                f"expected one polygon per score, {len(self.scores)}, got {len(self.polygons)}"
            )
        if (self.texts is None) != (self.confidences is None):
            raise ValueError("texts and confidences must be given together")
        for name in ("texts", "confidences", "track_ids"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.scores):
                raise ValueError(
                    f"{name} must be one per score, {len(self.scores)}, got {len(values)}"
                )

    @property
    def boxes(self) -> FloatArray:
        """(N, 4) float32: upright boxes (x_min, y_min, x_max, y_max) in pixels."""
        return np.concatenate([self.quads.min(axis=1), self.quads.max(axis=1)], axis=1)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int | np.integer) -> Detection: ...
    @overload
    def __getitem__(self, index: slice | Sequence[Any] | NDArray[Any]) -> Detections: ...
    def __getitem__(self, index: Any) -> Detection | Detections:
        if isinstance(index, (int, np.integer)):
            polygon = None if self.polygons is None else self.polygons[index]
            text = None if self.texts is None else self.texts[index]
            confidence = None if self.confidences is None else float(self.confidences[index])
            track = None if self.track_ids is None else int(self.track_ids[index])
            return Detection(
                self.quads[index], float(self.scores[index]), polygon, text, confidence, track
            )
        chosen = np.arange(len(self))[index]
        polygons = None if self.polygons is None else tuple(self.polygons[i] for i in chosen)
        texts = None if self.texts is None else tuple(self.texts[i] for i in chosen)
        confidences = None if self.confidences is None else self.confidences[chosen]
        tracks = None if self.track_ids is None else self.track_ids[chosen]
        quads, scores = self.quads[chosen], self.scores[chosen]
        return Detections(quads, scores, polygons, self.prob_map, texts, confidences, tracks)

    def __repr__(self) -> str:
        parts = [f"{len(self)} texts"]
        if len(self):
            parts.append(f"scores {self.scores.min():.2f} to {self.scores.max():.2f}")
        if self.polygons is not None:
            parts.append("with polygons")
        if self.texts is not None:
            parts.append("read")
        if self.track_ids is not None:
            parts.append("followed")
        if self.prob_map is not None:
            parts.append(f"prob_map {self.prob_map.shape}")
        return f"Detections({', '.join(parts)})"

    def above(self, score: float) -> Detections:
        """Select the detections whose score is at least this."""
        return self[self.scores >= score]

    def in_reading_order(
        self, *, right_to_left: bool = False, turned: int | None = None
    ) -> Detections:
        """Sort the detections as a person reads them: block by block, line by line.

        Args:
            right_to_left: As in `blocks`.
            turned: As in `blocks`.
        """
        blocks = self._arrange(right_to_left, turned)
        return self[np.array([i for block in blocks for line in block for i in line], int)]

    def lines(self, *, right_to_left: bool = False, turned: int | None = None) -> list[Detections]:
        """Group the detections by line, in reading order; a row of a table is one line.

        Args:
            right_to_left: As in `blocks`.
            turned: As in `blocks`.
        """
        blocks = self.blocks(right_to_left=right_to_left, turned=turned)
        return [line for block in blocks for line in block]

    def blocks(
        self, *, right_to_left: bool = False, turned: int | None = None
    ) -> list[list[Detections]]:
        """Group the detections by paragraph, column or table, in reading order.

        Columns are read one after the other, tables row by row. Skew is removed first; text that
        crosses the page's own direction forms blocks of its own.

        Args:
            right_to_left: Whether words and columns follow each other from right to left.
            turned: Direction of the text, in degrees clockwise from left-to-right: 0, 90, 180 or
                270. None takes the one that most of the text has; before it is read, 0 or 90.

        Returns:
            Blocks of lines; each line holds its texts in order, and no two of them overlap.

        Raises:
            ValueError: `turned` is another number.
        """
        blocks = self._arrange(right_to_left, turned)
        return [[self[line] for line in block] for block in blocks]

    def _arrange(self, right_to_left: bool, turned: int | None) -> list[Block]:
        if turned is None and self.texts is not None:
            turned = read_direction(self.quads)
        return arrange(self.quads, right_to_left=right_to_left, turned=turned)

    def outlines(self) -> tuple[FloatArray, ...]:
        """Return N outlines (K, 2) float32 in pixels: the polygons, or without them the quads."""
        return tuple(self.quads) if self.polygons is None else self.polygons

    def plot(self, image: ImageSource) -> NDArray[np.uint8]:
        """Draw the outlines on a copy of the image, with what is known of texts and tracks.

        Args:
            image: Image in which the text was detected, as `Detector.detect` takes it.

        Returns:
            (H, W, 3) uint8 BGR.

        Raises:
            ImageError: The image is missing, broken, or of another shape or type.
            ValueError: There is text outside the image: it is not the one that was searched.
        """
        from .images.drawing import draw_numbers, draw_outlines

        canvas = self._load(image).copy()
        draw_outlines(canvas, self.outlines(), self.track_ids)
        if self.texts is not None:
            from .images.lettering import draw_texts

            canvas = draw_texts(canvas, self.quads, self.texts)
        if self.track_ids is not None:
            draw_numbers(canvas, self.quads, self.track_ids)
        return canvas

    def save(self, path: str | Path, image: ImageSource) -> None:
        """Write a copy of the image with the outlines drawn on it.

        Args:
            path: File to write; its suffix sets the format (.jpg, .png, …).
            image: Image in which the text was detected, as in `plot`.

        Raises:
            ImageError: The image cannot be read, the format is unknown, or the file cannot be
                written.
            ValueError: There is text outside the image: it is not the one that was searched.
        """
        from .images.load import write_image

        write_image(path, self.plot(image))

    def crops(self, image: ImageSource, *, margin: float = 0.0) -> list[NDArray[np.uint8]]:
        """Cut out each text and turn it upright, for a text recogniser.

        Text at least 1.5 times as tall as wide, which runs downwards, is turned by 90 degrees
        counter-clockwise, also if it leans by up to 30 degrees. With polygons, curved text is
        straightened along its outline.

        Args:
            image: Image in which the text was detected, as in `plot`.
            margin: Width added on each side, in heights of the text.

        Returns:
            N images (h, w, 3) uint8 BGR, h and w at least 1.

        Raises:
            ImageError: The image is missing, broken, or of another shape or type.
            ValueError: There is text outside the image: it is not the one that was searched.
        """
        pixels = self._load(image)
        polygons = self.polygons or (None,) * len(self)
        return [
            crop_text(pixels, quad, polygon, margin)
            for quad, polygon in zip(self.quads, polygons, strict=True)
        ]

    def _load(self, image: ImageSource) -> NDArray[np.uint8]:
        """Load the image as (H, W, 3) uint8 BGR.

        Raises:
            ValueError: There is text outside the image.
        """
        from .images.load import load_image

        pixels = load_image(image)
        height, width = pixels.shape[:2]
        right, bottom = self.quads.reshape(-1, 2).max(axis=0, initial=0)
        if right > width or bottom > height:
            raise ValueError(
                f"there is text up to x {right:.0f}, y {bottom:.0f}, but the image has "
                f"{width}x{height} pixels; pass the image that was searched, in the same size"
            )
        return pixels

    def to_json(self) -> str:
        """Convert to one line of JSON, without the map; `from_json` restores the same numbers."""
        fields: dict[str, Any] = {"quads": self.quads.tolist(), "scores": self.scores.tolist()}
        if self.polygons is not None:
            fields["polygons"] = [polygon.tolist() for polygon in self.polygons]
        if self.texts is not None and self.confidences is not None:
            fields |= {"texts": self.texts, "confidences": self.confidences.tolist()}
        if self.track_ids is not None:
            fields["track_ids"] = self.track_ids.tolist()
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> Detections:
        """Read a text that `to_json` wrote; other fields are ignored.

        Raises:
            ValueError: The text is not such JSON.
        """
        try:
            fields = parse_json(text)
            quads = np.array(fields["quads"], np.float32).reshape(-1, 4, 2)
            scores = np.array(fields["scores"], np.float32)
            polygons = fields.get("polygons")
            if polygons is not None:
                polygons = tuple(np.array(each, np.float32).reshape(-1, 2) for each in polygons)
            texts, confidences = fields.get("texts"), fields.get("confidences")
            if texts is not None:
                texts = tuple(map(str, texts))
                confidences = np.array(confidences, np.float32).reshape(-1)
            track_ids = fields.get("track_ids")
            if track_ids is not None:
                track_ids = np.array(track_ids, np.int64).reshape(-1)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f'expected JSON with "quads" and "scores": {error!r}') from error
        return cls(quads, scores, polygons, None, texts, confidences, track_ids)

    def to_supervision(self) -> supervision.Detections:
        """Convert to `supervision.Detections`: boxes, scores, quads as oriented boxes, tracks.

        Raises:
            ImportError: The package supervision is not installed.
        """
        return conversions.to_supervision(self.quads, self.scores, self.track_ids)

    def to_dataframe(self) -> pandas.DataFrame:
        """Convert to a `pandas.DataFrame`, one row per text.

        Columns are x1, y1 to x4, y4, the corners of the quad in pixels to two decimals, and score;
        with polygons also polygon, an array (K, 2); with texts also text and confidence; with
        tracks also track.

        Raises:
            ImportError: The package pandas is not installed.
        """
        return conversions.to_dataframe(
            (self.quads, self.scores),
            self.polygons,
            self.texts,
            self.confidences,
            self.track_ids,
        )

    def to_gpuarray(self) -> tuple[Any, Any]:
        """Copy quads and scores to the GPU, in PyCUDA's current context.

        Returns:
            `pycuda.gpuarray.GPUArray` of quads (N, 4, 2) float32 and of scores (N,) float32.

        Raises:
            ImportError: The package pycuda is not installed.
        """
        return conversions.to_gpuarray(self.quads, self.scores)

    @classmethod
    def empty(cls) -> Detections:
        """Create a result without text."""
        return cls(np.zeros((0, 4, 2), np.float32), np.zeros(0, np.float32))
