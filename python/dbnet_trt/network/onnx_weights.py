# SPDX-License-Identifier: Apache-2.0
"""The way back from an exported model: weights that training can go on with."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from ..errors import EngineError
from .dcn import DeformableConv2d


def is_exported(path: Path) -> bool:
    """Whether a file is an exported model rather than a checkpoint, by its name."""
    return path.suffix.lower() == ".onnx"


def read_exported(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights in an ONNX file of ours, as a state dict for a model of the same shape.

    Each normalisation gets the bias that it became when it was folded into its convolution. In
    evaluation the network is what was exported; `rebase_norms` makes it so in training, too.

    Raises:
        OSError: The file cannot be read.
        DecodeError: It is no ONNX file.
        EngineError: The model has deformable convolutions, which are exported as something else.
    """
    if any(isinstance(module, DeformableConv2d) for module in model.modules()):
        raise EngineError(
            f"deformable convolutions do not come back from an exported model ({path}); give the "
            ".safetensors file that it was exported from, or train without them"
        )
    state = {
        tensor.name.removeprefix("model."): torch.from_numpy(
            numpy_helper.to_array(tensor).astype(np.float32)
        )
        for tensor in onnx.load(path).graph.initializer
        if not tensor.name.startswith("/")  # constants of the graph
    }
    for conv, norm in folded_pairs(model):
        bias = state.pop(f"{conv}.bias", None)
        if bias is None:
            continue
        layer = model.get_submodule(norm)
        assert isinstance(layer, nn.BatchNorm2d)
        ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
        state |= {
            f"{norm}.weight": ones,
            f"{norm}.bias": bias,
            f"{norm}.running_mean": zeros,
            f"{norm}.running_var": ones - layer.eps,
            f"{norm}.num_batches_tracked": torch.tensor(0),
        }
        if f"{conv}.bias" in model.state_dict():
            state[f"{conv}.bias"] = zeros
    return state


def folded_pairs(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of each convolution and of the batch normalisation after it, which export folds in."""
    for prefix, parent in model.named_modules():
        for (name, conv), (following, norm) in itertools.pairwise(parent.named_children()):
            if isinstance(norm, nn.BatchNorm2d) and isinstance(
                conv, nn.Conv2d | nn.ConvTranspose2d
            ):
                start = f"{prefix}." if prefix else ""
                yield start + name, start + following


@torch.no_grad()
def rebase_norms(model: nn.Module, images: Tensor) -> None:
    """Give each batch normalisation the statistics of these images; evaluation stays as it is.

    Folding loses the statistics. Any will do in evaluation, but in training a normalisation takes
    those of the batch, and weight and bias have to suit them.

    Args:
        model: In evaluation mode.
        images: (B, 3, h, w) float32, normalised, on the model's device.
    """

    def rebase(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        slope = norm.weight / (norm.running_var + norm.eps).sqrt()
        norm.bias.add_(slope * (mean - norm.running_mean))
        norm.weight.copy_(slope * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(rebase) for norm in norms]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
