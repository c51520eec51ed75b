# SPDX-License-Identifier: Apache-2.0
"""Accuracy against time: models at sizes, and RapidOCR, on the same photos in one run.

    python benchmarks/models.py MODEL[@SIDE] ... --data FORMAT:PATH [--json FILE] [--plot FILE.png]

F is by the protocol of ICDAR 2015 (IoU 0.5) over all photos of the data, each model with its own
thresholds. Times are CPU time of whole detections on one thread, on some of the photos, in turn;
compare them as ratios. If a model learnt or chose on the photos, its F says little: name it so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import CpuConfig, Detector, SizePolicy
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.samples import Sample, load_sample_image
from dbnet_trt.evaluation.evaluate import score_image, stretched
from dbnet_trt.evaluation.scores import Score
from dbnet_trt.settings import Backend, Precision
from figure import check_plot, draw_plot
from measure import geometric_mean, machine, tell, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

Image = NDArray[np.uint8]
Detect = Callable[[Image], list[NDArray[np.float32]]]
"""A detection: outlines in pixels of the image."""

RAPIDOCR = "RapidOCR as installed"

app = App(help="Plot F over time for models at sizes, and for RapidOCR.")


def open_model(name: str, backend: Backend, precision: Precision) -> Detect:
    """Open MODEL or MODEL@SIDE on one thread."""
    model, _, side = name.partition("@")
    size = SizePolicy(int(side)) if side else None
    cpu = CpuConfig(backend, precision, num_threads=1)
    detector = Detector(model, device="cpu", cpu=cpu, size=size)
    return lambda image: list(detector.detect(image).quads)


def open_rapidocr() -> Detect:
    """Open RapidOCR's detector as its package installs it, on one thread."""
    from rapidocr import RapidOCR

    threads = "EngineConfig.onnxruntime.intra_op_num_threads"
    ocr = RapidOCR(params={"Global.log_level": "critical", threads: 1})

    def detect(image: Image) -> list[NDArray[np.float32]]:
        found = ocr(image, use_det=True, use_cls=False, use_rec=False)
        return [] if found.boxes is None else [np.asarray(quad) for quad in found.boxes]

    return detect


def load(sample: Sample) -> Image:
    """Load a sample's image in its original aspect ratio."""
    return np.asarray(stretched(load_sample_image(sample), sample.stretch), np.uint8)


def score(detect: Detect, samples: Sequence[Sample]) -> Score:
    """Score a detector over samples."""
    total = Score()
    for sample in samples:
        total += score_image(
            "icdar2015",
            sample.image.name,
            [text.polygon * np.array(sample.stretch) for text in sample.texts],
            [text.ignore for text in sample.texts],
            [np.rint(quad) for quad in detect(load(sample))],
        ).result.score
    return total


def time_in_turn(ways: dict[str, Detect], images: Sequence[Image], repeats: int) -> dict[str, Any]:
    """Time all ways in turn: least CPU seconds of each on each image."""
    best = {name: [float("inf")] * len(images) for name in ways}
    for index, image in enumerate(images):
        for turn in range(repeats + 1):
            for name, detect in ways.items():
                start = time.process_time()
                detect(image)
                taken = time.process_time() - start
                if turn:  # the first run compiles
                    best[name][index] = min(best[name][index], taken)
    return best


@app.default
def main(
    *models: str,
    data: tuple[str, ...],
    photos: int = 9,
    repeats: int = 5,
    backend: Backend = "auto",
    precision: Precision = "auto",
    rapidocr: bool = True,
    note: str = "",
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Score and time models.

    Parameters
    ----------
    models
        Names or paths of models, each with @SIDE for another short side than its own. The first is
        the one that times are compared with.
    data
        Data sets to score on, each as FORMAT:PATH#PART.
    photos
        Number of photos to time, evenly from the data.
    repeats
        Timed runs of each model on each photo, of which the fastest counts.
    backend
        Library that runs our models.
    precision
        Precision of our models.
    rapidocr
        Whether to add RapidOCR, if it is installed.
    note
        What the photos were used for before, stored with the numbers.
    json
        File for the numbers.
    plot
        PNG file for a plot of F over time.
    """
    check_plot(plot)
    cv2.setNumThreads(1)
    ways = {name: open_model(name, backend, precision) for name in models}
    if rapidocr:
        ways[RAPIDOCR] = open_rapidocr()
    sets = {name: read_dataset(name).samples for name in data}
    samples = [sample for each in sets.values() for sample in each]
    rows = []
    some = [load(samples[i]) for i in np.linspace(0, len(samples) - 1, photos).astype(int)]
    tell(f"timing {', '.join(ways)} on {photos} photos")
    seconds = time_in_turn(ways, some, repeats)
    first = next(iter(ways))
    for name, detect in ways.items():
        tell(f"scoring {name} on {len(samples)} photos")
        scores = {each: score(detect, chosen) for each, chosen in sets.items()}
        ratios = [mine / theirs for mine, theirs in zip(seconds[name], seconds[first], strict=True)]
        rows.append(
            {
                "model": Path(name).name,
                "f": {_short(each): round(100 * found.f, 1) for each, found in scores.items()},
                "precision": {_short(k): round(100 * v.precision, 1) for k, v in scores.items()},
                "recall": {_short(k): round(100 * v.recall, 1) for k, v in scores.items()},
                "cpu_seconds": round(float(np.mean(seconds[name])), 4),
                "times_as_long": round(geometric_mean(ratios), 3),
            }
        )
    _show(rows)
    write_report({"photos": note, "models": rows}, json)
    if plot is not None:
        _draw(rows, plot)


def _short(data: str) -> str:
    """Name of a data set without its folders."""
    return data.rsplit("/", 1)[-1]


def _show(rows: list[dict[str, Any]]) -> None:
    sets = list(rows[0]["f"])
    table = Table("model", *(f"F {name}" for name in sets), "times as long", "CPU s")
    for row in rows:
        fs = (f"{row['f'][name]:.1f}" for name in sets)
        table.add_row(row["model"], *fs, f"{row['times_as_long']:.2f}", f"{row['cpu_seconds']:.3f}")
    console = Console()
    console.print(machine()["cpu"], style="dim")
    console.print(table)


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    count = len(rows[0]["f"])
    label = f"F, mean of {count} sets of photos" if count > 1 else "F"
    x_label = f"CPU seconds of a detection, one thread, {machine()['cpu']}"
    longest = max(row["cpu_seconds"] for row in rows)
    with draw_plot(path, "How well, and how fast", x_label, label) as axes:
        axes.set_xlim(0, 1.25 * longest)  # room for the last name
        axes.margins(y=0.12)
        places = [(row["cpu_seconds"], float(np.mean(list(row["f"].values())))) for row in rows]
        for row, place in zip(rows, places, strict=True):
            is_ours = "dbnet" in row["model"]
            axes.plot(*place, "o", color="tab:orange" if is_ours else "tab:gray")
            is_crowded = any(  # its name would lie on another point
                0 < x - place[0] < longest / 5 and abs(f - place[1]) < 0.3 for x, f in places
            )
            offset = (-4, -15) if is_crowded else (7, -4)
            axes.annotate(row["model"], place, offset, textcoords="offset points")


if __name__ == "__main__":
    app()
