# SPDX-License-Identifier: Apache-2.0
"""The two published variants of DetEval, which match split and merged texts.

Wolf and Jolion, "Object count/area graphs for the evaluation of object detection and segmentation
algorithms". Recall here is the share of a truth that a detection covers, precision the share of a
detection that lies in the truth; both are (N, M), one row per truth and one column per detection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .geometry import buffered, overlaps, ratio, shoelace
from .scores import ImageScore, Polygon, Score

SPLIT_CREDIT = 0.8
"""Credit, instead of 1, of a text found in pieces, and in Total-Text of merged texts."""

FloatArray = NDArray[np.float64]


class _Tally:
    """Running matches of one image."""

    def __init__(self, ignored_truths: NDArray[np.bool_], ignored: NDArray[np.bool_]) -> None:
        self.truth_free, self.free = ~ignored_truths, ~ignored
        self._counted, self._ignored = ~ignored_truths, ignored
        self._recall_hits = self._precision_hits = 0.0

    def match(
        self, truths: Sequence[int], detections: Sequence[int], credits: tuple[float, float]
    ) -> None:
        """Mark truths and detections as matched, and add their credits.

        Args:
            truths: Indices of the truths.
            detections: Indices of the detections.
            credits: Credits for recall and for precision.
        """
        self.truth_free[truths] = False
        self.free[detections] = False
        self._recall_hits += credits[0]
        self._precision_hits += credits[1]

    def result(self) -> ImageScore:
        """Return the score of the image."""
        score = Score(
            self._recall_hits,
            int(self._counted.sum()),
            self._precision_hits,
            int((~self._ignored).sum()),
        )
        return ImageScore(
            score,
            tuple(np.flatnonzero(self._counted & ~self.truth_free).tolist()),
            tuple(np.flatnonzero(~self._ignored & ~self.free).tolist()),
            tuple(np.flatnonzero(self._ignored).tolist()),
        )


def score_totaltext(
    truths: Sequence[Polygon], ignore: Sequence[bool], detections: Sequence[Polygon]
) -> ImageScore:
    """Score one image by the DetEval of Total-Text, as its Python script computes it.

    Detections of which more than half (of their area plus one pixel) lies in one text to ignore
    are removed first. Shares are rounded to two decimals. Limits are 0.7 of the truth and 0.6 of
    the detection; pieces and merged texts get 0.8 each. Outlines that cross themselves are repaired
    by a buffer of zero; their area is that of the shoelace formula.

    Args:
        truths: N outlines (K, 2), in pixels.
        ignore: N flags.
        detections: M outlines (K, 2), in pixels.
    """
    shared = overlaps(truths, detections, buffered)
    true_areas = np.array([shoelace(polygon) for polygon in truths])
    areas = np.array([shoelace(polygon) for polygon in detections])
    skip = np.array(ignore, bool)
    ignored = (shared[skip] / (areas + 1) > 0.5).any(axis=0)
    tally = _Tally(skip, ignored)
    counted = ~skip[:, None] & ~ignored
    recall = np.where(counted, ratio(shared, true_areas[:, None]).round(2), 0)
    precision = np.where(counted, ratio(shared, areas).round(2), 0)
    _totaltext_singles(recall, precision, tally)
    _totaltext_splits(recall, precision, tally)
    _totaltext_merges(recall, precision, tally)
    return tally.result()


TOTALTEXT_RECALL = 0.7
TOTALTEXT_PRECISION = 0.6


def _totaltext_singles(recall: FloatArray, precision: FloatArray, tally: _Tally) -> None:
    covers, lies = recall > TOTALTEXT_RECALL, precision > TOTALTEXT_PRECISION
    for truth in range(len(recall)):
        covering, lying = np.flatnonzero(covers[truth]), np.flatnonzero(lies[truth])
        # As published, the one that covers and the one that lies within may be two detections.
        alone = (
            len(covering) == len(lying) == 1
            and covers[:, covering].sum() == 1
            and lies[:, lying].sum() == 1
        )
        if alone:
            tally.match([truth], covering.tolist(), (1, 1))


def _totaltext_splits(recall: FloatArray, precision: FloatArray, tally: _Tally) -> None:
    for truth in np.flatnonzero(tally.truth_free).tolist():
        if (recall[truth] > 0).sum() < 2:
            continue
        pieces = np.flatnonzero((precision[truth] >= TOTALTEXT_PRECISION) & tally.free)
        if recall[truth, pieces].sum() >= TOTALTEXT_RECALL:
            credit = 1.0 if len(pieces) == 1 else SPLIT_CREDIT
            tally.match([truth], pieces.tolist(), (credit, credit * len(pieces)))


def _totaltext_merges(recall: FloatArray, precision: FloatArray, tally: _Tally) -> None:
    for index in np.flatnonzero(tally.free).tolist():
        if (precision[:, index] > 0).sum() < 2:
            continue
        # As published, the limit for each merged text is that of precision, not of recall.
        merged = np.flatnonzero((recall[:, index] >= TOTALTEXT_PRECISION) & tally.truth_free)
        if precision[merged, index].sum() < TOTALTEXT_PRECISION:
            continue
        if len(merged) > 1:
            credits = (SPLIT_CREDIT * len(merged), SPLIT_CREDIT)
            tally.match(merged.tolist(), [index], credits)
        elif recall[merged[0], index] >= TOTALTEXT_RECALL:
            tally.match(merged.tolist(), [index], (1, 1))


def score_deteval(
    truths: Sequence[Polygon], ignore: Sequence[bool], detections: Sequence[Polygon]
) -> ImageScore:
    """Score one image by the DetEval of ICDAR 2013, tasks 1.1 and 2.1.

    Works on upright boxes, the bounds of the outlines; a box from pixel 2 to pixel 5 is 4 wide.
    Limits are 0.8 of the truth and 0.4 of the detection. A text found in pieces gets 0.8, as does
    each piece; texts found as one get 1 each. A detection of which more than 0.4 lies in one text
    to ignore does not count. (The published script also wants centres nearer than the mean of the
    two diagonals: boxes that overlap always are.)

    Args:
        truths: N outlines (K, 2), in pixels.
        ignore: N flags.
        detections: M outlines (K, 2), in pixels.
    """
    boxes, found = _bounds(truths), _bounds(detections)
    sides = np.minimum(boxes[:, None, 2:], found[None, :, 2:]) + 1
    sides = np.maximum(sides - np.maximum(boxes[:, None, :2], found[None, :, :2]), 0)
    shared = sides.prod(axis=2)
    true_sizes, sizes = boxes[:, 2:] - boxes[:, :2] + 1, found[:, 2:] - found[:, :2] + 1
    recall = ratio(shared, true_sizes.prod(axis=1)[:, None])
    precision = ratio(shared, sizes.prod(axis=1))
    skip = np.array(ignore, bool)
    tally = _Tally(skip, (precision[skip] > DETEVAL_PRECISION).any(axis=0))
    _deteval_matches(recall, precision, tally)
    return tally.result()


DETEVAL_RECALL = 0.8
DETEVAL_PRECISION = 0.4


def _deteval_matches(recall: FloatArray, precision: FloatArray, tally: _Tally) -> None:
    close = (recall >= DETEVAL_RECALL) & (precision >= DETEVAL_PRECISION)
    alone = close & (close.sum(axis=0) == 1) & (close.sum(axis=1) == 1)[:, None]
    touching = (recall > 0) & tally.truth_free[:, None] & tally.free
    # Texts touched by a detection that counts, and detections that touch a text that counts.
    partners = ((recall > 0) & tally.free).sum(axis=1)
    true_partners = ((recall > 0) & tally.truth_free[:, None]).sum(axis=0)
    single = alone & touching & (partners == 1)[:, None] & (true_partners == 1)
    for truth, index in np.argwhere(single).tolist():
        tally.match([truth], [index], (1, 1))
    for truth in np.flatnonzero(tally.truth_free).tolist():
        pieces = np.flatnonzero((precision[truth] >= DETEVAL_PRECISION) & tally.free)
        if partners[truth] >= 2 and _reaches(recall[truth, pieces], DETEVAL_RECALL):
            credit = 1.0 if len(pieces) == 1 else SPLIT_CREDIT
            tally.match([truth], pieces.tolist(), (credit, credit * len(pieces)))
    for index in np.flatnonzero(tally.free).tolist():
        merged = np.flatnonzero((recall[:, index] >= DETEVAL_RECALL) & tally.truth_free)
        if true_partners[index] >= 2 and _reaches(precision[merged, index], DETEVAL_PRECISION):
            tally.match(merged.tolist(), [index], (len(merged), 1))


def _reaches(shares: FloatArray, limit: float) -> bool:
    return round(float(shares.sum()), 4) >= limit


def _bounds(polygons: Sequence[Polygon]) -> FloatArray:
    """Return the bounding boxes, (N, 4): x_min, y_min, x_max, y_max."""
    corners = [(*polygon.min(axis=0), *polygon.max(axis=0)) for polygon in polygons]
    return np.array(corners, np.float64).reshape(-1, 4)
