# SPDX-License-Identifier: Apache-2.0
"""Recover trainable weights from an exported ONNX file."""

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
    """Tell by its suffix whether a file is an exported model rather than a checkpoint."""
    return path.suffix.lower() == ".onnx"


def read_exported(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """Read the weights of an ONNX file of our export as a state dict.

    The export folded each batch normalisation into its convolution; here it gets the bias that
    resulted. The model then equals the exported one in evaluation; `rebase_norms` makes the
    training mode agree.

    Args:
        path: ONNX file.
        model: Model with the same layers; it is not changed.

    Returns:
        Tensors by name; names that are absent were not in the file.

    Raises:
        OSError: The file cannot be read.
        DecodeError: The file is not an ONNX file.
        EngineError: The model has deformable convolutions, which are exported in another form.
    """
    if any(isinstance(module, DeformableConv2d) for module in model.modules()):
        raise EngineError(
            "deformable convolutions cannot be recovered from an exported model "
            f"({path}); use the .safetensors file that it was exported from, or train without them"
        )
    state = {
        tensor.name.removeprefix("model."): torch.from_numpy(
            numpy_helper.to_array(tensor).astype(np.float32)
        )
        for tensor in onnx.load(path).graph.initializer
        if not tensor.name.startswith("/")  # those are constants of the graph
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
    """List each convolution and the batch normalisation after it, which export folds into it.

    Yields:
        Names of the convolution and of the normalisation.
    """
    for prefix, parent in model.named_modules():
        for (name, conv), (following, norm) in itertools.pairwise(parent.named_children()):
            if isinstance(norm, nn.BatchNorm2d) and isinstance(
                conv, nn.Conv2d | nn.ConvTranspose2d
            ):
                start = f"{prefix}." if prefix else ""
                yield start + name, start + following


@torch.no_grad()
def rebase_norms(model: nn.Module, images: Tensor) -> None:
    """Set the statistics of each batch normalisation from images, and keep the model's results.

    Folding loses the statistics. In evaluation any will do, if weight and bias match them; but in
    training a normalisation uses those of the batch, so weight and bias must match real ones.

    Args:
        model: Model in evaluation mode; it is changed.
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
