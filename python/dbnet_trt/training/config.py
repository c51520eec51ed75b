# SPDX-License-Identifier: Apache-2.0
"""Training configuration and presets."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..card import ModelCard
from ..network.config import ModelConfig
from .augment import AugmentConfig
from .targets import TargetConfig


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights and forms of the loss terms. The defaults are the paper's."""

    prob_weight: float = 1.0
    """Weight of Ls, the loss on the probability map P."""

    binary_weight: float = 1.0
    """Weight alpha of Lb, the loss on the approximate binary map, or on P if there is no T."""

    thresh_weight: float = 10.0
    """Weight beta of Lt, the loss on the threshold map T; 0 leaves T without supervision."""

    binary_loss: Literal["bce", "dice"] = "bce"
    """Form of Lb: binary cross-entropy (bce) or dice loss."""

    negative_ratio: float = 3.0
    """Maximum number of negative pixels per positive pixel in a cross-entropy; the hardest
    negatives are kept."""

    def __post_init__(self) -> None:
        for name in ("prob_weight", "binary_weight", "thresh_weight", "negative_ratio"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.binary_loss not in ("bce", "dice"):
            raise ValueError(f'binary_loss must be "bce" or "dice", got {self.binary_loss!r}')


OFFICIAL_LOSS = LossConfig(prob_weight=5.0, binary_weight=1.0, binary_loss="dice")
"""Loss weights of the authors' published code, which differ from the paper's."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of a training run. The defaults are the paper's."""

    data: tuple[str, ...]
    """Data sets to train on, each as FORMAT:PATH or FORMAT:PATH#train; *WEIGHT at the end sets its
    share of the crops relative to the others (default 1)."""

    output: Path = Path("runs/train")
    """Folder for checkpoints and logs; if it holds an unfinished run, that run is resumed."""

    validation: tuple[str, ...] = ()
    """Data sets to validate on, each as FORMAT:PATH or FORMAT:PATH#val."""

    skip_damaged: bool = False
    """Whether to leave out images that do not decode; otherwise they end the run before its first
    step."""

    init: Path | None = None
    """Initial weights: a file with a backbone, a detector or an ONNX model, or the name of a model
    (`dbnet models`). A DB network of another project keeps its structure."""

    init_card: str | None = None
    """Card of an ONNX model in init that has none: paddleocr, mmocr, doctr, opencv, or a .json
    file."""

    steps: int = 100_000
    """Number of training steps, one batch each."""

    epochs: float = 0.0
    """Length of the run in passes over the samples; if it is not 0, it replaces steps."""

    batch_size: int = 16
    """Crops per step, summed over all processes."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimizer: SGD with momentum 0.9 (sgd), or AdamW (adamw)."""

    learning_rate: float = 0.007
    """Learning rate at the first step after the warm-up."""

    weight_decay: float = 1e-4
    """Weight decay; AdamW does not apply it to biases and normalisation weights."""

    power: float = 0.9
    """Power of the learning rate's decay, (1 - step / steps) ** power."""

    warmup_steps: int = 0
    """Number of steps in which the learning rate rises from 0."""

    clip_norm: float = 0.0
    """Maximum norm of the gradient; longer ones are scaled down. 0 turns clipping off."""

    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is validated and saved; 0 turns averaging
    off."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Precision of the network; the loss is always computed in fp32."""

    device: str = "auto"
    """Device to train on: cpu, cuda, cuda:0, or auto, which takes a GPU if there is one."""

    num_threads: int = 0
    """Number of CPU threads that PyTorch uses; 0 leaves the choice to PyTorch."""

    workers: int = 1
    """Number of processes that prepare crops, per training process; 0 prepares them in the training
    process."""

    compile: bool = False
    """Compile the network with torch.compile."""

    seed: int = 0
    """Random seed of weights and crops."""

    log_every: int = 20
    """Number of steps between lines of metrics.jsonl."""

    checkpoint_every: int = 200
    """Number of steps between checkpoints."""

    validate_every: int = 1000
    """Number of steps between validations."""

    text_level: Literal["line", "word"] | None = None
    """What the data outlines, stored in the model's card. If this or one of the next four is not
    given, it is taken from the card of the initial model, or else the default of a card."""

    short_side: int | None = None
    """Short side of validation images at the network's input, in pixels; stored in the card."""

    binary_threshold: float | None = None
    """Threshold of P in validation; stored in the card."""

    score_threshold: float | None = None
    """Minimum score of a detection in validation; stored in the card."""

    unclip_ratio: float | None = None
    """Unclip ratio in validation, by which outlines grow; stored in the card. It must undo
    targets.shrink_ratio."""

    model: ModelConfig = field(default_factory=ModelConfig)
    """Layers of the network."""

    loss: LossConfig = field(default_factory=LossConfig)
    """Weights and forms of the loss terms."""

    augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    """Ranges and probabilities of the augmentation."""

    targets: TargetConfig = field(default_factory=TargetConfig)
    """Parameters of the label maps."""

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
        # A card checks its values; do so now rather than at the first checkpoint.
        ModelCard("", **self.card_fields)

    @property
    def card_fields(self) -> dict[str, Any]:
        """Fields of the card that are not taken from the initial model."""
        names = (
            "text_level", "short_side", "binary_threshold", "score_threshold", "unclip_ratio",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def to_json(self) -> dict[str, Any]:
        """Convert to a dictionary of JSON values."""
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
"""Settings of each preset that differ from the defaults: the paper's pretraining and fine-tuning,
and a quick run for a first look on a CPU."""
