# SPDX-License-Identifier: Apache-2.0
"""Time the GPU kernels, and compare them with the limit that memory bandwidth sets.

    python benchmarks/kernels.py [--json FILE] [--repeats N]

Each kernel is captured in a graph of its own and timed by events around many replays. The floor is
the time to read the input and write the output at the bandwidth of a copy, measured here. Results
are checked before anything is timed. For comparison, component labelling alone is timed in OpenCV
on the CPU and, if installed, in CuPy. Needs PyTorch with CUDA.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from cyclopts import App
from dbnet_trt import ModelCard, SizePolicy, _core, cuda_available
from dbnet_trt.images.nv12 import NO_COLORS
from dbnet_trt.pipeline.postprocess import core_params, postprocess
from dbnet_trt.pipeline.preprocess import preprocess
from dbnet_trt.settings import PostprocessParams, ResizePlan
from figure import check_plot, draw_plot
from measure import interleaved, summary, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_map, text_scene

REPLAYS = 20  # replays between two events, so that launch gaps do not dominate
CAPACITY = 8192
CARD = ModelCard(name="none")

app = App(help="Time the GPU kernels.")


class Upload(NamedTuple):
    """Parameters that the kernels read from GPU memory: addresses in `memory`."""

    memory: torch.Tensor
    params: int
    images: int
    map_sizes: int
    image_sizes: int


def write_upload(images: list[tuple[Any, tuple[int, int]]], params: PostprocessParams) -> Upload:
    """Write the parameters as the pipeline does, for images and their sizes in the network."""
    host = torch.empty(_core.kernels.upload_bytes(images), dtype=torch.uint8)
    device = torch.empty_like(host, device="cuda")
    addresses = _core.kernels.write_upload(
        images, core_params(params, logits=False), host.data_ptr(), device.data_ptr()
    )
    device.copy_(host)
    return Upload(device, *addresses)


def time_us(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Measure one run inside a graph: median and 99th percentile in microseconds."""
    stream: Any = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.stream(stream):
        work()
    stream.synchronize()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        for _ in range(REPLAYS):
            work()
    times = []
    with torch.cuda.stream(stream):
        for _ in range(repeats + 3):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            times.append(1e3 * begin.elapsed_time(end) / REPLAYS)
    return {
        "p50_us": round(float(np.median(times[3:])), 2),
        "p99_us": round(float(np.percentile(times[3:], 99)), 2),
    }


def current_stream() -> int:
    return int(torch.cuda.current_stream().cuda_stream)


