# SPDX-License-Identifier: Apache-2.0
"""Score a detector on a data set, by the published protocols."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from .protocols import CURVED, PROTOCOL_OF, PROTOCOLS
from .scores import ImageScore, Polygon, Score

if TYPE_CHECKING:
    from ..data.samples import Sample
    from ..detections import Detections
    from ..detector import Detector
    from ..settings import SizePolicy

CURVE_THRESHOLDS = tuple(round(0.1 + 0.05 * step, 2) for step in range(18))
"""Score thresholds of a precision-recall curve: 0.1 to 0.95."""


CURVED_SHARE = 0.1
"""Share of texts with more than four points above which a data set is scored by polygons."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """Protocol and outlines by which detections are scored."""

    protocol: str
    """A name in `PROTOCOLS`."""

    polygons: bool
    """Whether text is found as polygons, else as quads."""


def choose_scoring(
    formats: Iterable[str], samples: Sequence[Sample], protocol: str | None = None
) -> Scoring:
    """Choose the protocol of data sets, and whether their text is found as polygons.

    Polygons are for Total-Text and CTW1500, and where more than a tenth of the texts that count
    have more than four points.

    Args:
        formats: Names in `READERS`, of the data sets together.
        samples: Their samples.
        protocol: Protocol to use instead of that of the formats.
    """
    chosen = {PROTOCOL_OF.get(form, "icdar2015") for form in formats}
    if protocol is None:
        protocol = chosen.pop() if len(chosen) == 1 else "icdar2015"
    counts = [len(text.polygon) for each in samples for text in each.texts if not text.ignore]
    curved = sum(count > 4 for count in counts)
    is_curved = protocol in CURVED or curved > CURVED_SHARE * len(counts)
    return Scoring(protocol, is_curved and protocol != "deteval")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImage:
    """Ground truth, detections and score of one image."""

    name: str
    """Name of the image file, or its name in the annotation."""

    truths: tuple[Polygon, ...]
    """N outlines (K, 2) in pixels."""

    ignore: tuple[bool, ...]
    """N flags; ignored texts are not scored."""

    detections: tuple[Polygon, ...]
    """M outlines (K, 2) in pixels, in the order in which they are matched."""

    confidences: tuple[float, ...] | None
    """M scores, or None where the results have none."""

    result: ImageScore
    """Score and matches of the image, by the protocol."""

    sample: Sample | None = None
    """Sample of the image; outlines are in pixels of the image after its stretch."""

    @property
    def num_missed(self) -> int:
        """Number of texts that were not found."""
        return self.result.score.num_truths - len(self.result.truth_hits)

    @property
    def num_false(self) -> int:
        """Number of detections that are wrong."""
        return self.result.score.num_detections - len(self.result.detection_hits)

    def above(self, threshold: float) -> list[int]:
        """Indices of the detections with at least this confidence; all if they have none."""
        if self.confidences is None:
            return list(range(len(self.detections)))
        sure = np.array(self.confidences, np.float32) >= np.float32(threshold)  # as the detector
        return np.flatnonzero(sure).tolist()

    def to_json(self) -> str:
        """Return one line of JSON: scores, and the result of each outline."""
        result = self.result
        truths = [
            {"polygon": _points(polygon), "ignore": skip, "found": index in result.truth_hits}
            for index, (polygon, skip) in enumerate(zip(self.truths, self.ignore, strict=True))
        ]
        detections = [
            {"polygon": _points(polygon), "result": detection_result(result, index)}
            | ({} if self.confidences is None else {"score": self.confidences[index]})
            for index, polygon in enumerate(self.detections)
        ]
        score = result.score
        numbers = {"precision": score.precision, "recall": score.recall, "f": score.f}
        return json.dumps(
            {"image": self.name, **numbers, "truths": truths, "detections": detections}
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Scores on a data set."""

    protocol: str
    """A name in `PROTOCOLS`."""

    images: tuple[ScoredImage, ...]
    """Scores of the images."""

    curve: tuple[tuple[float, Score], ...] = ()
    """(score threshold, score at it), ascending; empty if it was not requested."""

    @property
    def score(self) -> Score:
        """Score over all images."""
        return sum((image.result.score for image in self.images), Score())

    def worst(self, count: int) -> list[ScoredImage]:
        """Return at most `count` images with errors, those with most errors first."""
        wrong = [image for image in self.images if image.num_missed + image.num_false]
        return sorted(wrong, key=lambda image: -image.num_missed - image.num_false)[:count]


def detection_result(result: ImageScore, index: int) -> str:
    """Return the result of a detection: "hit", "false" or "ignored"."""
    if index in result.detection_ignored:
        return "ignored"
    return "hit" if index in result.detection_hits else "false"


