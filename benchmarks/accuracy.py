# SPDX-License-Identifier: Apache-2.0
"""Does every engine find the same text? One table, one post-processor.

    python benchmarks/accuracy.py MODEL [--data FORMAT:PATH] [--limit N] [--json FILE]

MODEL is an .onnx file, a name, or a .safetensors checkpoint, which is exported and run by PyTorch
too. The first row is what the others are held against. Without --data the images are scenes of our
own, and there is no F.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import Detections, Detector
from dbnet_trt.errors import DBNetError
from measure import machine, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_scene

app = App(help="Maps, boxes and scores of every engine that is here.")
SAME_BOX_IOU = 0.8


@dataclass
class Tally:
    """What an engine's results differ by, over all images."""

    largest: float = 0.0
    mean: list[float] = field(default_factory=list)
    mask_iou: list[float] = field(default_factory=list)
    boxes: int = 0
    matched: int = 0

    def add(self, found: Detections, expected: Detections, threshold: float) -> None:
        """Count one image."""
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
    """How many expected quads have one of IoU above 0.8 among the found."""
    count = 0
    for quad in expected:
        area = cv2.contourArea(quad)
        for other in found:
            overlap, _ = cv2.intersectConvexConvex(quad, other)
            if overlap > SAME_BOX_IOU * (area + cv2.contourArea(other) - overlap):
                count += 1
                break
    return count


def open_detectors(model: str, folder: Path) -> Iterator[tuple[str, Detector]]:
    """Every way in which this machine can run the model, the exact one first."""
    if model.endswith(".safetensors"):
        from dbnet_trt.training.export import export_checkpoint

        yield "PyTorch fp32", Detector(model)
        onnx_file = str(export_checkpoint(Path(model), folder / "fp32.onnx"))
        half: str | None = str(
            export_checkpoint(Path(model), folder / "fp16.onnx", precision="fp16")
        )
    else:
        onnx_file, half = model, None
    ways: list[tuple[str, str, dict[str, Any]]] = [
        ("ONNX Runtime fp32", onnx_file, {"backend": "onnxruntime"}),
        ("OpenVINO fp32", onnx_file, {"backend": "openvino", "precision": "fp32"}),
        ("OpenVINO bf16", onnx_file, {"backend": "openvino", "precision": "bf16"}),
    ]
    if half is not None:
        ways.append(("ONNX Runtime, fp16 file", half, {"backend": "onnxruntime"}))
    for name, path, options in ways:
        try:
            yield name, Detector(path, **options)
        except DBNetError as error:
            Console(stderr=True).print(f"{name} left out: {error}", style="dim")


def read_images(data: str | None, limit: int) -> list[NDArray[np.uint8]]:
    """Images of a data set, or scenes of our own."""
    if data is None:
        rng = np.random.default_rng(0)
        return [text_scene(720, 960, 12, rng) for _ in range(limit)]
    from dbnet_trt.evaluation.evaluate import stretched
    from dbnet_trt.training.datasets import load_sample_image, read_dataset

    samples = read_dataset(data).samples[:limit]
    return [stretched(load_sample_image(sample), sample.stretch) for sample in samples]


def f_score(detector: Detector, data: str | None, limit: int) -> float | None:
    """F on the data set; None where there is none."""
    if data is None:
        return None
    from dbnet_trt.evaluation.evaluate import evaluate_samples
    from dbnet_trt.training.datasets import read_dataset

    return evaluate_samples(detector, read_dataset(data).samples[:limit]).score.f


@app.default
def main(
    model: str = "ppocrv6-small",
    /,
    *,
    data: str | None = None,
    limit: int = 10,
    json: Path | None = None,
) -> None:
    """Run it.

    Parameters
    ----------
    model
        Name of a model, an .onnx file or a .safetensors checkpoint.
    data
        Data set as FORMAT:PATH, for F.
    limit
        At most so many images.
    json
        Write the numbers here.
    """
    images = read_images(data, limit)
    rows: list[dict[str, Any]] = []
    expected: list[Detections] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, detector in open_detectors(model, Path(folder)):
            found = [detector.detect(image, prob_map=True) for image in images]
            expected = expected or found
            tally = Tally()
            for ours, theirs in zip(found, expected, strict=True):
                tally.add(ours, theirs, detector.params.binary_threshold)
            rows.append(
                {
                    "engine": name,
                    "f": f_score(detector, data, limit),
                    "map_max": round(tally.largest, 5),
                    "map_mean": round(float(np.mean(tally.mean)), 7),
                    "mask_iou_min": round(min(tally.mask_iou), 4),
                    "boxes": tally.boxes,
                    "boxes_matched": tally.matched,
                }
            )
    console = Console()
    console.print(f"{machine()['cpu']}; {len(images)} images", style="dim")
    table = Table("engine", "F", "map, most", "map, mean", "mask IoU, least", "same boxes")
    for row in rows:
        score = "" if row["f"] is None else f"{100 * row['f']:.2f}"
        numbers = [f"{row['map_max']:.4f}", f"{row['map_mean']:.1e}", f"{row['mask_iou_min']:.4f}"]
        table.add_row(row["engine"], score, *numbers, f"{row['boxes_matched']} of {row['boxes']}")
    console.print(table)
    write_report({"model": Path(model).name, "images": len(images), "rows": rows}, json)


if __name__ == "__main__":
    app()
