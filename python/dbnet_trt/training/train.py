# SPDX-License-Identifier: Apache-2.0
"""Training: crops in, checkpoints out. Stops anywhere, and goes on as if it had not."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..card import ModelCard
from ..detector import Detector
from ..engines.torch import TorchEngine
from ..errors import DBNetError
from ..evaluate import evaluate_samples
from .augment import AugmentConfig
from .checkpoints import load_weights, save_model
from .datasets import Sample, read_dataset
from .loader import MEAN, STD, Crop, CropStream, Source, load_crops, normalize
from .losses import LabelMaps, LossConfig, Losses, compute_loss
from .model import DBNet, DBOutput, ModelConfig
from .state import TrainingState, copy_for_average, restore_state, save_state, update_average
from .targets import TargetConfig

logger = logging.getLogger("dbnet_trt")

MAX_SKIPPED_IN_ROW = 20
"""Training stops after so many steps in a row without a finite loss."""


class TrainingError(DBNetError, RuntimeError):
    """Training cannot go on."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a detector is trained. The defaults are the paper's fine-tuning."""

    data: tuple[str, ...]
    """Data sets, as FORMAT:PATH or FORMAT:PATH#train, with *WEIGHT at the end for a share of the
    crops other than 1."""

    output: Path = Path("runs/train")
    """Folder of checkpoints and logs; a run in it that was stopped is resumed."""

    validation: tuple[str, ...] = ()
    """Data sets to score the model on, as FORMAT:PATH or FORMAT:PATH#val."""

    init: Path | None = None
    """Weights to begin with: ImageNet's for the backbone, or a detector's."""

    steps: int = 75_000
    """Length of the run, in batches."""

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

    average_decay: float = 0.999
    """Of the moving average of the weights, which is what gets validated and saved."""

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the network; the loss is fp32 in any case."""

    device: str = "cpu"
    """cpu, cuda or cuda:0."""

    num_threads: int = 0
    """CPU threads of the network; 0 leaves torch's own choice."""

    workers: int = 1
    """Processes that make crops; 0 makes them in the training process."""

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
        if not self.data:
            raise ValueError("data must name a data set, as in td500:data/msra_td500/train")
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "warmup_steps", "clip_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, got {getattr(self, name)}")


def train(config: TrainConfig) -> Path:
    """Train a detector, or resume the run in `config.output`.

    Returns:
        The last checkpoint, `last.safetensors`; the one with the best F on the validation set is
        `best.safetensors` beside it.

    Raises:
        ValueError: A data set cannot be read.
        EngineError: The run in `config.output` has another configuration.
        TrainingError: The loss is not a number, over and over.
    """
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    config.output.mkdir(parents=True, exist_ok=True)
    stream = CropStream(
        _read_sources(config.data), config.augmentation, config.targets, config.seed
    )
    validation = [sample for name in config.validation for sample in read_dataset(name).samples]
    state = _begin(config)
    saved = config.output / "state.pt"
    if saved.exists():
        restore_state(saved, state)
        logger.info("resumed at step %d", state.step)
    crops = load_crops(stream, (state.step, config.steps), config.batch_size, config.workers)
    with _Metrics(config.output / "metrics.jsonl", state.step) as metrics:
        _run(config, state, crops, validation, metrics)
    return config.output / "last.safetensors"


def _read_sources(names: tuple[str, ...]) -> list[Source]:
    sources = []
    for name in names:
        path, _, weight = name.partition("*")
        sources.append(Source(read_dataset(path).samples, float(weight or 1)))
    return sources


def _begin(config: TrainConfig) -> TrainingState:
    """A model with its first weights, and an optimizer."""
    torch.manual_seed(config.seed)
    model = DBNet(config.model)
    if config.init is not None and not (config.output / "state.pt").exists():
        logger.info("%s: %s", config.init, load_weights(model, config.init))
    model = model.to(config.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    keys = ("data", "steps", "batch_size", "optimizer", "learning_rate", "seed", "model", "targets")
    described = _to_json(config)
    return TrainingState(
        model,
        copy_for_average(model),
        _build_optimizer(model, config),
        metadata={key: json.dumps(described[key]) for key in keys},
    )


def _to_json(config: TrainConfig) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config), default=str))
    return described


def _build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            matrices + vectors,
            lr=config.learning_rate,
            momentum=0.9,
            weight_decay=config.weight_decay,
        )
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def learning_rate(config: TrainConfig, step: int) -> float:
    """The rate of a step, counted from 0: poly decay, after a linear warm-up."""
    rate = config.learning_rate * (1 - step / config.steps) ** config.power
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    return rate


