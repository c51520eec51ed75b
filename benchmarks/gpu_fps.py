# SPDX-License-Identifier: Apache-2.0
"""Frames a second on the GPU, from an image in host memory to its text.

    python benchmarks/gpu_fps.py [--json FILE] [--repeats N] [--backbone resnet50]

The network is DBNet in PyTorch, FP16, untrained: its time does not depend on the weights. So that
there is text to find, what is dark in the image is added to its map.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cyclopts import App
from dbnet_trt import Detector, ModelCard, SizePolicy, cuda_available
from dbnet_trt.engines.torch import TorchDeviceEngine, TorchEngine
from dbnet_trt.gpu import GpuConfig
from dbnet_trt.training.backbone import BackboneName
from dbnet_trt.training.model import DBNet, ModelConfig
from measure import interleaved, summary, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_map

CARD = ModelCard(name="untrained", output="logit")
FRAMES = 8  # of a clip

app = App(help="Frames a second on the GPU.")
Image = NDArray[np.uint8]


class WithText(torch.nn.Module):
    """The network's map, all but constant, plus what is dark."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images) * 0.01 - 4 * images.mean(1)


def make_frames(height: int, width: int, num_texts: int) -> list[Image]:
    """(height, width, 3) uint8, text dark on white."""
    rng = np.random.default_rng(0)
    maps = [text_map(height, width, num_texts, rng) for _ in range(FRAMES)]
    return [np.repeat((255 * (1 - each)).astype(np.uint8)[..., None], 3, axis=2) for each in maps]


def check(detector: Detector, reference: Detector, image: Image, size: SizePolicy) -> int:
    """The texts are those of the CPU's way; how many."""
    found = detector.detect(image, size=size)
    expected = reference.detect(image, size=size)
    near = [np.abs(found.quads - quad).max(axis=(1, 2)).min() < 1 for quad in expected.quads]
    if abs(len(found) - len(expected)) > 0.02 * len(expected) or np.mean(near) < 0.98:
        raise SystemExit(f"{len(found)} texts where the CPU finds {len(expected)}")
    return len(found)


def video(detector: Detector, frames: list[Image], size: SizePolicy) -> None:
    """A clip, two frames on their way at a time."""
    ahead = detector.submit([frames[0]], size=size)
    for frame in frames[1:]:
        ticket = detector.submit([frame], size=size)
        detector.collect(ahead)
        ahead = ticket
    detector.collect(ahead)


def run_size(
    detectors: dict[str, Detector], reference: Detector, height: int, width: int, repeats: int
) -> dict[str, Any]:
    """Times of one size of frames, in ms a frame."""
    size = SizePolicy(min(height, width))
    frames = make_frames(height, width, 30)
    graph = detectors["graph"]
    num_texts = check(graph, reference, frames[0], size)
    on_device = [torch.from_numpy(frame).cuda() for frame in frames]
    work: dict[str, tuple[Callable[[], object], int]] = {
        f"detect, {name}": (functools.partial(each.detect, frames[0], size=size), 1)
        for name, each in detectors.items()
    }
    work |= {
        "detect, image on the GPU": (lambda: graph.detect(on_device[0], size=size), 1),
        "video": (lambda: video(graph, frames, size), FRAMES),
        "batch 8": (lambda: graph.detect_batch(frames, batch_size=8, size=size), FRAMES),
    }
    times = interleaved({name: function for name, (function, _) in work.items()}, repeats)
    per_frame = {name: summary(times[name] / count) for name, (_, count) in work.items()}
    return {"size": [height, width], "texts": num_texts, "ms": per_frame}


@app.default
def main(
    *, backbone: BackboneName = "resnet18", repeats: int = 30, json: Path | None = None
) -> None:
    """Run it.

    Parameters
    ----------
    backbone
        resnet18, resnet50 or mobilenetv2.
    repeats
        Rounds.
    json
        Write the numbers here.
    """
    if not (cuda_available() and torch.cuda.is_available()):
        raise SystemExit("this needs a GPU, PyTorch with CUDA, and a build with CUDA")
    torch.manual_seed(0)
    model = WithText(DBNet(ModelConfig(backbone=backbone))).eval()
    reference = Detector(TorchEngine(model, CARD))
    plain = GpuConfig(cuda_graphs=False)
    detectors = {
        "graph": Detector(TorchDeviceEngine(copy.deepcopy(model), CARD)),
        "plain launches": Detector(TorchDeviceEngine(copy.deepcopy(model), CARD), gpu=plain),
    }
    rows = [run_size(detectors, reference, *size, repeats) for size in [(640, 640), (736, 1280)]]
    table = Table("size", "texts", "work", "median ms", "p99 ms", "frames/s")
    for row in rows:
        for name, time in row["ms"].items():
            size = f"{row['size'][0]}x{row['size'][1]}"
            rate = f"{1000 / time['p50_ms']:.0f}"
            table.add_row(
                size,
                str(row["texts"]),
                name,
                f"{time['p50_ms']:.2f}",
                f"{time['p99_ms']:.2f}",
                rate,
            )
    console = Console(width=120)
    console.print(f"{torch.cuda.get_device_name()}; {detectors['graph']}", style="dim")
    console.print(table)
    report = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    write_report(report, json)


if __name__ == "__main__":
    app()
