# SPDX-License-Identifier: Apache-2.0
"""The commands `dbnet train` and `dbnet export`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, ArgumentCollection, Parameter
from cyclopts.config import Dict

from ..files import read_json
from ..training.config import LOSS_PRESETS, PRESETS, TrainConfig
from .console import err, line, out, progress_bar

if TYPE_CHECKING:
    from ..training.metrics import Record


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Source of the configuration, which the other options override."""

    preset: Literal["finetune", "synthtext-pretrain", "quick"] = "finetune"
    """Preset: the paper's fine-tuning (1200 epochs) or pretraining (100,000 steps), or quick."""

    loss_preset: Literal["paper", "official"] | None = None
    """Loss of the paper or of its authors' published code; the preset's own if left out."""

    config: Path | None = None
    """Path of another run's config.json, which replaces the presets."""


def _apply_settings(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill in options that are not on the command line, from its preset or config file."""

    def given(name: str, default: str) -> str:
        """Return an option's value on the command line, or the default."""
        tokens = arguments[f"--{name}"].tokens
        return tokens[0].value if tokens else default

    path = given("config", "")
    if path:
        values = _read_config(Path(path))
    else:
        values = PRESETS.get(given("preset", "finetune"), {})
        loss = LOSS_PRESETS.get(given("loss-preset", ""))
        values = values if loss is None else {**values, "loss": loss}
    if given("steps", "") and not given("epochs", ""):
        values = {**values, "epochs": 0.0}  # the preset's epochs would override the steps
    for command in reversed(commands):
        values = {command: values}
    Dict(values, source=path or "preset")(app, commands, arguments)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = read_json(path)
    except ValueError as error:
        raise ValueError(f"--config {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"--config {path} must hold a JSON object, as a run's config.json does")
    return {name: value for name, value in values.items() if value is not None}


app = App(
    name="train",
    config=_apply_settings,
    help_epilogue="Example: dbnet train --preset quick --data icdar2015:data/ic15 "
    "--output runs/first",
)


@app.default
def train(
    *,
    settings: Annotated[TrainSettings, Parameter(name="*")] = TrainSettings(),
    config: Annotated[TrainConfig, Parameter(name="*")],
) -> None:
    """Train a detector, or continue a run that was stopped.

    Under torchrun (`torchrun --nproc-per-node 2 -m dbnet_trt train ...`) the processes share each
    batch, with the result that one process has.
    """
    from ..training.train import train as run

    logging.getLogger("dbnet_trt").setLevel(logging.INFO)
    with _TrainProgress(config) as progress, _quiet_threads():
        last = run(config, progress)
    best = last.with_name("best.safetensors")
    out.print(line((best if best.exists() else last, "bold")), soft_wrap=True)


@contextmanager
def _quiet_threads() -> Iterator[None]:
    """Print no traceback of TensorBoard's thread on a full disk: the main thread raises it too."""
    hook = threading.excepthook

    def report(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, OSError):
            hook(failed)

    threading.excepthook = report
    try:
        yield
    finally:
        threading.excepthook = hook


class _TrainProgress:
    """Display of training records: a bar on a terminal, and a line per validation."""

    def __init__(self, config: TrainConfig) -> None:
        self._progress = progress_bar("numbers", transient=False, disable=False)
        self._task = self._progress.add_task("training", total=None, numbers="")

    def __enter__(self) -> _TrainProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, record: Record) -> None:
        if "validation" in record:
            parts = "  ".join(f"{name} {value:.4f}" for name, value in record["validation"].items())
            err.print(f"step {record['step']}: {parts}", soft_wrap=True)
            return
        loss = " ".join(f"{name} {value:.3f}" for name, value in record["loss"].items())
        numbers = (
            f"{loss} lr {record['learning_rate']:.2g} {record['images_per_second']:.1f} images/s"
        )
        if record["skipped"]:
            numbers += f" {record['skipped']} skipped"
        self._progress.update(
            self._task, completed=record["step"], total=record["steps"], numbers=numbers
        )
        if not err.is_terminal:
            err.print(f"step {record['step']}/{record['steps']}: {numbers}", soft_wrap=True)


def export(
    checkpoint: Path,
    output: Path | None = None,
    /,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
) -> None:
    """Export a checkpoint to ONNX, with its card inside.

    Parameters
    ----------
    checkpoint
        A .safetensors file that `dbnet train` wrote.
    output
        The .onnx file; by default the checkpoint's name with that suffix.
    precision
        fp16 halves the file; its input and output stay fp32.
    """
    from ..network.export import export_checkpoint

    target = export_checkpoint(checkpoint, output, precision=precision)
    size = target.stat().st_size / 1e6
    out.print(line((target, "bold"), f"  {size:.1f} MB"), soft_wrap=True)