def evaluate_samples(
    detector: Detector,
    samples: Iterable[Sample],
    protocol: str = "icdar2015",
    *,
    size: SizePolicy | None = None,
    curve: bool = False,
) -> Evaluation:
    """Run a detector over samples and score what it finds, at its own thresholds.

    Outlines are scored in whole pixels, as the formats of the data sets have them.

    Args:
        detector: A detector on any engine.
        samples: Images and their texts.
        protocol: A name in `PROTOCOLS`.
        size: How large images enter the network; by default as the detector has it.
        curve: Whether to score at all of `CURVE_THRESHOLDS` as well.

    Raises:
        ValueError: The protocol is not known.
        DBNetError: shapely is not installed, or an image cannot be read.
    """
    from ..data.samples import load_sample_image

    own = detector.params.score_threshold
    lowest = min(own, *CURVE_THRESHOLDS) if curve else own
    images = []
    for sample in samples:
        image = stretched(load_sample_image(sample), sample.stretch)
        found = detector.detect(image, size=size, score_threshold=lowest)
        images.append(score_detections(protocol, sample, found))
    if not curve:
        return Evaluation(protocol, tuple(images))
    kept = tuple(rescored(image, protocol, own) for image in images)
    return Evaluation(protocol, kept, score_curve(images, protocol))


def score_detections(protocol: str, sample: Sample, found: Detections) -> ScoredImage:
    """Score what was found in a sample's image, after its stretch, in whole pixels."""
    return score_image(
        protocol,
        sample.image.name,
        [text.polygon * np.array(sample.stretch) for text in sample.texts],
        [text.ignore for text in sample.texts],
        [np.rint(outline) for outline in found.outlines()],
        found.scores.tolist(),
        sample=sample,
    )


def score_image(
    protocol: str,
    name: str,
    truths: Sequence[Polygon],
    ignore: Sequence[bool],
    detections: Sequence[Polygon],
    confidences: Sequence[float] | None = None,
    sample: Sample | None = None,
) -> ScoredImage:
    """Score one image.

    Args:
        protocol: A name in `PROTOCOLS`.
        name: Name of the image.
        truths: N outlines (K, 2) in pixels.
        ignore: N flags; ignored texts are not scored.
        detections: M outlines (K, 2) in pixels, in the order in which they are matched.
        confidences: M scores, if the detections have them.
        sample: Sample of the image, if there is one, for pictures of it.

    Raises:
        ValueError: The protocol is not known, or takes boxes only and the texts are polygons.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    curved = next((len(each) for each in truths if len(each) > 4), None)
    if protocol == "deteval" and curved is not None:
        raise ValueError(
            f"the protocol deteval scores upright boxes, {name} has a text of {curved} "
            "points; score it by icdar2015, totaltext or ctw1500"
        )
    return ScoredImage(
        name,
        tuple(truths),
        tuple(ignore),
        tuple(detections),
        None if confidences is None else tuple(confidences),
        PROTOCOLS[protocol](truths, ignore, detections),
        sample,
    )


def rescored(image: ScoredImage, protocol: str, threshold: float) -> ScoredImage:
    """Score an image again without the detections below a threshold.

    Args:
        image: The scored image.
        protocol: A name in `PROTOCOLS`.
        threshold: Least confidence of the detections that are kept.
    """
    kept = image.above(threshold)
    detections = tuple(image.detections[index] for index in kept)
    confidences = image.confidences
    if confidences is not None:
        confidences = tuple(confidences[index] for index in kept)
    result = PROTOCOLS[protocol](image.truths, image.ignore, detections)
    return dataclasses.replace(image, detections=detections, confidences=confidences, result=result)


def score_curve(images: Sequence[ScoredImage], protocol: str) -> tuple[tuple[float, Score], ...]:
    """Return (threshold, score over all images) at each of `CURVE_THRESHOLDS`."""
    return tuple(
        (at, sum((rescored(each, protocol, at).result.score for each in images), Score()))
        for at in CURVE_THRESHOLDS
    )


def stretched(image: NDArray[np.uint8], factors: tuple[float, float]) -> NDArray[np.uint8]:
    """Resize a (H, W, 3) uint8 image by factors (x, y)."""
    if factors == (1.0, 1.0):
        return image
    width, height = round(image.shape[1] * factors[0]), round(image.shape[0] * factors[1])
    return np.asarray(cv2.resize(image, (width, height)), np.uint8)


def write_jsonl(path: Path, evaluation: Evaluation) -> None:
    """Write one line of JSON per image.

    Raises:
        OSError: The file cannot be written.
    """
    lines = [image.to_json() + "\n" for image in evaluation.images]
    path.write_text("".join(lines), encoding="utf-8")


def _points(polygon: Polygon) -> list[list[float]]:
    points: list[list[float]] = np.asarray(polygon, np.float64).round(2).tolist()
    return points
