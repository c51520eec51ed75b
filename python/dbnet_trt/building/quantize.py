# SPDX-License-Identifier: Apache-2.0
"""Quantization to int8 and fp8 with NVIDIA's Model Optimizer, calibrated on images."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..errors import BuildError
from ..images.load import find_sources, load_image
from ..images.video import is_video
from ..pipeline.preprocess import preprocess
from ..settings import ResizePlan
from .lowering import OnnxNetwork, halve_edges

logger = logging.getLogger("dbnet_trt")

MAX_IMAGES = 256
"""Maximum number of calibration images; they are spread evenly over the folder."""


def quantize(network: OnnxNetwork, precision: str, images: NDArray[np.float32]) -> OnnxNetwork:
    """Insert quantization nodes into a network in fp32; the rest is converted to fp16.

    Args:
        network: Network in fp32, with logits as output; it is not changed.
        precision: Precision of convolutions and matrix products: "int8" or "fp8".
        images: (N, 3, h, w) float32, normalised as the network's card says.

    Raises:
        BuildError: Model Optimizer is not installed, or cannot quantize the network.
    """
    try:
        from modelopt.onnx.quantization import quantize as insert_nodes
    except ImportError as error:
        raise BuildError(
            f"{precision} needs NVIDIA's Model Optimizer ({error}); "
            "pip install 'dbnet-trt[quantize]'"
        ) from error
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.onnx", Path(folder) / "quantized.onnx"
        onnx.save(network.model, source)
        try:
            insert_nodes(
                str(source),
                quantize_mode=precision,
                calibration_data={network.input_name: images},
                calibration_eps=["cpu"],
                output_path=str(target),
                high_precision_dtype="fp16",
                log_level="ERROR",
            )
            model = onnx.load(target)
        except Exception as error:  # Model Optimizer raises many types
            raise BuildError(
                f"Model Optimizer cannot quantize the network: {error}; build with --precision fp16"
            ) from error
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise BuildError(
            f"Model Optimizer finds nothing to compute in {precision} in this network; build with "
            "--precision fp16"
        )
    halve_edges(model, network.input_name, network.output_name)
    return dataclasses.replace(network, model=model)


def load_calibration(folder: Path, card: ModelCard, size: tuple[int, int]) -> NDArray[np.float32]:
    """Load the images of a folder, normalised for a network.

    Args:
        folder: Folder; its subfolders are searched as well.
        card: Card of the network.
        size: (height, width) in pixels; each image is scaled to fit into it, and padded.

    Returns:
        (N, 3, height, width) float32.

    Raises:
        ImageError: The folder has no image, or one is broken.
    """
    sources = [name for name in find_sources([str(folder)]) if not is_video(name)]
    step = max(1, -(-len(sources) // MAX_IMAGES))
    chosen = sources[::step]
    images = np.zeros((len(chosen), 3, *size), np.float32)
    for name, row in zip(chosen, images, strict=True):
        image = load_image(name)
        factor = min(size[0] / image.shape[0], size[1] / image.shape[1])
        height, width = (max(1, int(side * factor)) for side in image.shape[:2])
        preprocess(
            image, ResizePlan(image.shape[:2], (height, width), size), card.normalization, row
        )
    logger.info("calibrating on %d images of %s", len(chosen), folder)
    return images
