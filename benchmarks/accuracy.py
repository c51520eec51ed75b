# SPDX-License-Identifier: Apache-2.0
"""Compare the text that every engine finds, with the same post-processing.

    python benchmarks/accuracy.py MODEL [--data FORMAT:PATH] [--calibration PHOTOS] [--json FILE]

MODEL is an .onnx file, a name, or a .safetensors checkpoint, which is exported and also run by
PyTorch. The other rows are compared with the first row that runs; a row that cannot run says why.
Without --data the images are drawn scenes, and there is no F. The exit code is 1 if an engine
misses too many boxes of the first row.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import CpuConfig, Detections, Detector, ModelCard, cuda_available
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.calibration import load_calibration
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.int8 import quantize_for_cpu
from dbnet_trt.building.lowering import lower, read_network
from dbnet_trt.building.quantize import quantize
from dbnet_trt.errors import DBNetError, EngineError
from dbnet_trt.zoo import DEFAULT_MODEL, MODELS, find_model
from figure import check_plot, draw_plot
from measure import machine, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scenes import text_scene

Precision = Literal["fp32", "fp16", "int8"]

app = App(help="Compare maps, boxes and scores of every available engine.")
SAME_BOX_IOU = 0.8


@dataclass
class Tally:
    """Differences of an engine's results, over all images."""

    largest: float = 0.0
    mean: list[float] = field(default_factory=list)
    mask_iou: list[float] = field(default_factory=list)
    boxes: int = 0
    matched: int = 0

    def add(self, found: Detections, expected: Detections, threshold: float) -> None:
        """Add one image."""
        assert found.prob_map is not None
        assert expected.prob_map is not None
        difference = np.abs(found.prob_map - expected.prob_map)
        self.largest = max(self.largest, float(difference.max()))
        self.mean.append(float(difference.mean()))
        ours, theirs = found.prob_map > threshold, expected.prob_map > threshold
        union = np.count_nonzero(ours | theirs)
        self.mask_iou.append(np.count_nonzero(ours & theirs) / union if union else 1.0)
        self.boxes += len(expected)
        self.matched += count_same(found.quads, expected.quads)


def count_same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> int:
    """Count the expected quads that a found quad overlaps with an IoU above 0.8."""
    count = 0
    for quad in expected:
        area = cv2.contourArea(quad)
        for other in found:
            overlap, _ = cv2.intersectConvexConvex(quad, other)
            if overlap > SAME_BOX_IOU * (area + cv2.contourArea(other) - overlap):
                count += 1
                break
    return count


@dataclass(frozen=True, slots=True)
class Source:
    """File of a model, and images to quantize it with."""

    path: Path
    card: ModelCard | None
    calibration: str | None
    folder: Path
    """Folder for intermediate files."""


def find_source(model: str, calibration: str | None, folder: Path) -> Source:
    """Find the file of a model."""
    if model in MODELS:
        return Source(*find_model(model), calibration, folder)
    return Source(Path(model), None, calibration, folder)


def calibration_images(source: Source, card: ModelCard) -> NDArray[np.float32]:
    """Load calibration images as (N, 3, 736, 1280) float32, normalised for the network."""
    if source.calibration is None:
        raise EngineError("int8 needs --calibration PHOTOS")
    return load_calibration(source.calibration, card, (736, 1280))


def open_pytorch(source: Source) -> Detector:
    """Open the checkpoint in PyTorch."""
    if source.path.suffix != ".safetensors":
        raise EngineError("the model is not a checkpoint")
    return Detector(source.path, device="cpu")


def open_onnx(source: Source, **options: Any) -> Detector:
    """Open the ONNX file, or export the checkpoint and open the result."""
    path = source.path
    if path.suffix == ".safetensors":
        from dbnet_trt.network.export import export_checkpoint

        path = export_checkpoint(path, source.folder / "fp32.onnx")
    return Detector(path, card=source.card, device="cpu", **options)


def open_int8(source: Source, backend: Literal["openvino", "onnxruntime"]) -> Detector:
    """Quantize to int8 for CPUs with NNCF, leaving no layer out, and open the result."""
    if source.calibration is None:
        raise EngineError("int8 needs --calibration PHOTOS")
    config = BuildConfig("int8", calibration=source.calibration, target="cpu", check=False)
    path = source.folder / "int8.onnx"
    if not path.exists():
        quantize_for_cpu(source.path, path, card=source.card, config=config)
    return Detector(path, cpu=CpuConfig(backend))


def open_graph(source: Source, precision: Precision) -> Detector:
    """Open the graph that TensorRT compiles, in ONNX Runtime."""
    half = precision == "fp16"
    network = lower(read_network(source.path, source.card, half=half), half=half)
    if precision == "int8":
        network = quantize(network, precision, calibration_images(source, network.card))
    return Detector(network.on_cpu())


def open_tensorrt(source: Source, precision: Precision) -> Detector:
    """Build and open an engine for this GPU."""
    if not cuda_available():
        raise EngineError("there is no GPU")
    calibration = source.calibration if precision == "int8" else None
    if precision == "int8" and calibration is None:
        raise EngineError("int8 needs --calibration PHOTOS")
    config = BuildConfig(precision, calibration=calibration, check=False)
    engine = source.folder / f"{precision}.engine"
    return Detector(build_engine(source.path, engine, card=source.card, config=config).path)


