# SPDX-License-Identifier: Apache-2.0
"""Measure the speed of detection on this machine, and the time of each stage.

python benchmarks/fps.py                                  the default model on drawn scenes
python benchmarks/fps.py --engine x.onnx --images DIR     your model on your photos
python benchmarks/fps.py --engine untrained-resnet18 --device cuda    on a GPU; or x.engine
python benchmarks/fps.py --compare                        compared with other detectors
python benchmarks/fps.py --sweep density --sweep size     growth of times
python benchmarks/fps.py --paper                          the paper's settings and numbers
python benchmarks/fps.py --start                          from the start of a process
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from cyclopts import App, Parameter
from dbnet_trt import Detector, GpuConfig
from dbnet_trt.images.load import load_image
from dbnet_trt.images.sources import find_sources
from dbnet_trt.zoo import DEFAULT_MODEL
from figure import check_plot
from measure import geometric_mean, machine_line, write_report
from model_choice import ModelChoice, runs_on_gpu
from numpy.typing import NDArray
from paper import paper, paper_tables
from plots import save_plot
from rich.console import Console
from rich.table import Table
from stages import check_near, cpu_stages, cpu_table, gpu_stages, gpu_table, throughput
from start import start, start_table
from sweeps import SWEEPS

Photos = dict[str, NDArray[np.uint8]]
SHAPES = {
    "street": (720, 1280, 7),
    "video": (1080, 1920, 12),
    "receipt": (1200, 900, 42),
    "page": (1240, 900, 160),
}

app = App(help="Measure frames per second and the time of each stage.")
console = Console(width=max(120, Console().width))  # the tables are wide


def make_photos(model: ModelChoice) -> Photos:
    """Draw scenes, by name."""
    rng = np.random.default_rng(0)
    return {name: model.draw(*shape, rng) for name, shape in SHAPES.items()}


def read_photos(folder: Path) -> Photos:
    """Load the images of a folder, by name."""
    return {Path(source).name: load_image(source) for source in find_sources([str(folder)])}


def run_stages(
    model: ModelChoice, detector: Detector, photos: Photos, batch: int, repeats: int
) -> dict[str, Any]:
    """Time the stages of every photo, and images per second in batches."""
    if runs_on_gpu(detector):
        return run_gpu(model, detector, photos, repeats)
    stages = {name: cpu_stages(detector, image, repeats) for name, image in photos.items()}
    console.print(cpu_table(stages))
    shares: list[float] = [
        sum(row[stage]["p50_ms"] for stage in ("preprocess", "postprocess", "overhead"))
        / row["network"]["p50_ms"]
        for row in stages.values()
    ]
    console.print(f"without the network: {100 * max(shares):.1f} % of the network's time at most")
    rates = throughput(detector, next(iter(photos.values())), batch, repeats)
    for name, rate in rates.items():
        console.print(f"{name}: {rate:.1f} images/s")
    fps = geometric_mean([row["fps"] for row in stages.values()])
    return {
        "stages": stages,
        "largest_share_outside_network": round(max(shares), 4),
        "images_per_s": rates,
        "fps_geometric_mean": round(fps, 2),
    }


def run_gpu(model: ModelChoice, detector: Detector, photos: Photos, repeats: int) -> dict[str, Any]:
    """Time every photo on the GPU, in each of the ways."""
    plain = model.open(gpu=GpuConfig(cuda_graphs=False))
    if model.is_untrained:
        from dbnet_trt.engines.torch import TorchEngine
        from untrained import CARD, WithText, make_network

        network = WithText(make_network(model.engine or ""))
        reference = Detector(TorchEngine(network, CARD), size=detector.size)
        for name, image in photos.items():
            check_near(detector.detect(image), reference.detect(image), f"{name} on the GPU")
    gpu = {name: gpu_stages(detector, plain, each, repeats) for name, each in photos.items()}
    console.print(gpu_table(gpu))
    return {"gpu": gpu}


def run_sweep(name: str, model: ModelChoice, repeats: int) -> dict[str, Any]:
    """Run one of `SWEEPS`, and print its table."""
    sweep = SWEEPS[name](model, repeats)
    rows = sweep["rows"]
    ways, others = rows[0]["ms"], [key for key in rows[0] if key not in ("ms", "images_per_s")]
    rates = [f"{name}, images/s" for name in rows[0].get("images_per_s", {})]
    table = Table(*others, *ways, *rates, title=f"{sweep['title']}: median ms (p99)")
    for row in rows:
        cells = [f"{ms['p50_ms']:.2f} ({ms['p99_ms']:.2f})" for ms in row["ms"].values()]
        cells += [f"{rate:.2f}" for rate in row.get("images_per_s", {}).values()]
        table.add_row(*(str(row[key]) for key in others), *cells)
    console.print(table)
    for stage, exponent in sweep.get("grows_as_pixels_to", {}).items():
        console.print(f"{stage} grows as pixels^{exponent:.2f}")
    return sweep


def run_compare(photos: Photos, repeats: int) -> dict[str, Any]:
    """Run the comparison with other detectors, and print its tables."""
    from peers import compare, comparison_tables  # imports onnx, which is not needed on a GPU

    result = compare(photos, repeats)
    for table in comparison_tables(result):
        console.print(table)
    console.print(
        "same texts: share of its texts that ours overlap by half, and of ours that its overlap"
    )
    for name, why in result["missing"].items():
        console.print(f"not compared: {name}: {why}", markup=False)
    return result


@dataclass(frozen=True, slots=True)
class Parts:
    """Benchmarks to run instead of the stages."""

    compare: Annotated[bool, Parameter(negative="")] = False
    """Compare with RapidOCR, OpenCV, OnnxTR and a plain Python pipeline, with the same weights."""

    sweep: Annotated[
        tuple[Literal["density", "size", "concurrency", "threads", "streams"], ...],
        Parameter(negative=""),
    ] = ()
    """Measure how times grow with density (lines of text), size, concurrency (simultaneous
    callers), threads, or streams (threads and images side by side)."""

    paper: Annotated[bool, Parameter(negative="")] = False
    """Measure the paper's settings: its image sizes and options, on untrained networks, with one
    thread."""

    start: Annotated[bool, Parameter(negative="")] = False
    """Measure the time from the start of a process to its first detection."""


def run_parts(
    parts: Parts, model: ModelChoice, photos: Photos | None, repeats: int
) -> dict[str, Any]:
    """Run the requested benchmarks, print their tables, and return the numbers by name."""
    report: dict[str, Any] = {}
    if parts.compare:
        report["comparison"] = run_compare(photos or make_photos(ModelChoice()), repeats)
    for name in parts.sweep:
        report.setdefault("sweeps", {})[name] = run_sweep(name, model, repeats)
    if parts.paper:
        report["paper"] = paper(model, min(repeats, 3))
        for table in paper_tables(report["paper"]):
            console.print(table)
    if parts.start:
        report["start"] = start(model, min(repeats, 10))
        console.print(start_table(report["start"]))
    return report


@app.default
def main(
    *,
    parts: Annotated[Parts, Parameter(name="*")] = Parts(),  # frozen
    model: Annotated[ModelChoice, Parameter(name="*")] = ModelChoice(),  # noqa: B008
    images: Path | None = None,
    batch: int = 4,
    repeats: int = 20,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Time the stages, or run --compare, --sweep, --paper or --start instead.

    Parameters
    ----------
    images
        Folder of photos; by default scenes are drawn.
    batch
        Batch size for the throughput.
    repeats
        Rounds per photo; slow cases get fewer, but at least 3.
    json
        File for the numbers.
    plot
        PNG file for a plot of the numbers.
    """
    check_plot(plot)
    console.print(machine_line(), style="dim")
    photos = None if images is None else read_photos(images)
    report = {"model": Path(model.engine or DEFAULT_MODEL).name}
    if parts != Parts():
        report |= run_parts(parts, model, photos, repeats)
    else:
        detector = model.open()
        report["model"] = repr(detector)
        console.print(report["model"], style="dim")
        report |= run_stages(model, detector, photos or make_photos(model), batch, repeats)
    write_report(report, json)
    if plot is not None:
        save_plot(report, plot)


if __name__ == "__main__":
    app()
