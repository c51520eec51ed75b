# SPDX-License-Identifier: Apache-2.0
"""How fast is detection on this machine, and where does the time go?

python benchmarks/fps.py                                  the default model on scenes of our own
python benchmarks/fps.py --engine x.onnx --images DIR     your model on your photos
python benchmarks/fps.py --compare                        beside RapidOCR with the same weights
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from cyclopts import App, Parameter
from dbnet_trt import Detections, Detector, SizePolicy
from dbnet_trt.engines import DeviceEngine
from dbnet_trt.images import find_sources, load_image
from dbnet_trt.postprocess import postprocess
from dbnet_trt.preprocess import preprocess
from measure import geometric_mean, interleaved, machine, summary, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_scene

Photos = dict[str, NDArray[np.uint8]]
RAPIDOCR_SHORT_SIDE = 736  # its size policy: at least this, and never made smaller up to
RAPIDOCR_LONG_SIDE = 2000  # this long side

app = App(help="Frames a second, and where the time goes.")
console = Console(width=max(120, Console().width))  # the tables are wide


def make_photos() -> Photos:
    """Scenes of our own, by name."""
    rng = np.random.default_rng(0)
    shapes = {
        "street": (720, 1280, 7),
        "video": (1080, 1920, 12),
        "receipt": (1200, 900, 42),
        "page": (1240, 900, 160),
    }
    return {name: text_scene(*shape, rng) for name, shape in shapes.items()}


def read_photos(folder: Path) -> Photos:
    """The images of a folder, by name."""
    return {Path(source).name: load_image(source) for source in find_sources([str(folder)])}


def stage_times(detector: Detector, image: NDArray[np.uint8], repeats: int) -> dict[str, Any]:
    """Times of decoding, preprocessing, network, post-processing and of all of `detect`."""
    engine, card = detector._engine, detector.card
    if isinstance(engine, DeviceEngine):
        raise SystemExit("this model runs on the GPU; time it with benchmarks/gpu_fps.py")
    jpeg = bytes(cv2.imencode(".jpg", image)[1])
    plan = detector._size.plan(*image.shape[:2])
    batch = np.empty((1, 3, *plan.padded), np.float32)
    preprocess(image, plan, card, batch[0])
    maps = engine(batch)
    logits = card.output == "logit"
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: load_image(jpeg),
        "preprocess": lambda: preprocess(image, plan, card, batch[0]),
        "network": lambda: engine(batch),
        "postprocess": lambda: postprocess(maps, [plan], detector._params, logits=logits),
        "detect": lambda: detector.detect(image),
    }
    times = interleaved(stages, repeats)
    total = float(np.median(times["detect"]))
    return {
        "size": list(plan.padded),
        "texts": len(detector.detect(image)),
        **{name: summary(values) for name, values in times.items()},
        "fps": round(1000 / total, 2),
    }


def throughput(
    detector: Detector, images: list[NDArray[np.uint8]], batch: int, repeats: int
) -> dict[str, Any]:
    """Images a second when many are given at once."""
    run = functools.partial(detector.detect_batch, images, batch_size=batch)
    times = interleaved({"batch": run}, max(3, repeats // 4))["batch"]
    return {"batch": batch, "images_per_s": round(1000 * len(images) / float(np.median(times)), 2)}


# ---- beside RapidOCR ---------------------------------------------------------------------------


def rapidocr_detectors() -> dict[str, Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]]:
    """RapidOCR's text detection, as installed and with OpenVINO: image to quads."""
    from rapidocr import EngineType, RapidOCR

    def open_one(engine_type: Any) -> Callable[[NDArray[np.uint8]], list[NDArray[np.float32]]]:
        ocr = RapidOCR(params={"Global.log_level": "critical", "Det.engine_type": engine_type})

        def run(image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
            found = ocr(image, use_det=True, use_cls=False, use_rec=False)
            return [] if found.boxes is None else [np.asarray(quad) for quad in found.boxes]

        return run

    return {
        "RapidOCR as installed (ONNX Runtime)": open_one(EngineType.ONNXRUNTIME),
        "RapidOCR with OpenVINO": open_one(EngineType.OPENVINO),
    }


def same_size(height: int, width: int) -> SizePolicy:
    """The policy that gives an image the size it has inside RapidOCR, but for rounding."""
    short, long = min(height, width), max(height, width)
    factor = min(max(1.0, RAPIDOCR_SHORT_SIDE / short), RAPIDOCR_LONG_SIDE / long)
    return SizePolicy(max(1, round(short * factor)), max(RAPIDOCR_LONG_SIDE, round(long * factor)))


def share_found(found: Detections, quads: list[NDArray[np.float32]]) -> float:
    """Share of the other detector's texts that ours overlaps by half."""
    if not quads:
        return 1.0
    hits = 0
    for quad in quads:
        area = cv2.contourArea(quad.astype(np.float32))
        overlaps = [
            cv2.intersectConvexConvex(quad.astype(np.float32), ours)[0] for ours in found.quads
        ]
        hits += max(overlaps, default=0) > 0.5 * area
    return hits / len(quads)


def compare(photos: Photos, repeats: int) -> dict[str, Any]:
    """Same weights, photos and sizes: ours and RapidOCR, interleaved."""
    ours = {
        "dbnet_trt": Detector("ppocrv6-small"),
        "dbnet_trt with ONNX Runtime": Detector("ppocrv6-small", backend="onnxruntime"),
    }
    peers = rapidocr_detectors()
    rows: list[dict[str, Any]] = []
    for name, image in photos.items():
        size = same_size(*image.shape[:2])
        found = ours["dbnet_trt"].detect(image, size=size)
        agreed = share_found(found, next(iter(peers.values()))(image))
        functions: dict[str, Callable[[], object]] = {
            key: functools.partial(detector.detect, image, size=size)
            for key, detector in ours.items()
        } | {key: functools.partial(peer, image) for key, peer in peers.items()}
        times = {key: summary(each) for key, each in interleaved(functions, repeats).items()}
        rows.append({"photo": name, "texts": len(found), "agreed": round(agreed, 2), "ms": times})
    agreed = float(np.mean([row["agreed"] for row in rows]))
    if agreed < 0.7:
        raise SystemExit(f"only {agreed:.0%} of RapidOCR's texts were found: not the same work")
    ratios = {
        f"{peer} / {our}": round(
            geometric_mean([r["ms"][peer]["p50_ms"] / r["ms"][our]["p50_ms"] for r in rows]), 2
        )
        for our in ours
        for peer in peers
    }
    return {"rows": rows, "geometric_mean_ratios": ratios}


# ---- the command -------------------------------------------------------------------------------


def print_stages(rows: dict[str, Any]) -> None:
    """The table of stages, medians in ms."""
    names = ("decode", "preprocess", "network", "postprocess", "detect")
    table = Table("photo", "size", "texts", *names, "p99", "FPS")
    for name, row in rows.items():
        size = f"{row['size'][0]}x{row['size'][1]}"
        medians = [f"{row[stage]['p50_ms']:.2f}" for stage in names]
        p99 = f"{row['detect']['p99_ms']:.1f}"
        table.add_row(name, size, str(row["texts"]), *medians, p99, f"{row['fps']:.1f}")
    console.print(table)


def print_comparison(result: dict[str, Any]) -> None:
    """The table of the comparison, medians in ms."""
    names = list(result["rows"][0]["ms"])
    table = Table("photo", "texts", *names)
    for row in result["rows"]:
        medians = [f"{row['ms'][name]['p50_ms']:.0f}" for name in names]
        table.add_row(row["photo"], str(row["texts"]), *medians)
    console.print(table)
    for name, ratio in result["geometric_mean_ratios"].items():
        console.print(f"{name}: {ratio:.2f}x (geometric mean)")


@app.default
def main(
    *,
    engine: str | None = None,
    images: Path | None = None,
    size: int | None = None,
    batch: int = 4,
    repeats: int = 20,
    threads: int = 0,
    precision: str = "auto",
    backend: str = "auto",
    compare_peers: Annotated[bool, Parameter(name="--compare", negative="")] = False,
    json: Path | None = None,
) -> None:
    """Run it.

    Parameters
    ----------
    engine
        Name of a model or path of an .onnx file; the default model if left out.
    images
        A folder of photos; scenes of our own if left out.
    size
        Short side inside the network, in pixels; the model's own if left out.
    batch
        Images that go through the network together, for throughput.
    repeats
        Rounds a photo.
    threads
        Threads of the network; 0 takes one a core.
    precision
        auto, fp32 or bf16.
    backend
        auto, openvino or onnxruntime.
    compare_peers
        Also time RapidOCR (as installed, and with OpenVINO) with the same weights and sizes.
    json
        Write the numbers here.
    """
    photos = make_photos() if images is None else read_photos(images)
    policy = None if size is None else SizePolicy(size)
    detector = Detector(
        engine, size=policy, num_threads=threads, precision=precision, backend=backend
    )
    console.print(f"{machine()['cpu']}, {machine()['cores']} cores; {detector}", style="dim")
    stages = {name: stage_times(detector, image, repeats) for name, image in photos.items()}
    print_stages(stages)
    shares: list[float] = [
        (row["preprocess"]["p50_ms"] + row["postprocess"]["p50_ms"]) / row["network"]["p50_ms"]
        for row in stages.values()
    ]
    console.print(f"pre- and post-processing: {100 * max(shares):.1f} % of the network at most")
    many = [next(iter(photos.values()))] * (2 * batch)
    rates = [throughput(detector, many, each, repeats) for each in sorted({1, batch})]
    for rate in rates:
        console.print(f"batch {rate['batch']}: {rate['images_per_s']:.1f} images/s")
    report: dict[str, Any] = {
        "model": detector.card.name,
        "engine": detector._engine.description,
        "stages": stages,
        "largest_share_outside_network": round(max(shares), 4),
        "throughput": rates,
    }
    times = [row["detect"]["p50_ms"] for row in stages.values()]
    report["fps_geometric_mean"] = round(1000 / math.exp(np.mean(np.log(times))), 2)
    if compare_peers:
        report["comparison"] = compare(photos, max(3, repeats // 3))
        print_comparison(report["comparison"])
    write_report(report, json)


if __name__ == "__main__":
    app()