Way = Callable[[Source], Detector]
WAYS: dict[str, tuple[Way, float]] = {
    "PyTorch fp32": (open_pytorch, 0.99),
    "ONNX Runtime fp32": (partial(open_onnx, cpu=CpuConfig("onnxruntime")), 0.99),
    "OpenVINO fp32": (partial(open_onnx, cpu=CpuConfig("openvino", "fp32")), 0.99),
    "OpenVINO bf16": (partial(open_onnx, cpu=CpuConfig("openvino", "bf16")), 0.9),
    "OpenVINO int8 (NNCF)": (partial(open_int8, backend="openvino"), 0.8),
    "ONNX Runtime int8 (NNCF)": (partial(open_int8, backend="onnxruntime"), 0.8),
    "TensorRT's fp32 graph, ONNX Runtime": (partial(open_graph, precision="fp32"), 0.99),
    "TensorRT's fp16 graph, ONNX Runtime": (partial(open_graph, precision="fp16"), 0.95),
    "TensorRT's int8 graph, ONNX Runtime": (partial(open_graph, precision="int8"), 0.8),
    "TensorRT fp32": (partial(open_tensorrt, precision="fp32"), 0.99),
    "TensorRT fp16": (partial(open_tensorrt, precision="fp16"), 0.95),
    "TensorRT int8": (partial(open_tensorrt, precision="int8"), 0.8),
}
"""Rows of the table: a way to run a model, and the minimum share of the first row's boxes that it
must find."""


def read_images(data: str | None, limit: int) -> list[NDArray[np.uint8]]:
    """Load the images of a data set, or draw scenes."""
    if data is None:
        rng = np.random.default_rng(0)
        return [text_scene(720, 960, 12, rng) for _ in range(limit)]
    from dbnet_trt.data.open import read_dataset
    from dbnet_trt.data.samples import load_sample_image
    from dbnet_trt.evaluation.evaluate import stretched

    samples = read_dataset(data).samples[:limit]
    return [stretched(load_sample_image(sample), sample.stretch) for sample in samples]


def f_score(detector: Detector, data: str | None, limit: int) -> float | None:
    """Compute F on the data set; None without a data set."""
    if data is None:
        return None
    from dbnet_trt.data.open import read_dataset
    from dbnet_trt.evaluation.evaluate import evaluate_samples

    return evaluate_samples(detector, read_dataset(data).samples[:limit]).score.f


def make_rows(
    source: Source, images: list[NDArray[np.uint8]], data: str | None
) -> list[dict[str, Any]]:
    """Measure one row per engine; `not_run` says why an engine is not available."""
    rows: list[dict[str, Any]] = []
    expected: list[Detections] = []
    for name, (way, min_same) in WAYS.items():
        try:
            detector = way(source)
            found = [detector.detect(image, prob_map=True) for image in images]
        except DBNetError as error:
            rows.append({"engine": name, "not_run": str(error)})
            continue
        expected = expected or found
        tally = Tally()
        for ours, theirs in zip(found, expected, strict=True):
            tally.add(ours, theirs, detector.params.binary_threshold)
        rows.append(
            {
                "engine": name,
                "f": f_score(detector, data, len(images)),
                "map_max": round(tally.largest, 5),
                "map_mean": round(float(np.mean(tally.mean)), 7),
                "mask_iou_min": round(min(tally.mask_iou), 4),
                "boxes": tally.boxes,
                "boxes_matched": tally.matched,
                "agrees": tally.matched >= min_same * tally.boxes,
            }
        )
    return rows


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """Print the table."""
    table = Table("engine", "F", "map, max", "map, mean", "mask IoU, min", "same boxes")
    for row in rows:
        if "not_run" in row:
            table.add_row(row["engine"], "not run", style="dim")
            continue
        score = "" if row["f"] is None else f"{100 * row['f']:.2f}"
        numbers = [f"{row['map_max']:.4f}", f"{row['map_mean']:.1e}", f"{row['mask_iou_min']:.4f}"]
        table.add_row(row["engine"], score, *numbers, f"{row['boxes_matched']} of {row['boxes']}")
    console.print(table)
    for row in rows:
        if "not_run" in row:
            reason = escape(row["not_run"].splitlines()[0])
            console.print(f"{escape(row['engine'])} did not run: {reason}", style="dim")


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw bars: the difference of each engine's maps from the exact ones, and the boxes."""
    ran = [row for row in rows if "not_run" not in row]
    with draw_plot(path, "Is it the same text?", "largest difference of P", "") as axes:
        bars = axes.barh(
            [row["engine"] for row in ran], [row["map_max"] for row in ran], label="of the maps"
        )
        boxes = [f"{row['boxes_matched']} of {row['boxes']} boxes" for row in ran]
        axes.bar_label(bars, boxes, padding=3)
        axes.margins(x=0.45)
        axes.invert_yaxis()


@app.default
def main(
    model: str = DEFAULT_MODEL,
    /,
    *,
    data: str | None = None,
    limit: int = 10,
    calibration: str | None = None,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Compare the engines of a model.

    Parameters
    ----------
    model
        Name of a model, an .onnx file or a .safetensors checkpoint.
    data
        Data set as FORMAT:PATH, for F.
    limit
        Maximum number of images.
    calibration
        Images to quantize with, a folder or FORMAT:PATH; they must not be those of the data set.
    json
        File for the numbers.
    plot
        PNG file for a plot of the differences.
    """
    check_plot(plot)
    images = read_images(data, limit)
    with tempfile.TemporaryDirectory() as folder:
        rows = make_rows(find_source(model, calibration, Path(folder)), images, data)
    console = Console(width=max(130, Console().width))
    console.print(f"{machine()['cpu']}; {len(images)} images", style="dim")
    show(rows, console)
    report = {"model": Path(model).name, "data": data and Path(data).name, "images": len(images)}
    write_report({**report, "rows": rows}, json)
    if plot is not None:
        draw(rows, plot)
    wrong = [row["engine"] for row in rows if not row.get("agrees", True)]
    if wrong:
        raise SystemExit(f"too few boxes of the first engine are found by {', '.join(wrong)}")


if __name__ == "__main__":
    app()
