# SPDX-License-Identifier: Apache-2.0
"""Compare the compiled pre- and post-processing with plain Python, in one run.

    python benchmarks/postprocess.py [--images DIR] [--json FILE] [--plot FILE.png]

Post-processing has two lower limits: `cv2.connectedComponents` on the thresholded map, the first
step of every version in OpenCV, and a copy of the map. Results are checked before they are timed.
Maps are written again before each round, as a network would have just written them. For the GPU
kernels see benchmarks/kernels.py.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import Detector, ModelCard, SizePolicy, _core
from dbnet_trt.detections import Detections
from dbnet_trt.images.sources import find_sources
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.pipeline.preprocess import preprocess
from dbnet_trt.pipeline.reference import postprocess_reference
from dbnet_trt.settings import PostprocessParams, ResizePlan
from figure import check_plot, draw_plot
from measure import interleaved, machine, summary, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_map, text_scene

SIZES = ((640, 640), (736, 1280), (1024, 1024), (2048, 2048), (4096, 4096))
MAX_NOISE_PIXELS = 1 << 22  # the Python pipeline takes half a minute for noise of 4096x4096
WAYS = {
    "core": "core",
    "python": "OpenCV + Python",
    "components": "cv2.connectedComponents",
    "components_with_stats": "cv2.connectedComponentsWithStats",
    "copy": "copy",
}

app = App(help="Time pre- and post-processing, compared with OpenCV and pyclipper.")
Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Case:
    """Map to process."""

    kind: str
    values: Map
    threshold: float = 0.3

    @property
    def name(self) -> str:
        height, width = self.values.shape
        return f"{height}x{width}, {self.kind}"


def make_cases(sizes: tuple[tuple[int, int], ...]) -> Iterator[Case]:
    """Draw maps of every kind in every size; one at a time, as the largest take 67 MB."""
    rng = np.random.default_rng(0)
    for height, width in sizes:
        area = height * width
        yield Case("sparse page", text_map(height, width, max(round(area / 130_000), 3), rng))
        yield Case("page", text_map(height, width, max(round(area / 20_000), 3), rng))
        yield Case("dense page", text_map(height, width, max(round(area / 1500), 3), rng))
        if area <= MAX_NOISE_PIXELS:
            yield Case("noise", rng.random((height, width), dtype=np.float32), 0.5)
        yield Case("empty", np.zeros((height, width), np.float32))
        yield Case("full", np.ones((height, width), np.float32))


def real_cases(folder: Path, limit: int) -> Iterator[Case]:
    """Compute the default model's maps of photos."""
    detector = Detector(device="cpu")
    for number, source in enumerate(itertools.islice(find_sources([str(folder)]), limit), start=1):
        found = detector.detect(source, prob_map=True)
        assert found.prob_map is not None
        threshold = detector.params.binary_threshold
        yield Case(f"photo {number}, {len(found)} texts", found.prob_map, threshold)


# ---- checks of results -------------------------------------------------------------------------


def check_boxes(case: Case) -> float:
    """Check that core and reference find the same; returns the reference's time in seconds."""
    # Any score: noise has many components with several smallest rectangles of different scores.
    params = PostprocessParams(case.threshold, 0, max_candidates=10**6)
    size = case.values.shape
    plan = ResizePlan(size, size, size)
    (found,) = postprocess(case.values[None], [plan], params, logits=False)
    start = time.perf_counter()
    expected, _ = postprocess_reference(case.values, params)
    once = time.perf_counter() - start
    check(found, np.clip(expected, 0, np.array(size[::-1]) - 1))
    return once


