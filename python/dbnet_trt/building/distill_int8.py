# SPDX-License-Identifier: Apache-2.0
"""Training of a quantized network until its map is that of the network in fp32.

The network in fp32 teaches its own copy with Q/DQ nodes, on crops of photos: distillation within
quantization-aware training. No labels are needed. The scales stay as they were calibrated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..data.samples import Sample
from ..errors import BuildError
from ..extras import install_hint
from ..settings import ResizePlan
from .calibration import load_photo, network_input
from .compile import Progress
from .lowering import OnnxNetwork

if TYPE_CHECKING:
    import onnx

BATCH_SIZE = 3
"""Crops of a step."""

CROP = 416
"""Height and width of a crop in pixels, a multiple of 32."""

ZOOM = (0.65, 1.35)
"""Smallest and largest short side of a photo that is cropped, as factors of the card's."""

LEARNING_RATE = 1e-4
"""Initial rate of Adam; it rises over `WARMUP` steps and falls as a cosine."""

WARMUP = 20
"""Steps in which the learning rate rises."""

CLIP_NORM = 0.1
"""Largest norm of the gradient."""


def distill(
    quantized: onnx.ModelProto,
    fp32: onnx.ModelProto,
    network: OnnxNetwork,
    photos: Sequence[Sample],
    num_steps: int,
    progress: Progress,
) -> onnx.ModelProto:
    """Train a quantized graph's weights on the map of the graph that it was made from.

    Args:
        quantized: Graph with Q/DQ nodes, whose int8 weights have zero points of 0.
        fp32: Graph that it was made from.
        network: Network of these graphs: its card, and the names of input and output.
        photos: Photos like those to be detected; labels are not used.
        num_steps: Number of steps of `BATCH_SIZE` crops.
        progress: Called with (phase, steps done, number of steps).

    Returns:
        The quantized graph with other weights.

    Raises:
        BuildError: PyTorch is missing.
        EngineError: The graph has an operation that cannot be trained.
        ImageError: A photo is missing or damaged.
    """
    require_torch()
    import torch
    from torch.nn import functional

    from ..network.config import ModelConfig
    from ..network.onnx_dbnet import OnnxDBNet

    config = ModelConfig(db=False)
    teacher = OnnxDBNet(fp32, config, network.output_name).eval()
    student = OnnxDBNet(quantized, config, network.output_name).eval()
    weights = list(student.parameters())
    optimizer = torch.optim.Adam(weights, LEARNING_RATE)
    crops = draw_crops(photos, network)
    for step in range(num_steps):
        progress("distilling", step, num_steps)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _rate(step, num_steps)
        batch = torch.from_numpy(np.concatenate([next(crops) for _ in range(BATCH_SIZE)]))
        with torch.no_grad():
            expected = teacher(batch).sigmoid()
        loss = functional.binary_cross_entropy_with_logits(student(batch), expected)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM)
        optimizer.step()
    progress("distilling", num_steps, num_steps)
    return student.to_onnx()


def require_torch() -> None:
    """Check that PyTorch is there.

    Raises:
        BuildError: It is not.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise BuildError(
            f"--distill-steps needs PyTorch ({error}); {install_hint('torch')}"
        ) from error


def _rate(step: int, num_steps: int) -> float:
    """Factor of the learning rate: up, then down to 0."""
    return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / num_steps))


def draw_crops(photos: Sequence[Sample], network: OnnxNetwork) -> Iterator[NDArray[np.float32]]:
    """Draw crops at random sizes and places, each (1, 3, CROP, CROP) float32, without end."""
    rng, card = np.random.default_rng(0), network.card
    while True:
        image = load_photo(photos[int(rng.integers(len(photos)))])
        short = min(image.shape[:2])
        side = round(CROP * short / (card.short_side * rng.uniform(*ZOOM)))
        side = min(short, max(1, side))
        y, x = (rng.integers(length - side + 1) for length in image.shape[:2])
        plan = ResizePlan((side, side), (CROP, CROP), (CROP, CROP))
        yield network_input(np.ascontiguousarray(image[y : y + side, x : x + side]), card, plan)
