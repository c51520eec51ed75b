# SPDX-License-Identifier: Apache-2.0
"""Choose a detector's thresholds and its unclip ratio on photos with ground truth."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..pipeline.postprocess import postprocess
from ..settings import MAX_UNCLIP_RATIO, PostprocessParams, ResizePlan
from .evaluate import ScoredImage, rescored, score_detections, stretched

if TYPE_CHECKING:
    from ..data.samples import Sample
    from ..detector import Detector
    from ..settings import SizePolicy

BINARY_THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)
SCORE_THRESHOLDS = tuple(round(0.3 + 0.025 * step, 3) for step in range(19))
UNCLIP_FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
"""Unclip ratios that are tried, as multiples of the detector's own: it depends on the ratio by
which text was shrunk in training."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Thresholds that were chosen, and what they are worth."""

    params: PostprocessParams
    """The detector's parameters with the thresholds and the unclip ratio that were chosen."""

    f_before: float
    """F at the detector's own, over all images; of several data sets the mean."""

    f: float
    """F at the chosen ones, likewise. It flatters: they were chosen on these images."""

    f_of_halves: float
    """F where the first and the second half of the images are each scored at what the other half
    chooses, likewise: about what the choice is worth on new images of the same kind."""


def tune(
    detector: Detector,
    data_sets: Sequence[Iterable[Sample]],
    protocol: str = "icdar2015",
    *,
    size: SizePolicy | None = None,
) -> Tuning:
    """Choose thresholds and unclip ratio by the F of all combinations of a grid.

    The network runs once per image. The combination is taken whose F, averaged with those of its
    neighbours in the grid, is highest: a single peak is chance. Of equals the nearest to the
    detector's own is taken. Each data set counts the same.

    Args:
        detector: A detector on any engine; it is not changed.
        data_sets: Images and their texts, of one or more data sets.
        protocol: A name in `PROTOCOLS`.
        size: How large images enter the network; by default as the detector has it.

    Raises:
        ValueError: The protocol is not known, or a data set has fewer than two images or no text.
        DBNetError: shapely is not installed, or an image cannot be read.
    """
    own, grid = detector.params, _Grid.around(detector.params)
    counts = []
    for samples in data_sets:
        counts.append(_count(detector, samples, protocol, grid, size))
        _check_enough(counts[-1], f"data set {len(counts)} of {len(data_sets)}")
    before = grid.index(own)
    chosen = _best(counts, before)
    # In order: neighbours often show the same, as frames of a video do.
    halves = list(zip(*(np.array_split(each, 2) for each in counts), strict=True))
    judged = []
    for half, others in zip(halves, halves[::-1], strict=True):
        best = _best(half, before)
        judged.append([each.sum(axis=0)[best] for each in others])
    pairs = [first + second for first, second in zip(*judged, strict=True)]
    return Tuning(
        grid.params(own, chosen),
        float(np.mean([_f(each.sum(axis=0)[before]) for each in counts])),
        float(np.mean([_f(each.sum(axis=0)[chosen]) for each in counts])),
        float(np.mean([_f(pair) for pair in pairs])),
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Values that are tried, ascending; those of the detector are among them."""

    binary: tuple[float, ...]
    unclip: tuple[float, ...]
    score: tuple[float, ...]

    @classmethod
    def around(cls, own: PostprocessParams) -> _Grid:
        unclip = {min(round(own.unclip_ratio * factor, 3), MAX_UNCLIP_RATIO)
                  for factor in UNCLIP_FACTORS}  # fmt: skip
        return cls(
            tuple(sorted({*BINARY_THRESHOLDS, own.binary_threshold})),
            tuple(sorted({*unclip, own.unclip_ratio})),
            tuple(sorted({*SCORE_THRESHOLDS, own.score_threshold})),
        )

    def index(self, params: PostprocessParams) -> tuple[int, int, int]:
        return (
            self.binary.index(params.binary_threshold),
            self.unclip.index(params.unclip_ratio),
            self.score.index(params.score_threshold),
        )

    def params(self, own: PostprocessParams, index: tuple[int, ...]) -> PostprocessParams:
        binary, unclip, score = index
        return dataclasses.replace(
            own,
            binary_threshold=self.binary[binary],
            unclip_ratio=self.unclip[unclip],
            score_threshold=self.score[score],
        )


def _count(
    detector: Detector,
    samples: Iterable[Sample],
    protocol: str,
    grid: _Grid,
    size: SizePolicy | None,
) -> Array:
    """Count hits and texts: (image, binary, unclip, score, number of `Score`)."""
    return np.array([_count_image(detector, each, protocol, grid, size) for each in samples])


def _check_enough(counts: Array, name: str) -> None:
    """Check that a data set, in numbers from `_count`, can choose.

    Raises:
        ValueError: It has fewer than two images, or no text that counts.
    """
    num_texts = int(counts[:, 0, 0, 0, 1].sum()) if len(counts) else 0
    if len(counts) < 2 or not num_texts:
        raise ValueError(
            f"expected two images or more, with text that is not ignored, got {len(counts)} with "
            f"{num_texts} such texts in {name}"
        )


def _count_image(
    detector: Detector,
    sample: Sample,
    protocol: str,
    grid: _Grid,
    size: SizePolicy | None,
) -> list[list[list[tuple[Any, ...]]]]:
    from ..data.samples import load_sample_image

    image = stretched(load_sample_image(sample), sample.stretch)
    prob_map = detector.detect(image, size=size, prob_map=True).prob_map
    assert prob_map is not None
    rows, columns = prob_map.shape
    plan = ResizePlan((image.shape[0], image.shape[1]), (rows, columns), (rows, columns))

    def score_all(binary: float, unclip: float) -> list[tuple[Any, ...]]:
        params = dataclasses.replace(
            detector.params,
            binary_threshold=binary,
            unclip_ratio=unclip,
            score_threshold=grid.score[0],
        )
        (found,) = postprocess(prob_map[None], [plan], params, logits=False)
        return _score_above(score_detections(protocol, sample, found), protocol, grid.score)

    return [[score_all(binary, unclip) for unclip in grid.unclip] for binary in grid.binary]


def _score_above(
    scored: ScoredImage, protocol: str, thresholds: Sequence[float]
) -> list[tuple[Any, ...]]:
    """Return the numbers of the score at each threshold; detections are sorted by confidence."""
    numbers: dict[int, tuple[Any, ...]] = {}
    kept = [len(scored.above(threshold)) for threshold in thresholds]
    for count, threshold in zip(kept, thresholds, strict=True):
        if count not in numbers:
            score = rescored(scored, protocol, threshold).result.score
            numbers[count] = dataclasses.astuple(score)
    return [numbers[count] for count in kept]


def _best(counts: Sequence[Array], before: tuple[int, ...]) -> tuple[int, ...]:
    """Return the index of the combination with the highest F among its neighbours.

    Args:
        counts: Numbers of data sets, from `_count`.
        before: Index of the detector's own; of equals the nearest to it is taken.
    """
    f = np.mean([_f(each.sum(axis=0)) for each in counts], axis=0)
    padded = np.pad(f, 1, mode="edge")
    moves = (offset for offset in itertools.product((0, 1, 2), repeat=3) if offset.count(1) >= 2)
    parts = [
        padded[tuple(slice(at, at + length) for at, length in zip(move, f.shape, strict=True))]
        for move in moves
    ]
    mean = np.mean(parts, axis=0)
    best = np.argwhere(mean > mean.max() - 1e-9)
    nearest = best[np.abs(best - before).sum(axis=1).argmin()]
    return tuple(int(at) for at in nearest)


def _f(numbers: Array) -> Array:
    """Compute F of (..., 4) numbers of `Score`."""
    hits, truths, right, found = np.moveaxis(numbers, -1, 0)
    recall, precision = hits / np.maximum(truths, 1), right / np.maximum(found, 1)
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-12))