def _run(
    config: TrainConfig,
    state: TrainingState,
    crops: Iterator[Crop],
    validation: list[Sample],
    metrics: _Metrics,
) -> None:
    network = torch.compile(state.model) if config.compile else state.model
    scaler = torch.amp.GradScaler(enabled=config.precision == "fp16")
    for crop in crops:
        losses = train_step(config, state, network, crop, scaler)
        if state.step % config.log_every == 0 and losses is not None:
            metrics.write(config, state, losses)
        if state.step % config.validate_every == 0 or state.step == config.steps:
            _validate(config, state, validation, metrics)
        if state.step % config.checkpoint_every == 0 or state.step == config.steps:
            save_model(config.output / "last.safetensors", state.average, make_card(config, state))
            save_state(config.output / "state.pt", state)


def train_step(
    config: TrainConfig,
    state: TrainingState,
    network: Any,
    crop: Crop,
    scaler: torch.amp.GradScaler,
) -> Losses | None:
    """Do one step; None where it was skipped, because the loss or the gradient is not finite.

    Raises:
        TrainingError: That happened over and over.
    """
    state.model.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step)
    images = normalize(crop.image.to(config.device)).to(memory_format=torch.channels_last)
    labels = LabelMaps(*(label.to(config.device) for label in crop.labels))
    with _autocast(config):
        output: DBOutput = network(images)
    losses = compute_loss(output, labels, config.loss)
    state.optimizer.zero_grad(set_to_none=True)
    scaler.scale(losses.total).backward()
    scaler.unscale_(state.optimizer)
    limit = config.clip_norm or math.inf
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), limit)
    finite = bool(torch.isfinite(losses.total)) and bool(torch.isfinite(norm))
    if finite:
        scaler.step(state.optimizer)
        decay = min(config.average_decay, (1 + state.step) / (10 + state.step))
        update_average(state.average, state.model, decay)
    scaler.update()
    state.step += 1
    state.skipped_in_row = 0 if finite else state.skipped_in_row + 1
    state.skipped += not finite
    if state.skipped_in_row >= MAX_SKIPPED_IN_ROW:
        raise TrainingError(
            f"the loss was not finite for {MAX_SKIPPED_IN_ROW} steps in a row, up to step "
            f"{state.step}; the last good checkpoint is in {config.output}. "
            "Lower the learning rate, or set clip_norm"
        )
    return losses if finite else None


def _autocast(config: TrainConfig) -> Any:
    if config.precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float16
    return torch.autocast(config.device.partition(":")[0], dtype)


def make_card(config: TrainConfig, state: TrainingState) -> ModelCard:
    """The card of the model as it is now."""
    return ModelCard(
        name=f"dbnet-{config.model.backbone}",
        mean=MEAN,
        std=STD,
        channel_order="rgb",
        output="logit",
        short_side=config.short_side,
        unclip_ratio=config.unclip_ratio,
        training_data=", ".join(config.data),
        source=f"step {state.step} of {config.steps}, batch size {config.batch_size}, "
        f"seed {config.seed}",
    )


def _validate(
    config: TrainConfig, state: TrainingState, samples: list[Sample], metrics: _Metrics
) -> None:
    if not samples:
        return
    card = make_card(config, state)
    detector = Detector(TorchEngine(state.average, card, config.device))
    score = evaluate_samples(detector, samples).score
    metrics.append({"step": state.step, "validation": score_fields(score)})
    if score.f > state.best_f:
        state.best_f = score.f
        save_model(config.output / "best.safetensors", state.average, card)


def score_fields(score: Any) -> dict[str, float]:
    """Precision, recall and F, rounded for a log."""
    return {name: round(getattr(score, name), 5) for name in ("precision", "recall", "f")}


class _Metrics:
    """metrics.jsonl: one line of JSON a record."""

    def __init__(self, path: Path, step: int) -> None:
        self._drop_after(path, step)
        self._file = path.open("a", encoding="utf-8")
        self._time, self._step = time.perf_counter(), step

    @staticmethod
    def _drop_after(path: Path, step: int) -> None:
        """Forget records of steps that were done after the last checkpoint."""
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if line and _step_of(line) <= step]
            path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def __enter__(self) -> _Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, config: TrainConfig, state: TrainingState, losses: Losses) -> None:
        now = time.perf_counter()
        rate = (state.step - self._step) * config.batch_size / (now - self._time)
        self._time, self._step = now, state.step
        parts = {name: round(float(value.detach()), 5) for name, value in losses._asdict().items()}
        self.append(
            {
                "step": state.step,
                "loss": parts,
                "learning_rate": float(np.float32(state.optimizer.param_groups[0]["lr"])),
                "images_per_second": round(rate, 2),
                "skipped": state.skipped,
            }
        )

    def append(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # cut off when the program was killed
        return 1 << 62
