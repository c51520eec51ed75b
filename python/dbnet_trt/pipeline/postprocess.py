# SPDX-License-Identifier: Apache-2.0
"""Find outlines of text in the network's probability map.

Threshold, 8-connected components, minimum-area rectangle of each, mean probability inside it (the
score), unclip, filters. The compiled core does this; `polygons` follows curved text, and
`reference` does the same as the core with OpenCV and pyclipper, for tests and benchmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..detections import Detections
from ..settings import PostprocessParams, ResizePlan
from .polygons import MIN_SIDE_PX, FloatArray, find_polygons, to_probability


def core_params(params: PostprocessParams, logits: bool) -> _core.PostprocessParams:
    """Return the core's parameters for maps that hold logits, or probabilities."""
    return _core.PostprocessParams(
        binary_threshold=params.binary_threshold,
        score_threshold=params.score_threshold,
        unclip_ratio=params.unclip_ratio,
        max_candidates=int(params.max_candidates),
        min_side=MIN_SIDE_PX,
        logits=logits,
    )


def postprocess(
    maps: FloatArray,
    plans: Sequence[ResizePlan],
    params: PostprocessParams,
    *,
    logits: bool,
    first_pixels: NDArray[np.uint32] | None = None,
) -> list[Detections]:
    """Find the text in a batch of maps.

    Args:
        maps: (B, h, w) float32, probabilities, or logits if `logits`.
        plans: B sizes. Only the part of a map that shows the image, `resized`, is looked at; the
            outlines are scaled from it to `image` and clipped.
        params: Thresholds and ratios.
        logits: The maps hold logits.
        first_pixels: (B, h, w) uint32, components that the GPU found, for polygons: 1 + the first
            pixel of each, counted y * w + x; 0 elsewhere.

    Returns:
        B results, each best score first, in pixels of its image.
    """
    if params.polygons:
        components = [None] * len(maps) if first_pixels is None else list(first_pixels)
        found = [
            find_polygons(values[: plan.resized[0], : plan.resized[1]], params, logits, firsts)
            for values, plan, firsts in zip(maps, plans, components, strict=True)
        ]
        return [
            Detections(
                _to_image(quads, plan),
                scores,
                tuple(_to_image(polygon, plan) for polygon in outlines),
            )
            for (quads, scores, outlines), plan in zip(found, plans, strict=True)
        ]
    results = _core.postprocess(
        maps,
        core_params(params, logits),
        [plan.resized for plan in plans],
        [plan.image for plan in plans],
    )
    return [Detections(quads, scores) for quads, scores in results]


def with_maps(
    found: list[Detections], maps: FloatArray, plans: Sequence[ResizePlan], logits: bool
) -> list[Detections]:
    """Detections with a copy of the part of (B, h, w) maps that shows each image."""
    return [
        dataclasses.replace(
            each, prob_map=to_probability(values[: plan.resized[0], : plan.resized[1]], logits)
        )
        for each, values, plan in zip(found, maps, plans, strict=True)
    ]


def _to_image(points: FloatArray, plan: ResizePlan) -> FloatArray:
    """(..., 2) float32 points of the map, in place, to pixels of the image, clipped to it."""
    height, width = plan.image
    resized_height, resized_width = plan.resized
    points *= np.array([width / resized_width, height / resized_height], np.float32)
    np.maximum(points, 0, out=points)
    return np.minimum(points, np.array([width - 1, height - 1], np.float32), out=points)