def check(found: Detections, expected: Map) -> None:
    """Check that the boxes of the reference were found."""
    if abs(len(found) - len(expected)) > max(2, 0.02 * len(expected)):
        raise SystemExit(f"{len(found)} boxes, but the reference has {len(expected)}")
    if len(expected) == 0:
        return
    some = expected[:: max(1, len(expected) // 1000)]
    near = [np.abs(found.quads - quad).max(axis=(1, 2)).min() < 0.5 for quad in some]
    if np.mean(near) < 0.95:
        raise SystemExit(f"only {np.mean(near):.1%} of the boxes agree with the reference")


def check_components(values: Map, threshold: float) -> None:
    """Check that OpenCV's labels are the core's with another numbering."""
    count, labels = components(values, threshold)
    with_stats, labels_too, stats, _ = components_with_stats(values, threshold)
    ours, boxes = _core.label_components(values, threshold)
    if not count - 1 == with_stats - 1 == len(boxes):
        raise SystemExit(f"{count - 1} and {with_stats - 1} components, but ours are {len(boxes)}")
    numbers = np.zeros(count, np.int64)
    numbers[labels] = ours
    same = np.array_equal(numbers[labels], ours) and np.array_equal(labels, labels_too)
    if not same or len(np.unique(numbers)) != count:
        raise SystemExit("the components differ from those of cv2.connectedComponents")
    if stats[1:, cv2.CC_STAT_AREA].sum() != np.count_nonzero(values > np.float32(threshold)):
        raise SystemExit("the areas of cv2.connectedComponentsWithStats do not add up")


# ---- what is timed -----------------------------------------------------------------------------


def components(values: Map, threshold: float) -> Any:
    """Threshold and label a map with OpenCV, the minimum of a version in OpenCV."""
    mask = cv2.compare(values, np.float32(threshold).item(), cv2.CMP_GT)
    return cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)


def components_with_stats(values: Map, threshold: float) -> Any:
    """Threshold and label a map with OpenCV, with upright boxes, areas and centres."""
    mask = cv2.compare(values, np.float32(threshold).item(), cv2.CMP_GT)
    return cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)


def postprocess_row(case: Case, repeats: int, seconds: float) -> dict[str, Any]:
    """Time one map."""
    params = PostprocessParams(case.threshold, 0.5, max_candidates=10**6)
    height, width = size = case.values.shape
    batch, copied = case.values[None].copy(), np.empty_like(case.values)
    values = batch[0]
    once = check_boxes(case)
    check_components(values, case.threshold)
    plan = ResizePlan((height * 2, width * 2), size, size)
    functions: dict[str, Callable[[], object]] = {
        "core": lambda: postprocess(batch, [plan], params, logits=False),
        "python": lambda: postprocess_reference(values, params),
        "components": lambda: components(values, case.threshold),
        "components_with_stats": lambda: components_with_stats(values, case.threshold),
        "copy": lambda: np.copyto(copied, values),
    }
    rounds = int(np.clip(seconds / once, 3, repeats))
    times = interleaved(functions, rounds, lambda: np.copyto(values, case.values))
    median = {name: float(np.median(each)) for name, each in times.items()}
    return {
        "case": case.name,
        "kind": case.kind,
        "pixels": height * width,
        "boxes": len(postprocess(batch, [plan], params, logits=False)[0]),
        "rounds": rounds,
        **{name: summary(each) for name, each in times.items()},
        "ratio": round(median["python"] / median["core"], 1),
        "ratio_components": round(median["components"] / median["core"], 2),
        "gb_per_s": round(values.nbytes / median["core"] / 1e6, 2),
        "copy_gb_per_s": round(values.nbytes / median["copy"] / 1e6, 2),
    }


