# SPDX-License-Identifier: Apache-2.0
"""Warn of images that the network sees at a scale at which text is lost."""

from __future__ import annotations

import logging

from ..settings import MAX_ENLARGEMENT, MAX_REDUCTION, ResizePlan, SizePolicy

logger = logging.getLogger("dbnet_trt")

LEGIBLE_PX = 8
"""Height of text in the network, in pixels, below which it is often missed."""


class ScaleWarning:
    """Warns once of an image that is shrunk far, and once of one whose enlarging is bounded."""

    def __init__(self) -> None:
        self._is_told = {"shrunk": False, "enlarged": False}

    def check(self, plan: ResizePlan, size: SizePolicy) -> None:
        """Look at the sizes of one image."""
        reduction = max(plan.image) / max(plan.resized)
        if reduction > MAX_REDUCTION:
            self._tell("shrunk", _describe_shrunk(plan, reduction))
        elif size.bounds_enlargement(*plan.image):
            self._tell("enlarged", _describe_enlarged(plan, size))

    def _tell(self, what: str, message: str) -> None:
        if not self._is_told[what]:
            self._is_told[what] = True
            logger.warning("%s (said once per detector)", message)


def _describe_shrunk(plan: ResizePlan, reduction: float) -> str:
    (height, width), (rows, columns) = plan.image, plan.resized
    short_side = round(min(plan.image) / MAX_REDUCTION)
    return (
        f"an image of {width}x{height} pixels is shrunk {reduction:.1f} times, to "
        f"{columns}x{rows}: text less than about {LEGIBLE_PX * reduction:.0f} pixels high may be "
        f'missed; tiles="on" (--tiles on) finds it, or a larger size, '
        f"SizePolicy(short_side={short_side}, long_side_limit=...) or --short-side {short_side}"
    )


def _describe_enlarged(plan: ResizePlan, size: SizePolicy) -> str:
    (height, width), (rows, columns) = plan.image, plan.resized
    return (
        f"an image of {width}x{height} pixels is enlarged {MAX_ENLARGEMENT} times only, to "
        f"{columns}x{rows}, and not to a short side of {size.short_side}: more breaks text into "
        "parts; give the image from which it was cut, or a smaller short_side (--short-side)"
    )