def bandwidth_gb_s(repeats: int) -> float:
    """Measure the bandwidth of a copy of 256 MiB: bytes read and written per nanosecond."""
    source = torch.zeros(1 << 28, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    time = time_us(lambda: target.copy_(source), max(3, repeats // 5))["p50_us"]
    return 2 * source.nbytes / time / 1e3


# ---- the kernels ---------------------------------------------------------------------------------


def preprocess_rows(image: NDArray[np.uint8], repeats: int) -> list[dict[str, Any]]:
    """Time the kernel that resizes, normalises and pads one image into half precision."""
    plan = SizePolicy().plan(*image.shape[:2])
    upload = write_upload([(image, plan.resized)], PostprocessParams())
    out = torch.empty((3, *plan.padded), dtype=torch.half, device="cuda")
    normalization = CARD.normalization
    scale, bias = normalization.multiplier.tolist(), normalization.offset.tolist()

    def run() -> None:
        shape = (1, *plan.padded)
        _core.kernels.preprocess(
            upload.images, shape, scale, bias, False, True, out.data_ptr(), current_stream()
        )

    run()
    expected = np.empty((3, *plan.padded), np.float32)
    preprocess(image, plan, normalization, expected)
    np.testing.assert_array_equal(out.cpu().numpy(), expected.astype(np.float16))
    num_bytes = image.nbytes + out.nbytes
    size = f"{image.shape[0]}x{image.shape[1]} to {plan.padded[0]}x{plan.padded[1]}"
    return [{"work": f"preprocess, {size}", "bytes": num_bytes, **time_us(run, repeats)}]


def boxes_rows(name: str, prob_map: NDArray[np.float32], repeats: int) -> list[dict[str, Any]]:
    """Time the kernels from a map in half precision to boxes, and labelling in CuPy."""
    values = torch.from_numpy(prob_map).half().cuda()
    on_host = values.float().cpu().numpy()
    shape = (1, *prob_map.shape)
    params = PostprocessParams(max_candidates=CAPACITY)
    pixels = (0, 0, 0, 0, *prob_map.shape, NO_COLORS)  # none: the map is the image
    whole = (pixels, prob_map.shape)
    upload = write_upload([whole], params)
    workspace = torch.empty(_core.kernels.workspace_bytes(shape), dtype=torch.uint8, device="cuda")
    text_box = _core.kernels.TEXT_BOX
    counts = torch.zeros(2, dtype=torch.int32, device="cuda")
    boxes = torch.zeros(CAPACITY * text_box.itemsize, dtype=torch.uint8, device="cuda")
    labels = torch.zeros(prob_map.shape, dtype=torch.int32, device="cuda")
    maps = (values.data_ptr(), True, upload.map_sizes, shape)

    def run() -> None:
        _core.kernels.find_boxes(
            maps,
            upload.image_sizes,
            upload.params,
            workspace.data_ptr(),
            counts.data_ptr(),
            boxes.data_ptr(),
            CAPACITY,
            current_stream(),
        )

    def run_with_labels() -> None:
        run()
        _core.kernels.write_labels(maps, workspace.data_ptr(), labels.data_ptr(), current_stream())

    run_with_labels()
    found = np.frombuffer(boxes.cpu().numpy().tobytes(), text_box)[: int(counts[0])]
    plan = ResizePlan(prob_map.shape, prob_map.shape, prob_map.shape)
    (expected,) = postprocess(on_host[None], [plan], params, logits=False)
    assert len(found) == len(expected), f"{name}: {len(found)} boxes, {len(expected)} on the CPU"
    if len(found) > 0:
        distances = np.abs(found["quad"] - expected.quads).max(axis=(1, 2))
        assert distances.max() <= 1, f"{name}: corners {distances.max()} px apart"
    rows = [
        {"work": f"find_boxes, {name}", "bytes": values.nbytes, **time_us(run, repeats)},
        {
            "work": f"find_boxes and labels, {name}",
            "bytes": values.nbytes + labels.nbytes,
            **time_us(run_with_labels, repeats),
        },
    ]
    rows.append(opencv_row(name, on_host > params.binary_threshold, repeats))
    return rows + cupy_rows(name, values, params.binary_threshold, repeats)


def opencv_row(name: str, binary: NDArray[np.bool_], repeats: int) -> dict[str, Any]:
    """Time cv2.connectedComponentsWithStats on the CPU: components only, without a transfer."""
    image = binary.view(np.uint8)
    times = interleaved({"": lambda: cv2.connectedComponentsWithStats(image)}, max(3, repeats // 5))
    microseconds = {f"{key[:3]}_us": 1e3 * value for key, value in summary(times[""]).items()}
    return {"work": f"OpenCV on the CPU, {name}", "bytes": 5 * binary.size, **microseconds}


def cupy_rows(
    name: str, values: torch.Tensor, threshold: float, repeats: int
) -> list[dict[str, Any]]:
    """Time cupyx.scipy.ndimage.label on the same map: components only; it cannot be captured."""
    try:
        import cupy
        from cupyx.scipy import ndimage
    except ImportError:
        return []
    binary = cupy.from_dlpack((values > threshold).to(torch.uint8))
    structure = cupy.ones((3, 3), int)
    times = []
    for _ in range(max(3, repeats // 5) + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        ndimage.label(binary, structure)
        cupy.cuda.get_current_stream().synchronize()
        end.record()
        end.synchronize()
        times.append(1e3 * begin.elapsed_time(end))
    time = {"p50_us": round(float(np.median(times[3:])), 2), "p99_us": round(max(times[3:]), 2)}
    return [{"work": f"CuPy label, {name}", "bytes": binary.nbytes + 4 * binary.size, **time}]


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw bars: the time of each row, and the floor that memory bandwidth sets."""
    names = [row["work"] for row in rows]
    with draw_plot(path, "How near are the kernels to the memory's speed?", "us", "") as axes:
        axes.barh(names, [row["p50_us"] for row in rows], label="median time")
        axes.barh(names, [row["floor_us"] for row in rows], label="floor: bytes at a copy's speed")
        axes.set_xscale("log")
        axes.invert_yaxis()


@app.default
def main(*, repeats: int = 50, json: Path | None = None, plot: Path | None = None) -> None:
    """Time the kernels.

    Parameters
    ----------
    repeats
        Rounds per row, of 20 replays each.
    json
        File for the numbers.
    plot
        PNG file for a plot of the times and their floors.
    """
    check_plot(plot)
    if not (cuda_available() and torch.cuda.is_available()):
        raise SystemExit("this benchmark needs a GPU, PyTorch with CUDA, and a build with CUDA")
    rng = np.random.default_rng(0)
    bandwidth = bandwidth_gb_s(repeats)
    work: list[Callable[[], list[dict[str, Any]]]] = [
        functools.partial(preprocess_rows, text_scene(h, w, 12, rng), repeats)
        for h, w in [(720, 1280), (1080, 1920)]
    ]
    for h, w, lines in [(640, 640, 20), (736, 1280, 42), (736, 1280, 900), (4096, 4096, 1000)]:
        prob_map = text_map(h, w, lines, rng)
        work.append(functools.partial(boxes_rows, f"{h}x{w}, {lines} lines", prob_map, repeats))
    noise = rng.random((640, 640), dtype=np.float32)
    work.append(functools.partial(boxes_rows, "640x640, noise", noise, repeats))
    rows: list[dict[str, Any]] = []
    wrong = []
    for each in work:
        try:
            rows += each()
        except AssertionError as error:  # continue, as the other results are still of use
            wrong.append(str(error).strip())
    table = Table("work", "median us", "p99 us", "floor us", "of the floor")
    for row in rows:
        row["floor_us"] = round(row["bytes"] / bandwidth / 1e3, 2)
        share = f"{row['floor_us'] / row['p50_us']:.0%}"
        table.add_row(
            row["work"], *(f"{row[k]:.1f}" for k in ("p50_us", "p99_us", "floor_us")), share
        )
    console = Console(width=120)
    console.print(f"{torch.cuda.get_device_name()}, copies at {bandwidth:.0f} GB/s", style="dim")
    console.print(table)
    gpu = {"name": torch.cuda.get_device_name(), "copy_gb_s": round(bandwidth)}
    write_report({"gpu": gpu, "rows": rows, "wrong": wrong}, json)
    if plot is not None:
        draw(rows, plot)
    if wrong:
        raise SystemExit("wrong results, not timed:\n" + "\n".join(wrong))


if __name__ == "__main__":
    app()
