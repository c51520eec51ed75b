# SPDX-License-Identifier: Apache-2.0
"""Training of a network until its map is that of another one, on crops of photos without labels.

A network in fp32 teaches its own quantized copy: distillation within quantization-aware training,
in which the scales stay as they were calibrated. The recipes teach networks with other layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    from torch import Tensor

CROP = 416
"""Height and width of a crop in pixels, a multiple of 32."""

ZOOM = (0.65, 1.35)
"""Smallest and largest short side of a photo that is cropped, as factors of the card's."""

WARMUP = 20
"""Steps in which the learning rate rises."""

CLIP_NORM = 0.1
"""Largest norm of the gradient."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """Settings of a distillation."""

    num_steps: int

    batch_size: int = 3
    """Crops of a step."""

    learning_rate: float = 1e-4
    """Highest rate of Adam; it rises over `WARMUP` steps and falls as a cosine."""

    quarter_turn_prob: float = 0.0
    """Probability that the student gets a crop turned by 90, 180 or 270 degrees, with the map that
    the teacher gives for the upright one, turned likewise."""

    seed: int = 0
    """Seed of the crops and turns."""


def distill(
    student: onnx.ModelProto,
    teacher: onnx.ModelProto,
    network: OnnxNetwork,
    photos: Sequence[Sample],
    distillation: Distillation,
    progress: Progress,
) -> onnx.ModelProto:
    """Train a graph's weights on the map of another graph.

    Args:
        student: Graph to train, as a quantized one with Q/DQ nodes, whose int8 weights have zero
            points of 0.
        teacher: Graph that gives the map, as the one in fp32 that it was made from.
        network: Network of these graphs: its card, and the names of input and output.
        photos: Photos like those to be detected; labels are not used.
        distillation: Its settings.
        progress: Called with (phase, steps done, number of steps).

    Returns:
        The student with other weights.

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

    config, num_steps = ModelConfig(db=False), distillation.num_steps
    teaching = OnnxDBNet(teacher, config, network.output_name).eval()
    learning = OnnxDBNet(student, config, network.output_name).eval()
    weights = list(learning.parameters())
    optimizer = torch.optim.Adam(weights, distillation.learning_rate)
    crops = draw_crops(photos, network, distillation.seed)
    turns = _draw_turns(distillation)
    for step in range(num_steps):
        progress("distilling", step, num_steps)
        for group in optimizer.param_groups:
            group["lr"] = distillation.learning_rate * _rate(step, num_steps)
        drawn = [next(crops) for _ in range(distillation.batch_size)]
        batch = torch.from_numpy(np.concatenate(drawn))
        with torch.no_grad():
            expected = teaching(batch).sigmoid()
        numbers = [next(turns) for _ in drawn]
        given, expected = _turn(batch, numbers), _turn(expected, numbers)
        loss = functional.binary_cross_entropy_with_logits(learning(given), expected)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP_NORM)
        optimizer.step()
    progress("distilling", num_steps, num_steps)
    return learning.to_onnx()


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


def _draw_turns(distillation: Distillation) -> Iterator[int]:
    """Draw numbers of quarter turns, without end."""
    rng = np.random.default_rng(1 + distillation.seed)
    while True:
        is_turned = rng.random() < distillation.quarter_turn_prob
        yield int(rng.integers(1, 4)) if is_turned else 0


def _turn(images: Tensor, numbers: Sequence[int]) -> Tensor:
    """Turn (B, ..., h, h) squares, each by its number of quarter turns."""
    import torch

    turned = [torch.rot90(*each, (-2, -1)) for each in zip(images, numbers, strict=True)]
    return torch.stack(turned)


def draw_crops(
    photos: Sequence[Sample], network: OnnxNetwork, seed: int = 0
) -> Iterator[NDArray[np.float32]]:
    """Draw crops at random sizes and places, each (1, 3, CROP, CROP) float32, without end."""
    rng, card = np.random.default_rng(seed), network.card
    while True:
        image = load_photo(photos[int(rng.integers(len(photos)))])
        short = min(image.shape[:2])
        side = round(CROP * short / (card.short_side * rng.uniform(*ZOOM)))
        side = min(short, max(1, side))
        y, x = (rng.integers(length - side + 1) for length in image.shape[:2])
        plan = ResizePlan((side, side), (CROP, CROP), (CROP, CROP))
        yield network_input(np.ascontiguousarray(image[y : y + side, x : x + side]), card, plan)
