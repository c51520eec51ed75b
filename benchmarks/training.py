# SPDX-License-Identifier: Apache-2.0
"""Measure the speed of training and of its data: label maps, scenes, crops, steps.

    python benchmarks/training.py [--json FILE] [--plot FILE.png]

Label maps, alone and in crops, are compared with the plain NumPy version before both are timed in
turn. Training runs on the CPU; training on a GPU may have to wait for the crops.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
from cyclopts import App
from dbnet_trt.data.readers.annotated import read_jsonl
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.synth.scenes import SynthConfig, load_materials, make_scene, write_scenes
from dbnet_trt.training import loader
from dbnet_trt.training import train as training
from dbnet_trt.training.augment import AugmentConfig
from dbnet_trt.training.config import TrainConfig
from dbnet_trt.training.distributed import ALONE
from dbnet_trt.training.loader import CropStream, Source, load_crops
from dbnet_trt.training.targets import TargetConfig, make_targets, make_targets_reference
from figure import check_plot, draw_plot
from measure import interleaved, machine, summary, write_report
from rich.console import Console
from rich.table import Table

app = App(help="Measure the speed of label maps, scenes, crops and training steps.")
Polygons = list[Any]
COUNTS = (3, 30, 120)
"""Numbers of texts per image."""

NUM_SCENES = 40
WORKERS = (1, 2)

SLICES = 5
"""Number of measurements of each rate; they alternate with those of the others."""


def boxes(count: int, rng: np.random.Generator) -> Polygons:
    """Draw turned rectangles of the size of words, in a 640x640 image."""
    polygons = []
    for _ in range(count):
        width, height, angle = rng.uniform(40, 200), rng.uniform(12, 50), rng.uniform(-0.3, 0.3)
        corners = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        polygons.append(corners @ turn + rng.uniform(0, 500, 2))
    return polygons


def curves(count: int, rng: np.random.Generator) -> Polygons:
    """Draw outlines of 14 points around arcs, in a 640x640 image."""
    polygons = []
    for _ in range(count):
        length, height, bend = rng.uniform(60, 200), rng.uniform(12, 40), rng.uniform(-40, 40)
        x = np.linspace(0, 1, 7)
        top = np.column_stack([x * length, bend * 4 * x * (1 - x)])
        bottom = top[::-1] + np.array([0, height])
        polygon = np.concatenate([top, bottom])
        polygons.append(polygon + rng.uniform(40, 440, 2))
    return polygons


def check_labels(arguments: tuple[Any, ...]) -> None:
    """Check that the core's label maps equal NumPy's."""
    fast, plain = make_targets(*arguments), make_targets_reference(*arguments)
    for ours, theirs in zip(fast, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def label_rows(repeats: int) -> list[dict[str, Any]]:
    """Time the label maps of one 640x640 image."""
    rng = np.random.default_rng(0)
    rows = []
    for make, count in itertools.product((boxes, curves), COUNTS):
        polygons = make(count, rng)
        arguments = (polygons, [False] * count, (640, 640))
        check_labels(arguments)
        functions: dict[str, Callable[[], object]] = {
            "core": partial(make_targets, *arguments),
            "numpy": partial(make_targets_reference, *arguments),
        }
        times = interleaved(functions, repeats)
        ratio = round(float(np.median(times["numpy"]) / np.median(times["core"])), 1)
        parts = {way: summary(values) for way, values in times.items()}
        case = {"case": f"640x640, {count} {make.__name__}", "kind": make.__name__, "count": count}
        rows.append({**case, **parts, "ratio": ratio})
    return rows


# ---- rates -------------------------------------------------------------------------------------


def rates(cases: dict[str, Iterator[int]], seconds: float) -> list[dict[str, Any]]:
    """Measure rates per second, in turn; each `next` makes some items and returns their number.

    Returns:
        One row per case: the median and the minimum of `SLICES` measurements.
    """
    for things in cases.values():
        next(things)
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(SLICES):
        for name, things in cases.items():
            start, count, took = time.perf_counter(), 0, 0.0
            while took < seconds / SLICES:
                count += next(things)
                took = time.perf_counter() - start
            found[name].append(count / took)
    return [
        {"case": name, "per_second": round(float(np.median(each)), 2), "least": round(min(each), 2)}
        for name, each in found.items()
    ]


def scenes(config: SynthConfig) -> Iterator[int]:
    """Draw synthetic scenes, one after the other."""
    materials = load_materials(config)
    for index in itertools.count():
        make_scene(materials, config, index)
        yield 1


def crops(stream: CropStream, workers: int) -> Iterator[int]:
    """Prepare crops with their labels, in a number of processes."""
    for crop in load_crops(stream, (0, 100_000), 8, workers):
        yield len(crop.image)


def steps(model: ModelConfig, stream: CropStream, loads: bool) -> Iterator[int]:
    """Run training steps, on crops prepared before or during the measurement."""
    config = TrainConfig(("benchmark",), model=model, batch_size=4, device="cpu")
    state = training.begin(config, ALONE)
    ahead = load_crops(stream, (0, 100_000), 4, 0)
    crop = next(ahead)
    while True:
        training.train_step(config, state, state.model, next(ahead) if loads else crop)
        yield len(crop.image)


def by_numpy(things: Iterator[int]) -> Iterator[int]:
    """Compute label maps in NumPy instead of the core."""
    while True:
        with mock.patch.object(loader, "make_targets", make_targets_reference):
            made = next(things)
        yield made


def check_crops(stream: CropStream) -> None:
    """Check that crops are equal with labels of the core and of NumPy."""
    ours = stream[0]
    with mock.patch.object(loader, "make_targets", make_targets_reference):
        theirs = stream[0]
    assert torch.equal(ours.image, theirs.image)
    for label, other in zip(ours.labels, theirs.labels, strict=True):
        torch.testing.assert_close(label, other, atol=1e-4, rtol=0)


def rate_rows(seconds: float, size: int, folder: Path) -> list[dict[str, Any]]:
    """Measure scenes, crops and training images per second."""
    config = SynthConfig()
    samples = read_jsonl(write_scenes(folder, NUM_SCENES, config=config)).samples
    stream = CropStream([Source(samples, 1)], AugmentConfig(size), TargetConfig(), 0)
    check_crops(stream)
    small, usual = ModelConfig("mobilenetv2", 64), ModelConfig()
    of = f"{size}x{size}"
    cases = {
        "scenes 640x640": scenes(config),
        f"crops {of}": crops(stream, 0),
        f"crops {of}, labels by NumPy": by_numpy(crops(stream, 0)),
        f"training {small.backbone} {of}, crops there already": steps(small, stream, False),
        f"training {small.backbone} {of}": steps(small, stream, True),
        f"training {small.backbone} {of}, labels by NumPy": by_numpy(steps(small, stream, True)),
        f"training {usual.backbone} {of}, crops there already": steps(usual, stream, False),
    }
    rows = rates(cases, seconds)
    for workers in WORKERS:  # not in turn with the others, as worker processes do not wait
        name = f"crops {of}, {workers} worker{'s' * (workers != 1)}"
        rows += rates({name: crops(stream, workers)}, seconds)
    return rows


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the time of label maps over the number of texts."""
    with draw_plot(path, "Label maps of a 640x640 image", "texts", "ms, median") as axes:
        axes.set(xscale="log", yscale="log")
        for kind, way in itertools.product(("boxes", "curves"), ("core", "numpy")):
            chosen = [row for row in rows if row["kind"] == kind]
            times = [row[way]["p50_ms"] for row in chosen]
            style = "o-" if way == "core" else "o--"
            axes.plot([row["count"] for row in chosen], times, style, label=f"{kind}, {way}")


