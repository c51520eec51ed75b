# SPDX-License-Identifier: Apache-2.0
"""Growth of times with the number of texts, the image size, simultaneous callers and threads."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from dbnet_trt import Detections, Detector, SizePolicy
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.pipeline.reference import postprocess_reference
from dbnet_trt.settings import PostprocessParams, ResizePlan
from measure import WARM_UPS, affordable, interleaved, summary, tell
from model_choice import ModelChoice, runs_on_gpu
from numpy.typing import NDArray
from scenes import text_map
from stages import Image, check_near, check_same, cpu_stages

DENSITIES = (0, 10, 30, 100, 300, 1000)
DENSITY_SIZE = (736, 1280)
SIDES = (320, 640, 960, 1280, 1920, 2560, 4096)
SIZE_LINES = 30
CALLERS = (1, 2, 4, 8)
CALLS = 8
"""Detections per round, summed over all callers; a multiple of their number."""


def density(model: ModelChoice, repeats: int, counts: tuple[int, ...] = DENSITIES) -> Any:
    """Time post-processing of drawn maps with a growing number of lines, the network, whose work
    does not grow, and the same steps in OpenCV and pyclipper."""
    detector = model.open()
    rows: list[dict[str, Any]] = []
    for count in counts:
        rng = np.random.default_rng(count)
        if runs_on_gpu(detector):
            image = model.draw(*DENSITY_SIZE, count, rng)
            texts = len(detector.detect(image))
            times = interleaved({"detect": lambda: detector.detect(image)}, repeats)  # noqa: B023
        else:
            texts, times = _density_on_cpu(detector, count, repeats, rng)
        ms = {name: summary(values) for name, values in times.items()}
        rows.append({"lines": count, "texts": texts, "ms": ms})
    return {"title": f"lines of text, {_by(DENSITY_SIZE)}", "x": "lines", "rows": rows}


def _density_on_cpu(
    detector: Detector, count: int, repeats: int, rng: np.random.Generator
) -> tuple[int, dict[str, NDArray[np.float64]]]:
    height, width = DENSITY_SIZE
    prob_map = text_map(height, width, count, rng)
    plan = ResizePlan(DENSITY_SIZE, DENSITY_SIZE, DENSITY_SIZE)
    params = PostprocessParams(0.3, 0.5, max_candidates=10_000)
    maps, batch = prob_map[None].copy(), rng.random((1, 3, height, width), dtype=np.float32)
    (found,) = postprocess(maps, [plan], params, logits=False)
    quads, scores = postprocess_reference(prob_map, params)
    check_near(found, Detections(quads.clip(0, (width - 1, height - 1)), scores), "drawn map")
    if abs(len(found) - count) > 0.02 * count:
        raise SystemExit(f"{len(found)} texts of {count} lines drawn")

    def write() -> None:  # as the network has just written it
        maps[0] = prob_map

    engine: Any = detector._engine
    functions: dict[str, Callable[[], object]] = {
        "network": lambda: engine(batch),
        "post-processing": lambda: postprocess(maps, [plan], params, logits=False),
        "the same in OpenCV + Python": lambda: postprocess_reference(maps[0], params),
    }
    return len(found), interleaved(functions, repeats, write)


def size(model: ModelChoice, repeats: int, sides: tuple[int, ...] = SIDES) -> Any:
    """Time square images of growing size, which are not resized for the network."""
    detector = model.open()
    rows: list[dict[str, Any]] = []
    for side in sides:
        tell(f"{side}x{side}")
        image = model.draw(side, side, SIZE_LINES, np.random.default_rng(side))
        policy = SizePolicy(side)
        if runs_on_gpu(detector):
            texts = len(detector.detect(image, size=policy))
            ways: dict[str, Callable[[], object]] = {
                "detect": lambda: detector.detect(image, size=policy)  # noqa: B023
            }
            ms = {name: summary(each) for name, each in interleaved(ways, repeats).items()}
        else:
            stages = cpu_stages(detector, image, repeats, policy)
            texts = stages["texts"]
            ms = {name: stages[name] for name in ("network", "preprocess", "postprocess", "detect")}
        rows.append({"side": side, "texts": texts, "ms": ms})
    growth = {name: _exponent(rows, name) for name in rows[0]["ms"]} if len(rows) > 1 else {}
    return {
        "title": "side of the input, px",
        "x": "side",
        "rows": rows,
        "grows_as_pixels_to": growth,
    }


def _exponent(rows: list[dict[str, Any]], name: str) -> float:
    """Fit n of time ~ pixels^n over all rows."""
    pixels = [2 * np.log(row["side"]) for row in rows]
    times = [np.log(row["ms"][name]["p50_ms"]) for row in rows]
    return round(float(np.polyfit(pixels, times, 1)[0]), 2)


def concurrency(model: ModelChoice, repeats: int, callers: tuple[int, ...] = CALLERS) -> Any:
    """Time simultaneous calls of one detector, with all cores for each call and with one core."""
    ways = {"network on all cores": dataclasses.replace(model, threads=0).open()}
    if not runs_on_gpu(ways["network on all cores"]):
        ways["network on one core"] = dataclasses.replace(model, threads=1).open()
    else:
        ways = {"GPU": ways.popitem()[1]}
    image = model.draw(720, 1280, 12, np.random.default_rng(0))
    latencies: dict[tuple[int, str], list[float]] = {}
    seconds: dict[tuple[int, str], float] = {}
    rounds = affordable(lambda: [detector.detect(image) for detector in ways.values()], repeats)
    for index in range(max(2, rounds // 4) + 1):
        for count in callers:
            for name, detector in ways.items():
                times, total = _call_at_once(detector, image, count)
                if index > 0:  # the first round warms up
                    latencies.setdefault((count, name), []).extend(times)
                    seconds[count, name] = seconds.get((count, name), 0) + total
    rows = [
        {
            "callers": count,
            "ms": {name: summary(np.array(latencies[count, name])) for name in ways},
            "images_per_s": {
                name: round(len(latencies[count, name]) / seconds[count, name], 2) for name in ways
            },
        }
        for count in callers
    ]
    return {"title": "simultaneous callers", "x": "callers", "rows": rows}


def _call_at_once(detector: Detector, image: Image, count: int) -> tuple[list[float], float]:
    """Run `CALLS` detections in `count` threads; returns latencies in ms, and the total in s."""
    expected = detector.detect(image)

    def call(_: int) -> list[tuple[float, Detections]]:
        done = []
        for _ in range(CALLS // count):
            start = time.perf_counter()
            found = detector.detect(image)
            done.append(((time.perf_counter() - start) * 1e3, found))
        return done

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        start = time.perf_counter()
        results = [each for done in pool.map(call, range(count)) for each in done]
        total = time.perf_counter() - start
    for _, found in results:
        check_same(found, expected, f"{count} callers at once")
    return [latency for latency, _ in results], total


def threads(model: ModelChoice, repeats: int, counts: tuple[int, ...] = ()) -> Any:
    """Time detections by number of threads of the network: powers of two, and all cores."""
    cores = os.cpu_count() or 1
    counts = counts or tuple(sorted({1 << n for n in range(cores.bit_length())} | {cores}))
    detectors = {count: dataclasses.replace(model, threads=count).open() for count in counts}
    if runs_on_gpu(detectors[counts[0]]):
        raise SystemExit("--sweep threads needs a model on the CPU; this one runs on the GPU")
    image = model.draw(720, 1280, 12, np.random.default_rng(0))
    expected = detectors[counts[0]].detect(image)
    for count, detector in detectors.items():
        check_near(detector.detect(image), expected, f"{count} threads")
    rounds = affordable(lambda: detectors[counts[0]].detect(image), repeats)
    times = interleaved(
        {str(n): lambda each=each: each.detect(image) for n, each in detectors.items()},  # type: ignore[misc]
        rounds,
        warm_ups=WARM_UPS if rounds == repeats else 1,
    )
    rows = [{"threads": n, "ms": {"detect": summary(times[str(n)])}} for n in counts]
    for row in rows:
        faster = rows[0]["ms"]["detect"]["p50_ms"] / row["ms"]["detect"]["p50_ms"]  # type: ignore[index]
        row["times_as_fast"] = round(faster, 2)
    return {"title": "threads of the network", "x": "threads", "rows": rows}


def streams(model: ModelChoice, repeats: int, counts: tuple[int, ...] = ()) -> Any:
    """Time batches by number of threads in all, and of images that run side by side on them."""
    cores = os.cpu_count() or 1
    counts = counts or tuple(sorted({1 << n for n in range(cores.bit_length())} | {cores}))
    image = model.draw(720, 1280, 12, np.random.default_rng(0))
    ways: dict[tuple[int, int], Callable[[], object]] = {}
    for num_threads, num_streams in itertools.product(counts, counts):
        if num_streams > num_threads:
            continue
        detector = dataclasses.replace(model, threads=num_threads, streams=num_streams).open()
        if runs_on_gpu(detector):
            raise SystemExit("--sweep streams needs a model on the CPU; this one runs on the GPU")
        expected = detector.detect(image)
        for found in detector.detect_batch([image] * CALLS, batch_size=1):
            check_same(found, expected, f"{num_streams} streams")
        ways[num_threads, num_streams] = functools.partial(
            detector.detect_batch, [image] * CALLS, batch_size=1
        )
    rounds = affordable(ways[counts[0], counts[0]], repeats)
    named = {f"{n} threads, {m} streams": way for (n, m), way in ways.items()}
    times = interleaved(named, rounds, warm_ups=1)
    rows = []
    for (num_threads, num_streams), values in zip(ways, times.values(), strict=True):
        per_image = summary(values / CALLS)
        rate = {"detect_batch": round(1e3 / per_image["p50_ms"], 2)}
        row = {"threads": num_threads, "streams": num_streams, "ms": {"detect_batch": per_image}}
        rows.append({**row, "images_per_s": rate})
    return {"title": "threads and streams of the network", "x": "threads", "rows": rows}


def _by(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


SWEEPS: dict[str, Callable[[ModelChoice, int], dict[str, Any]]] = {
    "density": density,
    "size": size,
    "concurrency": concurrency,
    "threads": threads,
    "streams": streams,
}
