# SPDX-License-Identifier: Apache-2.0
"""State of a training run, in memory and on disk."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..card import ModelCard
from ..errors import EngineError
from ..files import write_atomically
from ..network.checkpoints import Network


@dataclass(slots=True)
class TrainingState:
    """Everything that a resumed run needs to give the result of an uninterrupted one.

    The position in the data is not stored: crops depend on the step alone.
    """

    model: Network
    """Model being trained."""

    average: Network
    """Exponential moving average of the model."""

    optimizer: torch.optim.Optimizer
    """Optimizer of the model."""

    scaler: torch.amp.GradScaler
    """Gradient scaler; disabled unless the precision is fp16."""

    step: int = 0
    """Number of steps done."""

    skipped: int = 0
    """Number of steps skipped because the loss or the gradient was not finite."""

    skipped_in_row: int = 0
    """Number of skipped steps since the last one that was not skipped."""

    best_f: float = -1.0
    """Best F on the validation data so far; -1 before the first validation."""

    card: ModelCard = field(default_factory=lambda: ModelCard(""))
    """Card of the initial model, on which that of the trained model is based."""

    judged_by: str = ""
    """Validation data and card fields that `best_f` belongs to, as JSON; on others it is void."""

    metadata: dict[str, str] = field(default_factory=dict)
    """Settings that must not change during the run: JSON values by field name."""


def save_state(path: Path, state: TrainingState) -> None:
    """Write the state to a file, atomically.

    Raises:
        OSError: The file cannot be written.
    """
    content = {
        "model": state.model.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "step": state.step,
        "skipped": state.skipped,
        "skipped_in_row": state.skipped_in_row,
        "best_f": state.best_f,
        "judged_by": state.judged_by,
        "card": state.card.to_json(),
        "metadata": state.metadata,
        "torch_rng": torch.get_rng_state(),
    }
    buffer = io.BytesIO()  # torch.save to a full disk would not report it
    torch.save(content, buffer)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def restore_state(path: Path, state: TrainingState) -> None:
    """Load a file that `save_state` wrote into a state of the same configuration.

    Args:
        path: File that `save_state` wrote.
        state: State to overwrite.

    Raises:
        EngineError: The file is damaged, is from a run with another configuration, or has weights
            of a network of other layers.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        changes = _changes(content["metadata"], state.metadata)
    except Exception as error:  # torch and pickle raise many types
        raise EngineError(
            f"{path} is damaged, or is not the state of a run ({type(error).__name__}); remove it "
            "to start again, perhaps with --init and a copy of the last.safetensors beside it"
        ) from error
    if changes:
        raise EngineError(
            f"{path} is from a run with {'; '.join(changes)}; choose the configuration of that "
            "run, or another output folder, with --init and this one's last.safetensors to train on"
        )
    try:
        state.model.load_state_dict(content["model"])
        state.average.load_state_dict(content["average"])
    except RuntimeError as error:
        raise EngineError(
            f"{path} is of a network of other layers than last.safetensors beside it, which is "
            "missing or of another run; put that back, or choose another output folder"
        ) from error
    state.optimizer.load_state_dict(content["optimizer"])
    state.scaler.load_state_dict(content["scaler"])
    state.step = content["step"]
    state.skipped = content["skipped"]
    state.skipped_in_row = content["skipped_in_row"]
    if content.get("judged_by", state.judged_by) == state.judged_by:
        state.best_f = content["best_f"]
    if "card" in content:  # not in states of earlier versions
        state.card = ModelCard.from_json(content["card"])
    torch.set_rng_state(content["torch_rng"])


def _changes(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """Describe the settings that differ; fields absent from one of the two are not compared."""
    pairs: list[tuple[str, Any, Any]] = []
    for key in was.keys() & now.keys():
        old, new = json.loads(was[key]), json.loads(now[key])
        if isinstance(old, dict) and isinstance(new, dict):
            pairs += [(f"{key}.{name}", old.get(name), new[name]) for name in new]
        else:
            pairs.append((key, old, new))
    return [
        f"{name} = {json.dumps(old)}, this one has {json.dumps(new)}"
        for name, old, new in sorted(pairs)
        if old != new
    ]


def copy_for_average(model: Network) -> Network:
    """Copy a model to hold the moving average: in evaluation mode, without gradients."""
    average = copy.deepcopy(model).eval()
    return average.requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move every floating-point tensor of `average` towards `model`; copy the others.

    Args:
        average: Model to change.
        model: Model that is being trained.
        decay: Share of the old average that stays, in [0, 1).
    """
    own = average.state_dict()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            own[name].lerp_(value, 1 - decay)
        else:
            own[name].copy_(value)
