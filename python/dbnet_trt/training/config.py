# SPDX-License-Identifier: Apache-2.0
"""How a detector is trained, and the presets."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..network.config import ModelConfig
from ..settings import PostprocessParams, SizePolicy
from .augment import AugmentConfig
from .targets import TargetConfig


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights and forms of the parts. The defaults are the paper's."""

    prob_weight: float = 1.0
    """Of Ls, on P."""

    binary_weight: float = 1.0
    """alpha: of Lb, on the approximate binary map."""

    thresh_weight: float = 10.0
    """beta: of Lt, on T; 0 leaves T without supervision."""

    binary_loss: Literal["bce", "dice"] = "bce"
    """Form of Lb."""

    negative_ratio: float = 3.0
    """Hardest negatives kept for each positive, in the cross-entropies."""

    def __post_init__(self) -> None:
        for name in ("prob_weight", "binary_weight", "thresh_weight", "negative_ratio"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.binary_loss not in ("bce", "dice"):
            raise ValueError(f'binary_loss must be "bce" or "dice", got {self.binary_loss!r}')


OFFICIAL_LOSS = LossConfig(prob_weight=5.0, binary_weight=1.0, binary_loss="dice")
"""What the authors' published code uses in place of the paper's."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a detector is trained. The defaults are the paper's."""

    data: tuple[str, ...]
    """Data sets, as FORMAT:PATH or FORMAT:PATH#train, with *WEIGHT at the end for a share of the
    crops other than 1."""

    output: Path = Path("runs/train")
    """Folder of checkpoints and logs; a run in it that was stopped is resumed."""

    validation: tuple[str, ...] = ()
    """Data sets to score the model on, as FORMAT:PATH or FORMAT:PATH#val."""

    init: Path | None = None
    """Weights to begin with: ImageNet's for the backbone, a detector's, an exported model's, or the
    name of a model of ours."""

    steps: int = 100_000
    """Length of the run, in batches."""

    epochs: float = 0.0
    """Length of the run, in passes over the samples; takes the place of steps where it is not 0."""

    batch_size: int = 16
    """Crops a step, over all processes."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9, or AdamW."""

    learning_rate: float = 0.007
    """At the first step after the warm-up."""

    weight_decay: float = 1e-4
    """Not on biases and normalisation, under AdamW."""

    power: float = 0.9
    """The rate falls as (1 - step / steps) ** power."""

    warmup_steps: int = 0
    """Steps in which the rate rises from 0."""

    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 leaves it."""

    ema_decay: float = 0.999
    """Of the moving average of the weights, which is what gets validated and saved; 0 for none."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network; the loss is fp32 in any case."""

    device: str = "auto"
    """cpu, cuda, cuda:0, or auto: a GPU where there is one."""

    num_threads: int = 0
    """CPU threads of the network; 0 leaves torch's own choice."""

    workers: int = 1
    """Processes that make crops, for each that trains; 0 makes them in the training process."""

    compile: bool = False
    """Use torch.compile."""

    seed: int = 0
    """Of weights and crops."""

    log_every: int = 20
    """Steps between lines of metrics.jsonl."""

    checkpoint_every: int = 200
    """Steps between checkpoints."""

    validate_every: int = 1000
    """Steps between validations."""

    short_side: int = 736
    """Of validation images inside the network, in pixels; goes into the model's card."""

    unclip_ratio: float = 1.5
    """Goes into the model's card. It has to undo the shrink ratio."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    targets: TargetConfig = field(default_factory=TargetConfig)

    def __post_init__(self) -> None:
        for name in ("data", "validation"):
            names = getattr(self, name)
            if isinstance(names, str):
                raise TypeError(f"{name} must be a tuple of data sets, got {names!r} alone")
            object.__setattr__(self, name, tuple(names))
        for name in ("output", "init"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        if not self.data:
            raise ValueError("data must name a data set, as in td500:data/msra_td500/train")
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in (
            "learning_rate", "weight_decay", "power", "warmup_steps", "clip_norm", "epochs",
            "workers", "num_threads", "ema_decay",
        ):  # fmt: skip
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.ema_decay >= 1:
            raise ValueError(f"ema_decay must be less than 1, got {self.ema_decay}")
        # Their own checks: now, not at the first checkpoint.
        SizePolicy(self.short_side)
        PostprocessParams(unclip_ratio=self.unclip_ratio)

    def to_json(self) -> dict[str, Any]:
        """The configuration as JSON values."""
        described: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return described


LOSS_PRESETS: dict[str, dict[str, Any]] = {
    "paper": dataclasses.asdict(LossConfig()),
    "official": dataclasses.asdict(OFFICIAL_LOSS),
}

PRESETS: dict[str, dict[str, Any]] = {
    "synthtext-pretrain": {"steps": 100_000},
    "finetune": {"epochs": 1200.0, "validate_every": 500},
    "quick": {
        "model": {"backbone": "mobilenetv2", "inner_channels": 64},
        "loss": LOSS_PRESETS["official"],
        "augmentation": {"crop_size": 320, "scale": [1.0, 3.0]},
        "steps": 2000,
        "batch_size": 8,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "warmup_steps": 50,
        "clip_norm": 10.0,
        "ema_decay": 0.99,
        "validate_every": 500,
    },
}
"""What a preset sets, beside the defaults: the paper's pretraining and fine-tuning, and one for a
first look on a CPU."""
