# SPDX-License-Identifier: Apache-2.0
"""Compare the post-processing of DB with the pixel grouping of detectors that came before it.

    python benchmarks/grouping.py [--json FILE] [--plot FILE.png]

PSENet grows the components of seven maps into each other; Tian et al. (2019) assign pixels to texts
by an embedding of eight channels. Both are written in plain C++ (grouping.cpp, compiled at -O3 when
this runs) and are timed without boxes and scores; DB's core makes these, too, in its time. All run
on one thread, on the same drawn pages, in turn. The maps of each method are drawn without noise;
what its network costs is left out.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.settings import PostprocessParams, ResizePlan
from figure import check_plot, draw_plot
from measure import affordable, interleaved, machine, summary, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

LINES = {(640, 640): (7, 50, 200, 400), (736, 1280): (7, 50, 200, 900)}
"""Numbers of lines by size of the map; of more, what DB's maps show is under 3 pixels high."""

GAPS = (8, 4, 2, 1)
"""Gaps between lines in pixels, for the second table."""

DB_RATIO = 0.4
PSE_RATIOS = tuple(np.linspace(0.5, 1, 7))
"""Shrink ratios of PSENet's maps, the most shrunk first. Source: its paper, n = 7 and m = 0.5."""

CHANNELS = 8
MAX_DISTANCE = 1.0
"""Distance of embeddings within which a pixel belongs to a text."""

app = App(help="Time the post-processing of DB beside other ways to group pixels.")
Map = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Page:
    """Drawn maps of one page for each method."""

    prob_map: Map
    """DB: (h, w)."""

    kernels: Map
    """PSENet: (7, h, w)."""

    text: Map
    centres: Map
    """Pixel embeddings: (h, w) each."""

    embedding: Map
    """(h, w, 8)."""


