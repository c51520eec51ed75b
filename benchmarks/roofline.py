# SPDX-License-Identifier: Apache-2.0
"""What a network costs on paper: its operations and bytes, and the least time on named GPUs.

    python benchmarks/roofline.py MODEL [--size H W] [--measure]

The floor adds up, over the layers that do arithmetic, the longer of computing and moving: every
weight, input and output once, in FP16 (FP32 on the GTX 10 series), everything else fused away. A
floor is no prediction: good engines need one and a half to three times as long.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from cyclopts import App
from dbnet_trt import Detector
from dbnet_trt.weights import MODELS, find_model
from measure import interleaved, machine, summary, write_report
from rich.console import Console
from rich.table import Table

app = App(help="Operations, bytes and the least time of a network.")


@dataclass(frozen=True, slots=True)
class Gpu:
    """Peaks from the vendor's data sheets: dense, without sparsity."""

    tflops: float
    gb_per_second: float
    bytes_per_value: int = 2


GPUS = {
    "GTX 1080 Ti (FP32)": Gpu(11.3, 484, 4),
    "T4": Gpu(65, 320),
    "RTX 4090": Gpu(165, 1008),
    "A100": Gpu(312, 1555),
    "H200": Gpu(989, 4800),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: floating-point operations, and values that it reads and writes."""

    flops: float
    values: float


def read_layers(model: onnx.ModelProto, size: tuple[int, int]) -> list[Layer]:
    """The layers of a model that do arithmetic, for one image of a size (height, width)."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    (image,) = (i for i in fixed.graph.input if len(i.type.tensor_type.shape.dim) == 4)
    for dim, value in zip(image.type.tensor_type.shape.dim, (1, 3, *size), strict=True):
        dim.dim_value = value
    for output in fixed.graph.output:
        output.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes = {init.name: tuple(init.dims) for init in graph.initializer}
    for value in [*graph.value_info, *graph.input, *graph.output]:
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = next((a.t for a in node.attribute if a.name == "value"), None)
            if tensor is not None:
                shapes[node.output[0]] = tuple(tensor.dims)
    return [layer for node in graph.node if (layer := _layer(node, shapes)) is not None]


def _layer(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> Layer | None:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return None
    source, weight, result = (shapes.get(n, ()) for n in (*node.input[:2], node.output[0]))
    if not (source and weight and result) or 0 in (*source, *weight, *result):
        raise SystemExit(f"the size of {node.output[0]} ({node.op_type}) cannot be told")
    # Every output value of a convolution, and every input value of a transposed one, meets the
    # weights of one filter; a filter has all weights but those of the channels counted already.
    values = result if node.op_type != "ConvTranspose" else source
    per_value = math.prod(weight) / (weight[0] if len(weight) == 4 else weight[-1])
    return Layer(2.0 * math.prod(values) * per_value, sum(map(math.prod, (source, weight, result))))


def floor_ms(layers: list[Layer], gpu: Gpu) -> float:
    """The least time of a network on a GPU, in ms."""
    return sum(
        max(
            layer.flops / (gpu.tflops * 1e9),
            layer.values * gpu.bytes_per_value / (gpu.gb_per_second * 1e6),
        )
        for layer in layers
    )


@app.default
def main(
    model: str | None = None,
    /,
    *,
    size: tuple[int, int] = (736, 1280),
    measure: bool = False,
    json: Path | None = None,
) -> None:
    """Run it.

    Parameters
    ----------
    model
        Name of a model, or path of an .onnx file; the default model if left out.
    size
        Height and width of the network's input.
    measure
        Time the network on this CPU as well.
    json
        Write the numbers here.
    """
    detector = Detector(model)
    name = model or detector.card.name
    path = find_model(name)[0] if name in MODELS else Path(name)
    layers = read_layers(onnx.load(path), size)
    gflop = sum(layer.flops for layer in layers) / 1e9
    mvalues = sum(layer.values for layer in layers) / 1e6
    console = Console()
    console.print(
        f"[bold]{detector.card.name}[/bold] at {size[0]}x{size[1]}: {gflop:.1f} GFLOP, "
        f"{mvalues:.0f} million values read and written"
    )
    rows = {gpu: round(floor_ms(layers, peaks), 3) for gpu, peaks in GPUS.items()}
    table = Table("GPU", "floor, ms (on paper)", "images/s")
    for gpu, least in rows.items():
        table.add_row(gpu, f"{least:.3f}", f"{1000 / least:.0f}")
    console.print(table)
    report: dict[str, Any] = {"model": detector.card.name, "size": list(size)}
    report |= {"gflop": round(gflop, 2), "floor_ms": rows}
    if measure:
        batch = np.zeros((1, 3, *size), np.float32)
        times = interleaved({"network": lambda: detector._engine(batch)}, 10)["network"]
        report["measured_ms"] = summary(times)
        rate = gflop / float(np.median(times))
        console.print(f"{machine()['cpu']}: {np.median(times):.1f} ms, {rate:.2f} TFLOP/s")
    write_report(report, json)


if __name__ == "__main__":
    app()
