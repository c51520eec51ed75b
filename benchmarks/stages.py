# SPDX-License-Identifier: Apache-2.0
"""Time of each stage of a detection, on the CPU and on the GPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from dbnet_trt import Detections, Detector, ModelCard, SizePolicy
from dbnet_trt.images.load import load_image
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.pipeline.preprocess import preprocess
from measure import WARM_UPS, affordable, interleaved, summary
from numpy.typing import NDArray
from rich.table import Table

Image = NDArray[np.uint8]

CPU_STAGES = ("decode", "preprocess", "network", "postprocess", "overhead", "detect")
FRAMES = 8
"""Number of frames of the video clip that is timed on the GPU."""


# ---- on the CPU --------------------------------------------------------------------------------


class Answered:
    """Engine that returns a stored map at once, to time a detection without the network."""

    description = "no network"

    def __init__(self, card: ModelCard, maps: NDArray[np.float32]) -> None:
        self.card, self._maps = card, maps

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._maps


def cpu_stages(
    detector: Detector, image: Image, repeats: int, size: SizePolicy | None = None
) -> dict[str, Any]:
    """Time decoding, and the stages of `detect`, which starts from the decoded image.

    The overhead is Python's time around the compiled stages: `detect` with a network that takes no
    time, minus pre- and post-processing.
    """
    engine, card, size = detector._engine, detector.card, size or detector.size
    jpeg = bytes(cv2.imencode(".jpg", image)[1])
    plan = size.plan(*image.shape[:2])
    batch = np.empty((1, 3, *plan.padded), np.float32)
    preprocess(image, plan, card.normalization, batch[0])
    maps = engine(batch)  # type: ignore[operator]  # an engine of the CPU
    logits = card.output == "logit"
    found = detector.detect(image, size=size)
    (expected,) = postprocess(maps, [plan], detector.params, logits=logits)
    check_same(found, expected, "the stages, one after the other")
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: load_image(jpeg),
        "preprocess": lambda: preprocess(image, plan, card.normalization, batch[0]),
        "network": lambda: engine(batch),  # type: ignore[operator]
        "postprocess": lambda: postprocess(maps, [plan], detector.params, logits=logits),
        "detect": lambda: detector.detect(image, size=size),
    }
    rounds = affordable(stages["detect"], repeats)
    warm_ups = WARM_UPS if rounds == repeats else 1
    times = interleaved(stages, rounds, warm_ups=warm_ups)
    summaries = {name: summary(values) for name, values in times.items()}
    ours = {name: stages[name] for name in ("preprocess", "postprocess")}
    answered = Detector(Answered(card, maps), size=size)
    overhead = _overhead(ours, lambda: answered.detect(image), repeats)
    return {
        "size": list(plan.padded),
        "texts": len(found),
        **summaries,
        "overhead": overhead,
        "fps": round(1000 / summaries["detect"]["p50_ms"], 2),
    }


def _overhead(
    stages: dict[str, Callable[[], object]], no_network: Callable[[], object], repeats: int
) -> dict[str, float]:
    """Compute the time of `no_network` beyond its stages. They are timed without a network between
    them: its threads, which stay active for a moment, and its tensors in the caches would add more
    noise than the overhead."""
    times = interleaved({**stages, "no_network": no_network}, 5 * repeats)
    whole = times.pop("no_network")
    return summary(whole - sum(times.values()))


def check_same(found: Detections, expected: Detections, what: str) -> None:
    """Check that two results are equal bit by bit."""
    same = np.array_equal(found.quads, expected.quads)
    if not (same and np.array_equal(found.scores, expected.scores)):
        raise SystemExit(
            f"{what}: {len(found)} texts, which differ from the {len(expected)} expected"
        )


def cpu_table(rows: dict[str, Any]) -> Table:
    """Make the table: medians in ms, one row per photo."""
    table = Table("photo", "size", "texts", *CPU_STAGES, "p99", "FPS", title="stages, median ms")
    for name, row in rows.items():
        size = f"{row['size'][0]}x{row['size'][1]}"
        medians = [f"{row[stage]['p50_ms']:.2f}" for stage in CPU_STAGES]
        p99 = f"{row['detect']['p99_ms']:.1f}"
        table.add_row(name, size, str(row["texts"]), *medians, p99, f"{row['fps']:.1f}")
    return table


def throughput(detector: Detector, image: Image, batch: int, repeats: int) -> dict[str, Any]:
    """Measure images per second for many images in one call, in batches of 1 and of `batch`."""
    expected = detector.detect(image)
    runs: dict[int, Callable[[], list[Detections]]] = {
        each: functools.partial(detector.detect_batch, [image] * batch, batch_size=each)
        for each in sorted({1, batch})
    }
    for run in runs.values():
        for found in run():
            if abs(len(found) - len(expected)) > max(1, 0.02 * len(expected)):
                raise SystemExit(f"{len(found)} texts in a batch, {len(expected)} alone")
    rounds = max(3, repeats // 5)
    times = interleaved({str(each): run for each, run in runs.items()}, rounds, warm_ups=0)
    rates = {each: 1000 * batch / float(np.median(values)) for each, values in times.items()}
    return {f"batch {each}": round(rate, 2) for each, rate in rates.items()}


# ---- on the GPU --------------------------------------------------------------------------------


def torch_to_device(image: Image) -> Any:
    """Copy an image to GPU memory with PyTorch."""
    import torch

    return torch.from_numpy(image).cuda()


def gpu_stages(
    detector: Detector,
    plain: Detector,
    image: Image,
    repeats: int,
    to_device: Callable[[Image], Any] = torch_to_device,
) -> dict[str, Any]:
    """Measure times in ms per frame. A graph hides its stages, so several ways are compared.

    Args:
        detector: Detector with CUDA graphs.
        plain: Same detector with plain launches.
        image: Image in main memory.
        repeats: Number of rounds.
        to_device: Function that copies an image to GPU memory.
    """
    on_device, frames = to_device(image), [image] * FRAMES
    expected = detector.detect(image)
    for found in (detector.detect(on_device), *video(detector, frames)):
        check_same(found, expected, "from GPU memory or as video")
    check_near(plain.detect(image), expected, "plain launches")
    work: dict[str, tuple[Callable[[], object], int]] = {
        "detect": (lambda: detector.detect(image), 1),
        "detect, image on the GPU": (lambda: detector.detect(on_device), 1),
        "detect, plain launches": (lambda: plain.detect(image), 1),
        "video": (lambda: video(detector, frames), FRAMES),
        f"batch {FRAMES}": (lambda: detector.detect_batch(frames, batch_size=FRAMES), FRAMES),
    }
    times = interleaved({name: function for name, (function, _) in work.items()}, repeats)
    per_frame = {name: times[name] / count for name, (_, count) in work.items()}
    per_frame["copy up"] = per_frame["detect"] - per_frame["detect, image on the GPU"]
    return {
        "size": list(detector.size.plan(*image.shape[:2]).padded),
        "texts": len(expected),
        "ms": {name: summary(values) for name, values in per_frame.items()},
    }


def check_near(found: Detections, expected: Detections, what: str) -> None:
    """Check that two results are equal except for rounding: 98 % of texts within a pixel."""
    near = [
        len(found) > 0 and np.abs(found.quads - quad).max(axis=(1, 2)).min() < 1
        for quad in expected.quads
    ]
    different = abs(len(found) - len(expected)) > 0.02 * len(expected)
    if different or (near and np.mean(near) < 0.98):
        raise SystemExit(f"{what}: {len(found)} texts, not the {len(expected)} expected")


def video(detector: Detector, frames: list[Image]) -> list[Detections]:
    """Detect the text of a clip, with two frames in flight."""
    found = []
    ahead = detector.submit(frames[:1])
    for frame in frames[1:]:
        ticket = detector.submit([frame])
        found += detector.collect(ahead)
        ahead = ticket
    return found + detector.collect(ahead)


def gpu_table(rows: dict[str, Any]) -> Table:
    """Make the table: one row per photo and way."""
    columns = ("median ms", "p99 ms", "frames/s")
    table = Table("photo", "size", "texts", "work", *columns, title="on the GPU, per frame")
    for name, row in rows.items():
        size = f"{row['size'][0]}x{row['size'][1]}"
        for work, time in row["ms"].items():
            rate = "" if work == "copy up" else f"{1000 / time['p50_ms']:.0f}"
            medians = (f"{time['p50_ms']:.3f}", f"{time['p99_ms']:.3f}")
            table.add_row(name, size, str(row["texts"]), work, *medians, rate)
    return table
