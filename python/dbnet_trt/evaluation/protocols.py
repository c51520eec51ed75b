# SPDX-License-Identifier: Apache-2.0
"""Published protocols that score the detections in one image against its ground truth.

All take outlines in pixels: the truths, one flag per truth that says whether it is to be ignored,
and the detections, in the order in which they are to be matched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .deteval import score_deteval, score_totaltext
from .geometry import even_odd, overlaps, ratio, shoelace, valid_only
from .scores import ImageScore, Polygon, Score

MIN_IOU = 0.5
"""Intersection over union above which a text and a detection match."""

MAX_IGNORED = 0.5
"""Share of a detection inside one ignored text above which it is ignored as well."""


def score_icdar2015(
    truths: Sequence[Polygon], ignore: Sequence[bool], detections: Sequence[Polygon]
) -> ImageScore:
    """Score one image by the protocol of ICDAR 2015, task 4.1.

    A detection of which more than half lies inside one text to ignore does not count. The others
    are matched one to one: each text, in its order, takes the first free detection whose IoU with
    it is greater than 0.5.

    Outlines that cross themselves are taken as the official script does: their area is the
    shoelace formula's, their overlap with others follows the even-odd rule. What has no area
    matches nothing and is not ignored.

    Args:
        truths: N outlines (K, 2), in pixels.
        ignore: N flags.
        detections: M outlines (K, 2), in pixels.
    """
    shared = overlaps(truths, detections, even_odd)
    true_areas = np.array([shoelace(polygon) for polygon in truths])
    areas = np.array([shoelace(polygon) for polygon in detections])
    skip = np.array(ignore, bool)
    ignored = (ratio(shared, areas)[skip] > MAX_IGNORED).any(axis=0)
    close = ratio(shared, true_areas[:, None] + areas - shared) > MIN_IOU
    free = ~ignored
    truth_hits, hits = [], []
    for truth in np.flatnonzero(~skip):
        candidates = np.flatnonzero(close[truth] & free)
        if len(candidates):
            free[candidates[0]] = False
            truth_hits.append(int(truth))
            hits.append(int(candidates[0]))
    score = Score(len(hits), int((~skip).sum()), len(hits), int((~ignored).sum()))
    return ImageScore(score, tuple(truth_hits), tuple(sorted(hits)), _indices(ignored))


def score_ctw1500(
    truths: Sequence[Polygon], ignore: Sequence[bool], detections: Sequence[Polygon]
) -> ImageScore:
    """Score one image by the protocol of CTW1500, which is PASCAL VOC's on polygons.

    Each detection, in its order (the most confident first), is compared with the text with which
    it has the greatest IoU. If that is greater than 0.5, the detection is ignored if the text is,
    wrong if another detection had the text before, and right otherwise. If not, it is wrong.

    An outline that crosses itself matches nothing; if it is a detection, it does not count.

    Args:
        truths: N outlines (K, 2), in pixels.
        ignore: N flags.
        detections: M outlines (K, 2), in pixels.
    """
    shared = overlaps(truths, detections, valid_only)
    true_areas = np.array([valid_only(polygon).area for polygon in truths])
    areas = np.array([valid_only(polygon).area for polygon in detections])
    iou = ratio(shared, true_areas[:, None] + areas - shared)
    ignored = areas == 0
    hits: dict[int, int] = {}
    for index in np.flatnonzero(~ignored):
        best = int(iou[:, index].argmax()) if len(truths) else 0
        if not len(truths) or iou[best, index] <= MIN_IOU:
            continue
        if ignore[best]:
            ignored[index] = True
        else:
            hits.setdefault(best, int(index))
    num_truths = sum(not skip for skip in ignore)
    score = Score(len(hits), num_truths, len(hits), int((~ignored).sum()))
    return ImageScore(score, tuple(sorted(hits)), tuple(sorted(hits.values())), _indices(ignored))


def _indices(flags: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(flags).tolist())


Protocol = Callable[[Sequence[Polygon], Sequence[bool], Sequence[Polygon]], ImageScore]

PROTOCOLS: dict[str, Protocol] = {
    "icdar2015": score_icdar2015,
    "totaltext": score_totaltext,
    "ctw1500": score_ctw1500,
    "deteval": score_deteval,
}
"""Protocols by the names that `dbnet eval --protocol` takes."""

CURVED = ("totaltext", "ctw1500")
"""Protocols of data sets with curved text, which is found as polygons."""

PROTOCOL_OF = {"totaltext": "totaltext", "ctw1500": "ctw1500", "icdar2013": "deteval"}
"""Protocol by the format of a data set; every other format is scored as ICDAR 2015."""
