# SPDX-License-Identifier: Apache-2.0
"""Count the operations and bytes of a network, and compute its minimum time on several GPUs.

    python benchmarks/roofline.py [MODEL ...] [--size H W] [--measure] [--plot FILE.png]

The floor is a sum over the layers that do arithmetic, of the longer of computing and moving data:
every weight, input and output once, in FP16 (FP32 on the GTX 10 series). Other layers are assumed
to be fused. The floor is not a prediction: good engines take 1.5 to 3 times as long.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from cyclopts import App
from dbnet_trt import Detector
from dbnet_trt.engines import Engine
from dbnet_trt.zoo import DEFAULT_MODEL, MODELS, find_model
from figure import check_plot, draw_plot
from measure import interleaved, machine, summary, write_report
from rich.console import Console
from rich.table import Table

app = App(help="Compute operations, bytes and the minimum time of a network.")


@dataclass(frozen=True, slots=True)
class Gpu:
    """Peak performance from the vendor's data sheets, without sparsity."""

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
    """Number of floating-point operations of a layer, and of values that it reads and writes."""

    flops: float
    values: float


def read_layers(model: onnx.ModelProto, size: tuple[int, int]) -> list[Layer]:
    """List the layers of a model that do arithmetic, for one image of a size (height, width)."""
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
    if node.op_type not in ("Conv", "ConvTranspose", "DeformConv", "Gemm", "MatMul"):
        return None
    source, weight, result = (shapes.get(n, ()) for n in (*node.input[:2], node.output[0]))
    if not (source and weight and result) or 0 in (*source, *weight, *result):
        raise SystemExit(f"the size of {node.output[0]} ({node.op_type}) cannot be determined")
    # Each output value of a convolution, and each input value of a transposed one, is multiplied by
    # the weights of one filter: all weights, divided by the channels that are counted already.
    values = result if node.op_type != "ConvTranspose" else source
    per_value = math.prod(weight) / (weight[0] if len(weight) == 4 else weight[-1])
    return Layer(2.0 * math.prod(values) * per_value, sum(map(math.prod, (source, weight, result))))


def floor_ms(layers: list[Layer], gpu: Gpu) -> float:
    """Compute the minimum time of a network on a GPU, in ms."""
    return sum(
        max(
            layer.flops / (gpu.tflops * 1e9),
            layer.values * gpu.bytes_per_value / (gpu.gb_per_second * 1e6),
        )
        for layer in layers
    )


def open_model(name: str, folder: Path) -> tuple[str, onnx.ModelProto, Engine]:
    """Open a model or an untrained DBNet: its name, its graph, and the network on this CPU."""
    path = find_model(name)[0] if name in MODELS else Path(name)
    if name.startswith("untrained-"):
        from untrained import export_untrained  # with PyTorch

        path = folder / f"{name}.onnx"
        path.write_bytes(export_untrained(name))
    detector = Detector(name if name in MODELS else path, device="cpu")
    title = name if path.parent == folder else detector.card.name
    return title, onnx.load(path), cast(Engine, detector._engine)


def measure_ms(engines: dict[str, Engine], size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """Time the networks on this CPU, in turn."""
    batch = np.zeros((1, 3, *size), np.float32)
    for name, engine in engines.items():
        maps = engine(batch)
        if maps.shape != (1, *size) or not np.isfinite(maps).all():
            raise SystemExit(f"{name} does not return a map of {size[0]}x{size[1]}")
    functions: dict[str, Callable[[], object]] = {
        name: partial(engine, batch) for name, engine in engines.items()
    }
    return {name: summary(times) for name, times in interleaved(functions, 10).items()}


def draw(graphs: dict[str, list[Layer]], gpu_name: str, path: Path) -> None:
    """Draw the roofline of a GPU, and the computed layers under it."""
    gpu = GPUS[gpu_name]
    ridge = gpu.tflops * 1e3 / gpu.gb_per_second
    title = f"Layers under the roofline of {gpu_name}: computed, not measured"
    with draw_plot(path, title, "operations per byte", "maximum TFLOP/s") as axes:
        axes.set(xscale="log", yscale="log")
        slope = np.geomspace(0.1, 1e5, 200)
        axes.plot(
            slope, np.minimum(slope * gpu.gb_per_second / 1e3, gpu.tflops), "k-", label="roof"
        )
        axes.axvline(ridge, color="k", lw=0.5, ls=":")
        for name, layers in graphs.items():
            intensity = np.array([x.flops / (x.values * gpu.bytes_per_value) for x in layers])
            roof = np.minimum(intensity * gpu.gb_per_second / 1e3, gpu.tflops)
            sizes = [400 * x.flops / sum(y.flops for y in layers) + 4 for x in layers]
            axes.scatter(intensity, roof, sizes, alpha=0.5, label=name)


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """Print operations, floors and measured times."""
    table = Table("model", "GFLOP", "million values", title="computed floors in ms")
    for gpu in GPUS:
        table.add_column(gpu, justify="right")
    measured = any("measured_ms" in row for row in rows)
    for heading in ("this CPU, measured ms", "TFLOP/s") if measured else ():
        table.add_column(heading, justify="right")
    for row in rows:
        floors = [f"{row['floor_ms'][gpu]:.3f}" for gpu in GPUS]
        table.add_row(
            row["model"],
            f"{row['gflop']:.1f}",
            f"{row['million_values']:.0f}",
            *floors,
            *([f"{row['measured_ms']['p50_ms']:.1f}", f"{row['tflops']:.2f}"] if measured else []),
        )
    console.print(table)


@app.default
def main(
    *models: str,
    size: tuple[int, int] = (736, 1280),
    measure: bool = False,
    gpu: str = "T4",
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Compute operations, bytes and floors.

    Parameters
    ----------
    models
        Names of models, paths of .onnx files, or untrained DBNets such as untrained-resnet18; by
        default the default model.
    size
        Height and width of the network's input, in pixels.
    measure
        Also time the networks on this CPU.
    gpu
        GPU whose roofline is drawn.
    json
        File for the numbers.
    plot
        PNG file for a plot of the layers under the roofline of gpu.
    """
    check_plot(plot)
    if gpu not in GPUS:
        raise SystemExit(f"gpu must be one of {', '.join(GPUS)}, got {gpu}")
    graphs, engines = {}, {}
    for model in models or (DEFAULT_MODEL,):
        with tempfile.TemporaryDirectory() as folder:
            name, graph, engines_of = open_model(model, Path(folder))
        graphs[name], engines[name] = read_layers(graph, size), engines_of
    rows: list[dict[str, Any]] = [
        {
            "model": name,
            "gflop": round(sum(layer.flops for layer in layers) / 1e9, 2),
            "million_values": round(sum(layer.values for layer in layers) / 1e6, 1),
            "floor_ms": {gpu: round(floor_ms(layers, peaks), 3) for gpu, peaks in GPUS.items()},
        }
        for name, layers in graphs.items()
    ]
    if measure:
        times = measure_ms(engines, size)
        for row in rows:
            row["measured_ms"] = times[row["model"]]
            row["tflops"] = round(row["gflop"] / row["measured_ms"]["p50_ms"], 3)
    console = Console(width=max(130, Console().width))
    console.print(f"{size[0]}x{size[1]}; {machine()['cpu']}", style="dim")
    show(rows, console)
    write_report({"size": list(size), "on_paper": list(GPUS), "rows": rows}, json)
    if plot is not None:
        draw(graphs, gpu, plot)


if __name__ == "__main__":
    app()