@app.default
def main(
    *,
    repeats: int = 30,
    seconds: float = 30.0,
    size: int = 640,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Measure the speed of training.

    Parameters
    ----------
    repeats
        Number of rounds of the label maps.
    seconds
        Time spent on each rate, in seconds.
    size
        Side of the crops, in pixels.
    json
        File for the numbers.
    plot
        PNG file for a plot of the label maps' times over the number of texts.
    """
    check_plot(plot)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        report = {"labels": label_rows(repeats), "rates": rate_rows(seconds, size, Path(folder))}
    console = Console(width=max(100, Console().width))
    threads = f"{torch.get_num_threads()} threads of PyTorch {torch.__version__}, fp32"
    console.print(f"{machine()['cpu']}; {threads}", style="dim")
    table = Table("label maps", "core ms", "NumPy ms", "ratio")
    for row in report["labels"]:
        times = [f"{row[way]['p50_ms']:.2f}" for way in ("core", "numpy")]
        table.add_row(row["case"], *times, f"{row['ratio']:.1f}x")
    console.print(table)
    table = Table("in one process", "per second", "minimum")
    for row in report["rates"]:
        table.add_row(row["case"], f"{row['per_second']:.1f}", f"{row['least']:.1f}")
    console.print(table)
    write_report({"torch": torch.__version__, **report}, json)
    if plot is not None:
        draw(report["labels"], plot)


if __name__ == "__main__":
    app()
