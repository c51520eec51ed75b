# SPDX-License-Identifier: Apache-2.0
"""Types of the compiled core. The module is a table of names; what they do stands in csrc/*.hpp."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def cuda_available() -> bool: ...
def preprocess(
    image: NDArray[np.uint8],
    resized: tuple[int, int],
    out: NDArray[np.float32],
    scale: Sequence[float],
    bias: Sequence[float],
    swap_red_blue: bool = False,
) -> None:
    """Resize a (H, W, 3) uint8 image, normalise and pad it into out (3, h, w) float32.

    out[c, y, x] = resized_image[y, x, c'] * scale[c] + bias[c] for y, x inside `resized`
    (height, width), and 0 outside; c' is 2 - c with swap_red_blue. The resize is bit-exact with
    OpenCV's INTER_LINEAR. Releases the GIL.
    """

class PostprocessParams:
    binary_threshold: float
    score_threshold: float
    unclip_ratio: float
    max_candidates: int
    min_side: float
    logits: bool
    def __init__(
        self,
        binary_threshold: float = 0.3,
        score_threshold: float = 0.6,
        unclip_ratio: float = 1.5,
        max_candidates: int = 1000,
        min_side: float = 3.0,
        logits: bool = False,
    ) -> None: ...

def postprocess(
    maps: NDArray[np.float32],
    params: PostprocessParams,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(B, h, w) float32 maps -> for each, quads (N, 4, 2) in map pixels and scores (N,).

    Only the top left (height, width) of each map that `sizes` tells is looked at. Best score
    first; ties in raster order of the component's first pixel. Releases the GIL.
    """

def label_components(
    map: NDArray[np.float32], binary_threshold: float, logits: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """8-connected components of the pixels above the threshold of a (h, w) float32 map.

    Returns labels (h, w) int32, 0 = background, 1.. in raster order of each component's first
    pixel; and boxes (N, 4) int32, x_min, y_min, x_max, y_max, the last pixels included.
    """

def draw_targets(
    polygons: Sequence[NDArray[np.float64]],
    ignore: Sequence[bool],
    size: tuple[int, int],
    shrink_ratio: float,
    thresh_min: float,
    thresh_max: float,
    border_px: float,
) -> NDArray[np.float32]:
    """Label maps of N outlines (K, 2) in pixels: (4, height, width) float32.

    They are shrink_map, shrink_mask, thresh_map and thresh_mask. Releases the GIL.
    """
