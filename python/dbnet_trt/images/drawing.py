# SPDX-License-Identifier: Apache-2.0
"""Drawing of outlines and their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

OUTLINE_COLOR = (60, 200, 40)  # BGR: green, visible on most photos

RIM_COLOR = (255, 255, 255)

TRACK_COLORS = (
    *((60, 200, 40), (230, 120, 30), (40, 60, 230), (200, 60, 200)),
    *((200, 190, 20), (20, 160, 250), (150, 60, 110), (90, 140, 20)),
)
"""BGR colours of tracks, in turn."""


def draw_outlines(
    canvas: NDArray[np.uint8],
    outlines: Sequence[NDArray[np.float32]],
    track_ids: NDArray[np.int64] | None = None,
) -> None:
    """Draw outlines into an image, each track in a colour of its own.

    Args:
        canvas: (H, W, 3) uint8 BGR, changed in place.
        outlines: N outlines (K, 2), (x, y) in pixels.
        track_ids: (N,) int64, numbers of tracks; None draws all in one colour.
    """
    import cv2

    thickness = max(1, round(max(canvas.shape[:2]) / 500))
    points = [np.rint(outline).astype(np.int32) for outline in outlines]
    if track_ids is None:
        cv2.polylines(canvas, points, True, OUTLINE_COLOR, thickness, cv2.LINE_AA)
        return
    for each, number in zip(points, track_ids.tolist(), strict=True):
        cv2.polylines(canvas, [each], True, _color(number), thickness, cv2.LINE_AA)


def draw_numbers(
    canvas: NDArray[np.uint8], quads: NDArray[np.float32], track_ids: NDArray[np.int64]
) -> None:
    """Write the numbers of tracks below their outlines.

    Args:
        canvas: (H, W, 3) uint8 BGR, changed in place.
        quads: (N, 4, 2) float32, corners (x, y) in pixels.
        track_ids: (N,) int64.
    """
    import cv2

    font, height = cv2.FONT_HERSHEY_SIMPLEX, max(9.0, canvas.shape[0] / 60)
    scale, thickness = height / 22, max(1, round(height / 12))  # its digits are 22 pixels tall
    for quad, number in zip(quads, track_ids.tolist(), strict=True):
        x = int(quad[:, 0].min())
        y = int(min(quad[:, 1].max() + 1.3 * height, canvas.shape[0] - 2))
        for color, width in ((RIM_COLOR, 3 * thickness), (_color(number), thickness)):
            cv2.putText(canvas, f"#{number}", (x, y), font, scale, color, width, cv2.LINE_AA)


def _color(number: int) -> tuple[int, int, int]:
    return TRACK_COLORS[number % len(TRACK_COLORS)]
