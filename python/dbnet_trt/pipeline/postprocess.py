# SPDX-License-Identifier: Apache-2.0
"""Outlines of text from the network's probability map.

The steps are: threshold, 8-connected components, the minimum-area rectangle of each, its score (the
mean probability inside it), unclip, filters. The compiled core does them; `polygons` follows curved
text; `reference` does the core's work with OpenCV and pyclipper, for tests and benchmarks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..detections import Detections
from ..errors import EngineError
from ..settings import PostprocessParams, ResizePlan
from .polygons import MIN_SIDE_PX, FloatArray, find_polygons, to_probability


def core_params(params: PostprocessParams, logits: bool) -> _core.PostprocessParams:
    """Convert parameters for the compiled core.

    Args:
        params: Thresholds and ratios.
        logits: Whether the maps hold logits rather than probabilities.
    """
    return _core.PostprocessParams(
        binary_threshold=params.binary_threshold,
        score_threshold=params.score_threshold,
        unclip_ratio=params.unclip_ratio,
        max_candidates=int(params.max_candidates),
        min_side=MIN_SIDE_PX,
        logits=logits,
    )


def postprocess(
    maps: FloatArray | NDArray[np.uint8],
    plans: Sequence[ResizePlan],
    params: PostprocessParams,
    *,
    logits: bool,
    first_pixels: NDArray[np.uint32] | None = None,
) -> list[Detections]:
    """Find the text in a batch of maps.

    Args:
        maps: (B, h, w) float32, probabilities, or logits if `logits`; or uint8, probabilities
            times 255.
        plans: B plans. The part of a map that shows the image, of size `resized`, is searched; the
            outlines are scaled from it to size `image` and clipped.
        params: Thresholds and ratios.
        logits: Whether the maps hold logits.
        first_pixels: (B, h, w) uint32, components found on the GPU, for polygons: 1 + the first
            pixel of each, counted y * w + x; 0 elsewhere. None finds them here.

    Returns:
        B results, the best score first, in pixels of the image.

    Raises:
        ValueError: The maps have another shape than the plans say.
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


def check_maps(maps: FloatArray, name: str, logits: bool) -> None:
    """Check that a network's maps hold numbers, of the kind that its card tells.

    Args:
        maps: (B, h, w) float, probabilities or logits.
        name: The model's.
        logits: Whether the card says that they are logits.

    Raises:
        EngineError: A value is NaN, which no threshold finds: the image would have no text. Or
            they are logits where probabilities are expected, or the other way round.
    """
    lowest = maps.min()  # NaN if a value is
    if np.isnan(lowest):
        raise EngineError(
            f'"{name}" gave NaN (not a number): its weights are damaged, its card has a wrong '
            "scale, mean or std, or its arithmetic overflows; try fp32, or another file or card"
        )
    if not logits and lowest < -1:
        raise EngineError(
            f'"{name}" gave {lowest:.1f}, and its card says that it gives probabilities: it lacks '
            'the sigmoid; give a card with output="logit" (or its weights are damaged)'
        )
    # A background is next to 0 in probabilities; untrained networks give logits anywhere.
    if logits and 0 <= lowest < 0.01 and lowest < (highest := maps.max()) <= 1:
        raise EngineError(
            f'"{name}" gave values from {lowest:.2f} to {highest:.2f} alone, and its card says '
            "that it gives logits: it has a sigmoid of its own; give a card with "
            'output="probability"'
        )


def with_maps(
    found: list[Detections], maps: FloatArray, plans: Sequence[ResizePlan], logits: bool
) -> list[Detections]:
    """Add to each result a copy of the part of its map that shows the image.

    Args:
        found: B results.
        maps: (B, h, w) float32, probabilities, or logits if `logits`.
        plans: B plans.
        logits: Whether the maps hold logits.
    """
    return [
        dataclasses.replace(
            each, prob_map=to_probability(values[: plan.resized[0], : plan.resized[1]], logits)
        )
        for each, values, plan in zip(found, maps, plans, strict=True)
    ]


def _to_image(points: FloatArray, plan: ResizePlan) -> FloatArray:
    """Scale (..., 2) float32 points from the map to the image, in place, and clip them to it."""
    height, width = plan.image
    resized_height, resized_width = plan.resized
    points *= np.array([width / resized_width, height / resized_height], np.float32)
    np.maximum(points, 0, out=points)
    return np.minimum(points, np.array([width - 1, height - 1], np.float32), out=points)