def draw_page(
    height: int, width: int, num_lines: int, rng: np.random.Generator, gap: float | None = None
) -> Page:
    """Draw lines in columns, `gap` pixels apart if given, else a third of their height."""
    columns = max(1, round(math.sqrt(num_lines * width / height / 3)))
    pitch = height / -(-num_lines // columns)
    thick = pitch * 0.75 if gap is None else pitch - gap
    boxes = []
    for i in range(num_lines):
        row, column = divmod(i, columns)
        centre = ((column + 0.5) * width / columns, (row + 0.5) * pitch)
        boxes.append((centre, (0.85 * width / columns, thick)))
    embedding = np.zeros((height, width, CHANNELS), np.float32)
    for i, box in enumerate(boxes):
        code = rng.normal(size=CHANNELS)
        code *= 2 + i % 7 / 3.5  # never nearer than MAX_DISTANCE in direction or length
        left, top, right, bottom = _corners(box, 1.0)
        embedding[top:bottom, left:right] = code
    return Page(
        _draw(boxes, DB_RATIO, height, width),
        np.stack([_draw(boxes, ratio, height, width) for ratio in PSE_RATIOS]),
        _draw(boxes, 1.0, height, width),
        _draw(boxes, 0.5, height, width),
        embedding + rng.normal(0, 0.02, embedding.shape).astype(np.float32),
    )


Box = tuple[tuple[float, float], tuple[float, float]]


def _draw(boxes: list[Box], ratio: float, height: int, width: int) -> Map:
    drawn = np.zeros((height, width), np.float32)
    for box in boxes:
        left, top, right, bottom = _corners(box, ratio)
        drawn[top:bottom, left:right] = 0.95
    return drawn


def _corners(box: Box, ratio: float) -> tuple[int, int, int, int]:
    """Shrink a box by D = A (1 - r^2) / L, as all these detectors do."""
    (x, y), (long, short) = box
    distance = long * short * (1 - ratio**2) / (2 * (long + short))
    half_x, half_y = long / 2 - distance, max(0.5, short / 2 - distance)
    return round(x - half_x), round(y - half_y), round(x + half_x), round(y + half_y)


class Grouping:
    """The other ways, compiled."""

    def __init__(self, folder: Path) -> None:
        source, library = Path(__file__).with_suffix(".cpp"), folder / "grouping.so"
        flags = ["-std=c++20", "-O3", "-shared", "-fPIC", "-Wall", "-Wextra"]
        subprocess.run(["g++", *flags, "-o", str(library), str(source)], check=True)
        self._library = ctypes.CDLL(str(library))

    def expand_scales(self, kernels: Map, labels: NDArray[np.int32]) -> int:
        """Group by progressive scale expansion, and return the number of texts."""
        return int(
            self._library.expand_scales(
                _address(kernels), *kernels.shape, labels.ctypes.data_as(ctypes.c_void_p)
            )
        )

    def group_embeddings(self, page: Page, labels: NDArray[np.int32]) -> int:
        """Group by pixel embeddings, and return the number of texts."""
        maps = map(_address, (page.text, page.centres, page.embedding))
        distance = ctypes.c_float(MAX_DISTANCE)
        return int(
            self._library.group_embeddings(
                *maps, *page.text.shape, distance, labels.ctypes.data_as(ctypes.c_void_p)
            )
        )


def _address(array: Map) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    assert array.dtype == np.float32
    return array.ctypes.data_as(ctypes.c_void_p)


def find_boxes(prob_map: Map) -> int:
    """Run DB's post-processing, and return the number of texts."""
    size = prob_map.shape
    plan = ResizePlan(size, size, size)
    params = PostprocessParams(0.3, 0.5, max_candidates=10**6)
    return len(postprocess(prob_map[None], [plan], params, logits=False)[0])


def time_page(grouping: Grouping, page: Page, num_lines: int, repeats: int) -> dict[str, Any]:
    """Check the numbers of texts, and time one page."""
    labels: NDArray[np.int32] = np.empty(page.text.shape, np.int32)
    found = {
        "db": find_boxes(page.prob_map),
        "scales": grouping.expand_scales(page.kernels, labels),
        "embeddings": grouping.group_embeddings(page, labels),
    }
    if set(found.values()) != {num_lines}:
        raise SystemExit(f"{num_lines} lines were drawn, found were {found}")
    functions: dict[str, Callable[[], object]] = {
        "db": lambda: find_boxes(page.prob_map),
        "scales": lambda: grouping.expand_scales(page.kernels, labels),
        "embeddings": lambda: grouping.group_embeddings(page, labels),
    }
    rounds = affordable(functions["embeddings"], repeats)
    times = interleaved(functions, rounds)
    height, width = page.text.shape
    median = {name: float(np.median(each)) for name, each in times.items()}
    return {
        "case": f"{height}x{width}, {num_lines} lines",
        "lines": num_lines,
        "rounds": rounds,
        **{name: summary(each) for name, each in times.items()},
        "ratio_scales": round(median["scales"] / median["db"], 1),
        "ratio_embeddings": round(median["embeddings"] / median["db"], 1),
    }


def count_near_lines(grouping: Grouping, gap: int) -> dict[str, int]:
    """Count what each way finds among 20 lines whose outlines are `gap` pixels apart."""
    page = draw_page(640, 640, 20, np.random.default_rng(gap), gap)
    labels: NDArray[np.int32] = np.empty(page.text.shape, np.int32)
    soft = cv2.GaussianBlur(page.text, (0, 0), 1.2)  # as blurred as maps of networks are
    count, _ = cv2.connectedComponents((soft > 0.3).astype(np.uint8))
    return {
        "gap_px": gap,
        "whole texts": count - 1,
        "db": find_boxes(cv2.GaussianBlur(page.prob_map, (0, 0), 1.2)),
        "scales": grouping.expand_scales(page.kernels, labels),
        "embeddings": grouping.group_embeddings(page, labels),
    }


@app.default
def main(*, repeats: int = 50, json: Path | None = None, plot: Path | None = None) -> None:
    """Time and count.

    Parameters
    ----------
    repeats
        Maximum number of rounds per page; at least 3 are run.
    json
        File for the numbers.
    plot
        PNG file for a plot of the times over the number of lines.
    """
    check_plot(plot)
    with tempfile.TemporaryDirectory() as folder:
        grouping = Grouping(Path(folder))
        rows = []
        for size, counts in LINES.items():
            for count in counts:
                page = draw_page(*size, count, np.random.default_rng(count))
                rows.append(time_page(grouping, page, count, repeats))
        near = [count_near_lines(grouping, gap) for gap in GAPS]
    _show(rows, near)
    write_report({"times": rows, "lines_that_nearly_touch": near}, json)
    if plot is not None:
        _draw_times(rows, plot)


def _show(rows: list[dict[str, Any]], near: list[dict[str, int]]) -> None:
    console = Console()
    console.print(machine()["cpu"], style="dim")
    ways = ("db", "scales", "embeddings")
    table = Table("page", "DB, boxes and all", "scale expansion", "pixel embeddings", "ratios")
    for row in rows:
        ratios = f"{row['ratio_scales']}, {row['ratio_embeddings']}"
        table.add_row(row["case"], *(f"{row[way]['p50_ms']:.2f} ms" for way in ways), ratios)
    console.print(table)
    table = Table("gap", "one map of whole texts", *ways, title="found of 20 lines")
    for each in near:
        table.add_row(*map(str, each.values()))
    console.print(table)


def _draw_times(rows: list[dict[str, Any]], path: Path) -> None:
    rows = [row for row in rows if row["case"].startswith("736")]
    with draw_plot(path, "From maps of 736x1280 to texts, one thread", "lines", "ms") as axes:
        axes.set(xscale="log", yscale="log")
        for way, label in (
            ("db", "DB: boxes and scores"),
            ("scales", "PSENet: scale expansion, labels alone"),
            ("embeddings", "pixel embeddings, labels alone"),
        ):
            times = [row[way]["p50_ms"] for row in rows]
            axes.plot([row["lines"] for row in rows], times, "o-", label=label)


if __name__ == "__main__":
    app()
