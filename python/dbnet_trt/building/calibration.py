# SPDX-License-Identifier: Apache-2.0
"""Photos that quantization is calibrated on: a folder of images, or a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..data.open import read_photos
from ..data.samples import Sample, load_sample_image
from ..evaluation.evaluate import stretched
from ..images.load import Image
from ..pipeline.preprocess import preprocess
from ..settings import ResizePlan

logger = logging.getLogger("dbnet_trt")

MAX_IMAGES = 256
"""Maximum number of calibration images of an engine; they are spread evenly over what is given."""


def spread(photos: Sequence[Sample], limit: int) -> Sequence[Sample]:
    """Take at most `limit` photos, spread evenly over those given."""
    return photos[:: max(1, -(-len(photos) // limit))]


def load_photo(sample: Sample) -> Image:
    """Load a photo as (H, W, 3) uint8 BGR, in its original aspect ratio.

    Raises:
        ImageError: The file is missing or damaged.
    """
    return stretched(load_sample_image(sample), sample.stretch)


def network_input(
    image: Image, card: ModelCard, plan: ResizePlan, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Resize and normalise an image for a network: (1, 3, h, w) float32.

    Args:
        image: (H, W, 3) uint8 BGR.
        card: Card of the network.
        plan: Sizes of the image before and after resizing.
        out: (3, h, w) float32 of zeros to fill, of the plan's padded size; made if left out.
    """
    out = np.zeros((3, *plan.padded), np.float32) if out is None else out
    preprocess(image, plan, card.normalization, out)
    return out[None]


def load_calibration(name: str, card: ModelCard, size: tuple[int, int]) -> NDArray[np.float32]:
    """Load calibration images, normalised for a network of one size.

    Args:
        name: Folder of images, searched with its subfolders, or a data set as FORMAT:PATH.
        card: Card of the network.
        size: (height, width) in pixels; each image is scaled to fit into it, and padded.

    Returns:
        (N, 3, height, width) float32.

    Raises:
        ImageError: The folder has no image, or one is broken.
        ValueError: There is no such folder or data set.
    """
    photos = spread(read_photos(name), MAX_IMAGES)
    images = np.zeros((len(photos), 3, *size), np.float32)
    for photo, row in zip(photos, images, strict=True):
        image = load_photo(photo)
        factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
        height, width = (max(1, int(side * factor)) for side in image.shape[:2])
        network_input(image, card, ResizePlan(image.shape[:2], (height, width), size), row)
    logger.info("calibrating on %d images of %s", len(photos), name)
    return images
