# SPDX-License-Identifier: Apache-2.0
"""Training loop. A run may stop at any step and resumes as if it had not been interrupted."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.open import split_name
from ..data.samples import Sample
from ..detector import Detector
from ..engines.torch import TorchEngine
from ..errors import TrainingError
from ..evaluation.evaluate import Scoring, choose_scoring, evaluate_samples
from ..files import write_atomically
from ..network.checkpoints import find_weights, save_model
from ..network.dbnet import DBNet, DBOutput
from ..network.onnx_weights import is_exported, rebase_norms
from .config import TrainConfig
from .distributed import (
    ALONE,
    Ranks,
    gather_batch,
    join_ranks,
    sum_gradients,
    synchronize_batch_norms,
    wait_for_all,
)
from .initial import make_card, make_network
from .loader import (
    Crop,
    CropStream,
    check_texts,
    load_crops,
    normalize,
    read_samples,
    read_sources,
)
from .losses import LabelMaps, Losses, compute_loss
from .metrics import Metrics, Record
from .state import TrainingState, copy_for_average, restore_state, save_state, update_average

logger = logging.getLogger("dbnet_trt")

MAX_SKIPPED_IN_ROW = 20
"""Number of skipped steps in a row after which training stops."""

NUM_PICTURES = 4
"""Number of validation images that TensorBoard shows."""

MAY_CHANGE = (
    "output", "validation", "precision", "device", "num_threads", "workers", "compile",
    "skip_damaged", "log_every", "checkpoint_every", "validate_every", "text_level", "short_side",
    "binary_threshold", "score_threshold", "unclip_ratio",
)  # fmt: skip
"""Settings that may change when a run is resumed; they do not affect the model that is learnt."""


def train(config: TrainConfig, watch: Callable[[Record], None] | None = None) -> Path:
    """Train a detector, or resume the run in `config.output`.

    Args:
        config: Settings of the run.
        watch: Called with every record of metrics.jsonl, in the first process only.

    Returns:
        The last checkpoint, `last.safetensors`. The checkpoint with the best F on the validation
        data is `best.safetensors` beside it.

    Raises:
        ValueError: A data set cannot be read or has no text, or the batch size is not a multiple
            of the number of processes.
        EngineError: The run in `config.output` has another configuration, the initial weights do
            not fit, or there is no such GPU.
        ImageError: An image is missing or damaged.
        TrainingError: The loss was not finite for many steps in a row, memory is exhausted, or a
            process that prepares crops was killed.
    """
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    config.output.mkdir(parents=True, exist_ok=True)
    skip = config.skip_damaged
    with join_ranks(config.device) as ranks:
        state = begin(config, ranks)  # first: what is wrong with it is told before images are read
        sources = read_sources(config.data, skip_damaged=skip, ranks=ranks)
        validation = [
            sample
            for name in config.validation
            for sample in read_samples(name, skip_damaged=skip, ranks=ranks)
        ]
        check_texts(sources, validation)
        config = _with_steps(config, sum(len(source.samples) for source in sources))
        state.metadata = _fixed_settings(config)
        stream = CropStream(sources, config.augmentation, config.targets, config.seed)
        run = _Run(config, ranks, state, validation)
        _resume(run, stream)
        last = config.output / "last.safetensors"
        if state.step < config.steps:
            _train_on(run, stream, watch)
        else:
            logger.info(
                "the run in %s is complete, with %d steps; to train on, choose another output "
                "folder and --init %s", config.output, state.step, last,
            )  # fmt: skip
    return last


def _resume(run: _Run, stream: CropStream) -> None:
    """Restore the run in the output folder, or fit the initial weights of a new one to its data."""
    config, ranks, state = run.config, run.ranks, run.state
    if run.saved.exists():
        restore_state(run.saved, state)
        if state.step < config.steps:
            logger.info("resumed at step %d", state.step)
    elif isinstance(state.model, DBNet) and _is_exported(config.init):
        first = next(load_crops(stream, (0, 1), config.batch_size, workers=0))
        rebase_norms(state.average, normalize(first.image.to(ranks.device), state.card))
        state.model.load_state_dict(state.average.state_dict())


def _train_on(run: _Run, stream: CropStream, watch: Callable[[Record], None] | None) -> None:
    """Do the steps that are left; the first process writes configuration and metrics."""
    config, ranks, start = run.config, run.ranks, run.state.step
    crops = load_crops(
        stream,
        (start, config.steps),
        config.batch_size,
        config.workers,
        ranks.rank,
        ranks.count,
    )
    try:
        if not ranks.is_first:
            _run_steps(run, crops, None)
            return
        text = json.dumps(config.to_json(), indent=2)
        write_atomically(config.output / "config.json", lambda path: path.write_text(text))
        with Metrics(config.output, start, watch) as metrics:
            _run_steps(run, crops, metrics)
    except torch.OutOfMemoryError as error:
        size = config.augmentation.crop_size
        raise TrainingError(
            f"the GPU has no memory left for batches of {config.batch_size} crops of "
            f"{size}x{size}; lower batch_size or augmentation.crop_size, or set precision bf16"
        ) from error


def _is_exported(init: Path | None) -> bool:
    return init is not None and is_exported(find_weights(init))


@dataclasses.dataclass(frozen=True, slots=True)
class _Run:
    config: TrainConfig
    ranks: Ranks
    state: TrainingState
    validation: list[Sample]

    @property
    def scoring(self) -> Scoring:
        """The evaluation that `dbnet eval` chooses for the same data."""
        formats = [split_name(name).format for name in self.config.validation]
        return choose_scoring(formats, self.validation)

    @property
    def saved(self) -> Path:
        return self.config.output / "state.pt"


def _with_steps(config: TrainConfig, num_samples: int) -> TrainConfig:
    """Return the configuration with its length in steps rather than epochs."""
    if not config.epochs:
        return config
    steps = max(round(config.epochs * num_samples / config.batch_size), 1)
    return dataclasses.replace(config, steps=steps, epochs=0.0)


def begin(config: TrainConfig, ranks: Ranks) -> TrainingState:
    """Create the state of a new run: initial weights, an optimizer, no step done.

    Raises:
        ValueError: The batch size is not a multiple of the number of processes.
        EngineError: The initial weights cannot be read, or belong to another backbone.
    """
    if config.batch_size % ranks.count:
        raise ValueError(
            f"batch_size must be a multiple of the {ranks.count} processes, got {config.batch_size}"
        )
    torch.manual_seed(config.seed)
    model, card = make_network(config)
    model = model.to(ranks.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy_for_average(model)
    synchronize_batch_norms(model, ranks)
    return TrainingState(
        model,
        average,
        _build_optimizer(model, config),
        torch.amp.GradScaler(ranks.device.type, enabled=config.precision == "fp16"),
        card=card,
        judged_by=json.dumps([list(config.validation), config.card_fields]),
        metadata=_fixed_settings(config),
    )


def _fixed_settings(config: TrainConfig) -> dict[str, str]:
    """Describe the settings that must not change while a run goes on."""
    fixed = {key: value for key, value in config.to_json().items() if key not in MAY_CHANGE}
    return {key: json.dumps(value) for key, value in fixed.items()}


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
    """Compute the learning rate of a step, from 0: linear warm-up, then polynomial decay."""
    rate = config.learning_rate * (1 - step / config.steps) ** config.power
    if step < config.warmup_steps:
        rate *= (step + 1) / config.warmup_steps
    return rate


def _run_steps(run: _Run, crops: Iterator[Crop], metrics: Metrics | None) -> None:
    config, state = run.config, run.state
    network = torch.compile(state.model) if config.compile else state.model
    pace = _Pace(state.step)
    for crop in crops:
        losses = train_step(config, state, network, crop, run.ranks)
        last = state.step == config.steps
        if metrics and losses and (state.step % config.log_every == 0 or last):
            metrics.append(_describe(config, state, losses, pace))
        if state.step % config.validate_every == 0 or last:
            if metrics and run.validation:
                _validate(run, metrics)
            wait_for_all(run.ranks)
        if metrics and (state.step % config.checkpoint_every == 0 or last):
            card = make_card(config, state.card, state.step)
            save_model(config.output / "last.safetensors", state.average, card)
            save_state(run.saved, state)


def train_step(
    config: TrainConfig, state: TrainingState, network: Any, crop: Crop, ranks: Ranks = ALONE
) -> Losses | None:
    """Train on one batch.

    A step whose loss or gradient is not finite is skipped: weights, statistics and average stay
    as they were.

    Args:
        config: Settings of the run.
        state: State of the run; this advances it by one step.
        network: The state's model, or its compiled form.
        crop: Batch: images (B, 3, h, w) uint8 RGB and labels (B, h, w) float32.
        ranks: This process among the training processes.

    Returns:
        The losses, or None if the step was skipped.

    Raises:
        TrainingError: Too many steps in a row were skipped.
    """
    state.model.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step)
    statistics = [buffer.clone() for buffer in state.model.buffers()]
    images = normalize(crop.image.to(ranks.device), state.card).to(
        memory_format=torch.channels_last
    )
    labels = LabelMaps(*(label.to(ranks.device) for label in crop.labels))
    with _autocast(config, ranks):
        output: DBOutput = network(images)
    losses = compute_loss(*gather_batch(output, labels, ranks), config.loss)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(losses.total).backward()
    sum_gradients(state.model, ranks)
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip_norm or math.inf)
    finite = bool(torch.isfinite(losses.total) & torch.isfinite(norm))
    if finite:
        state.scaler.step(state.optimizer)
        decay = min(config.ema_decay, (1 + state.step) / (10 + state.step))
        update_average(state.average, state.model, decay)
    else:
        for buffer, before in zip(state.model.buffers(), statistics, strict=True):
            buffer.copy_(before)
    state.scaler.update()
    _count(state, finite, config)
    return losses if finite else None


def _count(state: TrainingState, finite: bool, config: TrainConfig) -> None:
    state.step += 1
    if finite:
        state.skipped_in_row = 0
        return
    state.skipped += 1
    state.skipped_in_row += 1
    logger.warning("step %d skipped: the loss or its gradient is not finite", state.step)
    if state.skipped_in_row >= MAX_SKIPPED_IN_ROW:
        raise TrainingError(
            f"the loss was not finite for {MAX_SKIPPED_IN_ROW} steps in a row, up to step "
            f"{state.step}; the last good checkpoint is in {config.output}. "
            "Lower the learning rate, or set clip_norm"
        )


def _autocast(config: TrainConfig, ranks: Ranks) -> Any:
    if config.precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float16
    return torch.autocast(ranks.device.type, dtype)


class _Pace:
    """Training speed in steps per second, since the previous call."""

    def __init__(self, step: int) -> None:
        self._step, self._time = step, time.perf_counter()

    def __call__(self, step: int) -> float:
        now = time.perf_counter()
        rate = (step - self._step) / (now - self._time)
        self._step, self._time = step, now
        return rate


def _describe(config: TrainConfig, state: TrainingState, losses: Losses, pace: _Pace) -> Record:
    rate = pace(state.step)
    return {
        "step": state.step,
        "steps": config.steps,
        "loss": {name: _rounded(value) for name, value in losses._asdict().items()},
        "learning_rate": float(np.float32(state.optimizer.param_groups[0]["lr"])),
        "images_per_second": round(rate * config.batch_size, 2),
        "skipped": state.skipped,
    }


def _rounded(value: Tensor) -> float:
    return round(float(value.detach()), 5)


def _validate(run: _Run, metrics: Metrics) -> None:
    config, state = run.config, run.state
    card = make_card(config, state.card, state.step)
    scoring = run.scoring
    engine = TorchEngine(state.average, card, str(run.ranks.device))
    detector = Detector(engine, polygons=scoring.polygons)
    score = evaluate_samples(detector, run.validation, scoring.protocol).score
    parts = {name: round(getattr(score, name), 5) for name in ("precision", "recall", "f")}
    metrics.append({"step": state.step, "validation": parts})
    metrics.show(detector, run.validation[:NUM_PICTURES], state.step)
    if score.f >= state.best_f:  # >=: while nothing is found yet (F = 0), keep the latest model
        state.best_f = score.f
        save_model(config.output / "best.safetensors", state.average, card)
