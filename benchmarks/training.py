# SPDX-License-Identifier: Apache-2.0
"""What feeds training and what training costs: label maps, scenes, crops, steps.

    python benchmarks/training.py [--json FILE] [--repeats N]

Label maps are held against the plain NumPy version before both are timed, in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from cyclopts import App
from dbnet_trt.training import train as training
from dbnet_trt.training.augment import AugmentConfig
from dbnet_trt.training.config import TrainConfig
from dbnet_trt.training.distributed import ALONE
from dbnet_trt.training.loader import CropStream, Source, load_crops
from dbnet_trt.training.model import ModelConfig
from dbnet_trt.training.readers.annotated import read_jsonl
from dbnet_trt.training.synth import SynthConfig, load_materials, make_scene, write_scenes
from dbnet_trt.training.targets import TargetConfig, make_targets, make_targets_reference
from measure import interleaved, machine, summary, write_report
from rich.console import Console
from rich.table import Table

app = App(help="Label maps, scenes, crops and steps of training.")
Polygons = list[Any]


def boxes(count: int, rng: np.random.Generator) -> Polygons:
    """Turned rectangles the size of words, in a 640x640 image."""
    polygons = []
    for _ in range(count):
        width, height, angle = rng.uniform(40, 200), rng.uniform(12, 50), rng.uniform(-0.3, 0.3)
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        polygons.append(corners @ turn + rng.uniform(0, 500, 2))
    return polygons


def curves(count: int, rng: np.random.Generator) -> Polygons:
    """Outlines of 14 points around arcs, in a 640x640 image."""
    polygons = []
    for _ in range(count):
        length, height, bend = rng.uniform(60, 200), rng.uniform(12, 40), rng.uniform(-40, 40)
        x = np.linspace(0, 1, 7)
        top = np.column_stack([x * length, bend * 4 * x * (1 - x)])
        bottom = top[::-1] + np.array([0, height])
        polygon = np.concatenate([top, bottom])
        polygons.append(polygon + rng.uniform(40, 440, 2))
    return polygons


def label_rows(repeats: int) -> list[dict[str, Any]]:
    """Times of the label maps of one 640x640 image."""
    rng = np.random.default_rng(0)
    rows = []
    for name, polygons in (("30 boxes", boxes(30, rng)), ("30 curves", curves(30, rng))):
        arguments = (polygons, [False] * len(polygons), (640, 640))
        for fast, plain in zip(
            make_targets(*arguments), make_targets_reference(*arguments), strict=True
        ):
            np.testing.assert_allclose(fast, plain, atol=1e-4)
        times = interleaved(
            {
                "core": lambda a=arguments: make_targets(*a),  # type: ignore[misc]
                "numpy": lambda a=arguments: make_targets_reference(*a),  # type: ignore[misc]
            },
            repeats,
        )
        ratio = round(float(np.median(times["numpy"]) / np.median(times["core"])), 1)
        parts = {way: summary(values) for way, values in times.items()}
        rows.append({"case": f"label maps 640x640, {name}", **parts, "ratio": ratio})
    return rows


def per_second(make: Callable[[], Iterator[int]], seconds: float) -> float:
    """Things a second; `make` yields how many it has just made."""
    things = make()
    next(things)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        count += next(things)
    return count / (time.perf_counter() - start)


def rate_rows(seconds: float, size: int, folder: Path) -> list[dict[str, Any]]:
    """Scenes, crops and training images a second."""
    config = SynthConfig()
    materials = load_materials(config)

    def scenes() -> Iterator[int]:
        index = 0
        while True:
            make_scene(materials, config, index)
            index += 1
            yield 1

    samples = read_jsonl(write_scenes(folder, 40, config=config)).samples
    stream = CropStream([Source(samples, 1)], AugmentConfig(size), TargetConfig(), 0)

    def crops(workers: int) -> Iterator[int]:
        for crop in load_crops(stream, (0, 100_000), 8, workers):
            yield len(crop.image)

    rows: list[dict[str, Any]] = []
    rows.append({"case": "scenes 640x640, one process", "per_second": per_second(scenes, seconds)})
    for workers in (0, 1, 2):
        name = f"crops {size}x{size} with labels, {workers or 'no'} worker{'s' * (workers != 1)}"
        rate = per_second(lambda w=workers: crops(w), seconds)  # type: ignore[misc]
        rows.append({"case": name, "per_second": rate})
    for model in (ModelConfig("mobilenetv2", 64), ModelConfig()):
        rate = per_second(lambda m=model: steps(m, stream), seconds)  # type: ignore[misc]
        name = f"training {model.backbone} {size}x{size}, {torch.get_num_threads()} threads, fp32"
        rows.append({"case": name, "per_second": rate})
    return [{**row, "per_second": round(row["per_second"], 2)} for row in rows]


def steps(model: ModelConfig, stream: CropStream) -> Iterator[int]:
    """Training steps on crops that are there already."""
    config = TrainConfig(("benchmark",), model=model, batch_size=4, device="cpu")
    state = training.begin(config, ALONE)
    crop = next(load_crops(stream, (0, 1), 4, 0))
    while True:
        training.train_step(config, state, state.model, crop)
        yield len(crop.image)


@app.default
def main(
    *, repeats: int = 30, seconds: float = 10.0, size: int = 640, json: Path | None = None
) -> None:
    """Run it.

    Parameters
    ----------
    repeats
        Rounds of the label maps.
    seconds
        Length of each measurement of a rate.
    size
        Side of the crops, in pixels.
    json
        Write the numbers here.
    """
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = {"labels": label_rows(repeats), "rates": rate_rows(seconds, size, Path(folder))}
    console = Console(width=max(100, Console().width))
    console.print(machine()["cpu"], style="dim")
    table = Table("label maps", "core ms", "NumPy ms", "ratio")
    for row in report["labels"]:
        times = [f"{row[way]['p50_ms']:.2f}" for way in ("core", "numpy")]
        table.add_row(row["case"], *times, f"{row['ratio']:.1f}x")
    console.print(table)
    table = Table("rate", "a second")
    for row in report["rates"]:
        table.add_row(row["case"], f"{row['per_second']:.1f}")
    console.print(table)
    write_report(report, json)


if __name__ == "__main__":
    app()
