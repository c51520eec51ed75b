# SPDX-License-Identifier: Apache-2.0
"""Train every variant of the model for a short time on synthetic scenes, and score it on others.

    python benchmarks/ablation.py [--steps N] [--size PIXELS] [--json FILE]

These short runs on small scenes show that every variant trains, its cost, and how fast it learns;
they do not show its final accuracy.
"""

from __future__ import annotations

import dataclasses
import json as json_format
import tempfile
import time
from pathlib import Path
from typing import Any

from cyclopts import App
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.synth.scenes import SynthConfig, write_scenes
from dbnet_trt.training.augment import AugmentConfig
from dbnet_trt.training.config import OFFICIAL_LOSS, LossConfig, TrainConfig
from dbnet_trt.training.targets import TargetConfig
from dbnet_trt.training.train import train
from measure import machine, write_report
from rich.console import Console
from rich.table import Table

app = App(help="Train and score variants of the model on the same scenes.")


def variants(inner_channels: int) -> dict[str, tuple[ModelConfig, LossConfig]]:
    """List the variants: model and loss, by name."""
    plain = ModelConfig("resnet18", inner_channels, db=False)
    db = dataclasses.replace(plain, db=True)
    loss = OFFICIAL_LOSS  # with the paper's loss P learns too slowly for a short run
    return {
        "plain": (plain, loss),
        "+ deformable": (dataclasses.replace(plain, deformable=True), loss),
        "+ DB": (db, loss),
        "+ DB, no threshold supervision": (db, dataclasses.replace(loss, thresh_weight=0)),
        "+ DB, deformable": (dataclasses.replace(db, deformable=True), loss),
        "+ DB, scale fusion": (dataclasses.replace(db, adaptive_scale_fusion=True), loss),
        "mobilenetv2 + DB": (dataclasses.replace(db, backbone="mobilenetv2"), loss),
    }


@app.default
def main(
    *,
    steps: int = 300,
    size: int = 160,
    scenes: int = 200,
    inner_channels: int = 64,
    seed: int = 0,
    json: Path | None = None,
) -> None:
    """Train and score every variant.

    Parameters
    ----------
    steps
        Number of training steps per variant, with 8 crops each.
    size
        Side of scenes and crops, in pixels.
    scenes
        Number of scenes to train on; a quarter as many others are scored.
    inner_channels
        Number of channels of the feature pyramid.
    seed
        Random seed of scenes, weights and crops.
    json
        File for the numbers.
    """
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = SynthConfig(size, "line", text_height=(14, 40), max_blocks=3, chinese=0, seed=seed)
        others = dataclasses.replace(drawn, seed=seed + 1)
        data = f"jsonl:{write_scenes(folder / 'train', scenes, config=drawn)}"
        validation = f"jsonl:{write_scenes(folder / 'val', max(scenes // 4, 1), config=others)}"
        for name, (model, loss) in variants(inner_channels).items():
            config = TrainConfig(
                (data,),
                folder / name,
                (validation,),
                steps=steps,
                batch_size=8,
                optimizer="adamw",
                learning_rate=2e-3,
                ema_decay=0.97,
                validate_every=steps,
                short_side=size,
                unclip_ratio=0.85,
                seed=seed,
                model=model,
                loss=loss,
                augmentation=AugmentConfig(size, (1.0, 1.5)),
                targets=TargetConfig(0.7),
            )
            start = time.perf_counter()
            train(config)
            minutes = (time.perf_counter() - start) / 60
            rows.append({"variant": name, **_score(folder / name), "minutes": round(minutes, 2)})
            print(rows[-1], flush=True)
    console = Console()
    console.print(machine()["cpu"], style="dim")
    table = Table("variant", "precision", "recall", "F", "minutes")
    for row in rows:
        numbers = [f"{100 * row[key]:.1f}" for key in ("precision", "recall", "f")]
        table.add_row(row["variant"], *numbers, f"{row['minutes']:.1f}")
    console.print(table)
    write_report({"rows": rows}, json)


def _score(folder: Path) -> dict[str, Any]:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    scores = [json_format.loads(line).get("validation") for line in lines]
    return next(score for score in reversed(scores) if score)


if __name__ == "__main__":
    app()