def preprocess_rows(repeats: int) -> list[dict[str, Any]]:
    """Time preprocessing, one row per photo size."""
    card = ModelCard(name="imagenet")
    mean, std = np.array(card.mean, np.float32), np.array(card.std, np.float32)
    rng = np.random.default_rng(0)
    rows = []
    for height, width in ((720, 1280), (1080, 1920), (900, 1200), (3000, 4000)):
        image = text_scene(height, width, 20, rng)
        plan = SizePolicy().plan(height, width)
        out = np.empty((3, *plan.padded), np.float32)

        def usual(image: Any = image, plan: ResizePlan = plan) -> NDArray[np.float32]:
            resized = cv2.resize(image, plan.resized[::-1])
            normalized = (resized.astype(np.float32) * np.float32(1 / 255) - mean) / std
            (rh, rw), (h, w) = plan.resized, plan.padded
            padded = cv2.copyMakeBorder(normalized, 0, h - rh, 0, w - rw, cv2.BORDER_CONSTANT)
            return np.ascontiguousarray(padded.transpose(2, 0, 1))

        preprocess(image, plan, card.normalization, out)
        np.testing.assert_allclose(out, usual(), atol=1e-5)
        functions: dict[str, Callable[[], object]] = {
            "core": lambda: preprocess(image, plan, card.normalization, out),  # noqa: B023
            "python": usual,
        }
        times = interleaved(functions, repeats)
        ratio = float(np.median(times["python"]) / np.median(times["core"]))
        rows.append(
            {
                "case": f"{height}x{width} to {plan.padded[0]}x{plan.padded[1]}",
                **{name: summary(each) for name, each in times.items()},
                "ratio": round(ratio, 1),
            }
        )
    return rows


# ---- output ------------------------------------------------------------------------------------


def show(console: Console, stage: str, rows: list[dict[str, Any]]) -> None:
    """Print the table of a stage."""
    ways = [way for way in WAYS if way in rows[0]]
    has_boxes = "boxes" in rows[0]
    table = Table(stage, *(["boxes"] if has_boxes else []), "core p99", title="medians in ms")
    for way in ways:
        table.add_column(WAYS[way], justify="right")
    table.add_column("ratio")
    if has_boxes:
        table.add_column("GB/s, core and copy")
    for row in rows:
        table.add_row(
            row["case"],
            *([str(row["boxes"])] if has_boxes else []),
            f"{row['core']['p99_ms']:.2f}",
            *(f"{row[way]['p50_ms']:.2f}" for way in ways),
            f"{row['ratio']:.1f}x",
            *([f"{row['gb_per_s']:.1f}, {row['copy_gb_per_s']:.1f}"] if has_boxes else []),
        )
    console.print(table)


def draw(rows: list[dict[str, Any]], kind: str, path: Path) -> None:
    """Draw time over pixels, both logarithmic, of one kind of map."""
    rows = [row for row in rows if row["kind"] == kind]
    with draw_plot(path, f"Boxes of a map, {kind}", "pixels", "ms, median") as axes:
        axes.set(xscale="log", yscale="log")
        for way, label in WAYS.items():
            times = [row[way]["p50_ms"] for row in rows]
            axes.plot([row["pixels"] for row in rows], times, "o-", label=label)


@app.default
def main(
    *,
    repeats: int = 50,
    seconds: float = 20.0,
    max_side: int = 4096,
    images: Path | None = None,
    limit: int = 10,
    json: Path | None = None,
    plot: Path | None = None,
) -> None:
    """Time pre- and post-processing.

    Parameters
    ----------
    repeats
        Maximum number of rounds per case; at least 3 are run.
    seconds
        Approximate time limit per case, in seconds.
    max_side
        Maximum side of the maps, in pixels.
    images
        Folder of photos, whose maps by the default model are added.
    limit
        Maximum number of photos.
    json
        File for the numbers.
    plot
        PNG file for a plot of the times of text pages over their pixels.
    """
    check_plot(plot)
    cv2.setNumThreads(1)
    sizes = tuple(size for size in SIZES if max(size) <= max_side) or ((max_side, max_side),)
    rows = [postprocess_row(case, repeats, seconds) for case in make_cases(sizes)]
    if images is not None:
        rows += [postprocess_row(case, repeats, seconds) for case in real_cases(images, limit)]
    report = {"postprocess": rows, "preprocess": preprocess_rows(repeats)}
    console = Console(width=max(165, Console().width))  # the tables are wide
    console.print(machine()["cpu"], style="dim")
    for stage, each in report.items():
        show(console, stage, each)
    write_report(report, json)
    if plot is not None:
        draw(rows, "page", plot)


if __name__ == "__main__":
    app()
