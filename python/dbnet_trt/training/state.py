# SPDX-License-Identifier: Apache-2.0
"""What training carries from step to step, and how it is kept on disk."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import EngineError
from ..files import write_atomically
from ..network.dbnet import DBNet


@dataclass(slots=True)
class TrainingState:
    """Everything that a resumed run needs to go on as if nothing had happened.

    The position in the data is the step: crops depend on it alone.
    """

    model: DBNet
    average: DBNet
    """Exponential moving average of the model."""

    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Steps done."""

    skipped: int = 0
    """Steps left out because the loss was no number."""

    skipped_in_row: int = 0
    best_f: float = -1.0
    judged_by: str = ""
    """What `best_f` was measured on; the best F on something else says nothing."""

    metadata: dict[str, str] = field(default_factory=dict)
    """What must not change during the run: values as JSON, by the names in its configuration."""


def save_state(path: Path, state: TrainingState) -> None:
    """Write the state to a file, atomically."""
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
        "metadata": state.metadata,
        "torch_rng": torch.get_rng_state(),
    }
    buffer = io.BytesIO()  # torch writing to a full disk says nothing of that
    torch.save(content, buffer)
    write_atomically(path, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def restore_state(path: Path, state: TrainingState) -> None:
    """Read what `save_state` wrote into a state of the same configuration.

    Raises:
        EngineError: The file is damaged, or does not belong to this configuration.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        changes = _changes(content["metadata"], state.metadata)
    except Exception as error:  # torch and pickle raise all sorts
        raise EngineError(
            f"{path} is damaged, or no state of a run ({type(error).__name__}); remove it to begin "
            "anew, perhaps with --init and a copy of the last.safetensors beside it"
        ) from error
    if changes:
        raise EngineError(
            f"{path} is from a run with {'; '.join(changes)}; give another output folder, or the "
            "configuration of that run"
        )
    state.model.load_state_dict(content["model"])
    state.average.load_state_dict(content["average"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.scaler.load_state_dict(content["scaler"])
    state.step = content["step"]
    state.skipped = content["skipped"]
    state.skipped_in_row = content["skipped_in_row"]
    if content.get("judged_by", state.judged_by) == state.judged_by:
        state.best_f = content["best_f"]
    torch.set_rng_state(content["torch_rng"])


def _changes(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """Each setting that another run had otherwise; those that it did not note are not compared."""
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


def copy_for_average(model: DBNet) -> DBNet:
    """A copy of a model that no optimizer touches, in evaluation mode."""
    average = copy.deepcopy(model).eval()
    return average.requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move every floating-point tensor of `average` towards `model` by 1 - decay."""
    own = average.state_dict()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            own[name].lerp_(value, 1 - decay)
        else:
            own[name].copy_(value)
