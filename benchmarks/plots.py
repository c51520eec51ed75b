# SPDX-License-Identifier: Apache-2.0
"""Plots of the results, each with one message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine

X_LABELS = {
    "lines": "lines of text in the image",
    "side": "side of the square input, pixels",
    "callers": "threads that call at once",
    "threads": "threads of the network",
}


def save_plot(report: dict[str, Any], path: Path) -> None:
    """Draw all parts of a report that have a plot into one PNG, one below the other."""
    from matplotlib.figure import Figure

    drawings: list[tuple[Callable[[Any, Any], None], Any]] = [
        (draw, report[part]) for part, draw in DRAWINGS.items() if part in report
    ]
    drawings += [(draw_sweep, sweep) for sweep in report.get("sweeps", {}).values()]
    heights = [4.2 if draw is not draw_paper else 6.0 for draw, _ in drawings]
    figure = Figure((9, sum(heights)), layout="constrained")
    all_axes = figure.subplots(len(drawings), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (draw, part) in zip(all_axes, drawings, strict=True):
        draw(axes, part)
        axes.spines[["top", "right"]].set_visible(False)
    about = machine()
    subject = "" if "paper" in report else f"{report['model']}; "  # it has its own networks
    figure.suptitle(f"{subject}{about['cpu']}, {about['cores']} cores", size=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def draw_stages(axes: Any, rows: dict[str, Any]) -> None:
    """Draw stacked bars: the stages of each photo."""
    stages = ("preprocess", "network", "postprocess", "overhead")
    left = np.zeros(len(rows))
    for stage in stages:
        widths = np.array([max(0.0, row[stage]["p50_ms"]) for row in rows.values()])
        axes.barh(list(rows), widths, left=left, label=stage)
        left += widths
    axes.invert_yaxis()
    axes.set_xlabel("median time of a detection, ms")
    axes.set_title("Time of each stage of a detection")
    _legend_below(axes)


def draw_gpu(axes: Any, rows: dict[str, Any]) -> None:
    """Draw bars: the ways to process each photo on the GPU."""
    names = [f"{photo}: {work}" for photo, row in rows.items() for work in row["ms"]]
    axes.barh(names, [ms["p50_ms"] for row in rows.values() for ms in row["ms"].values()])
    axes.invert_yaxis()
    axes.set_xlabel("median time per frame, ms")
    axes.set_title("A detection on the GPU")


def draw_comparison(axes: Any, result: dict[str, Any]) -> None:
    """Draw bars: the time of each detector as a multiple of ours."""
    ratios = result["geometric_mean_ratios"]
    bars = axes.barh(list(ratios), list(ratios.values()))
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("time over dbnet_trt's, geometric mean of all photos")
    axes.set_title("Whole detection, same weights and sizes")


def draw_sweep(axes: Any, sweep: dict[str, Any]) -> None:
    """Draw lines: times, or images per second if the number of callers or threads grows."""
    x_name, rows = sweep["x"], sweep["rows"]
    x = [row[x_name] for row in rows]
    rates = x_name in ("callers", "threads")
    for name in rows[0]["ms"]:
        if "images_per_s" in rows[0]:
            y = [row["images_per_s"][name] for row in rows]
        else:
            medians = [row["ms"][name]["p50_ms"] for row in rows]
            y = [1000 / value for value in medians] if rates else medians
        axes.plot(x, y, marker="o", label=name)
    axes.set_xticks(x, [str(each) for each in x])
    if rates:
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
    else:
        axes.set_yscale("log")
        if 0 in x:
            axes.set_xscale("symlog", linthresh=10)
            axes.set_xlim(0, 1.2 * max(x))
        else:
            axes.set_xscale("log")
        axes.set_xticks(x, [str(each) for each in x], minor=False)
        axes.minorticks_off()
        axes.set_yticks(*_decades(axes))
    axes.set_xlabel(X_LABELS[x_name])
    axes.set_ylabel("images per second" if rates else "median time, ms")
    axes.set_title(f"Growth with {sweep['title']}")
    _legend_below(axes)


def _legend_below(axes: Any) -> None:
    """Put the legend under the axes, where it hides nothing."""
    columns = len(axes.get_legend_handles_labels()[0])
    axes.legend(frameon=False, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.14))


def _decades(axes: Any) -> tuple[list[float], list[str]]:
    """Label the axis with the powers of ten that span the values, as plain numbers."""
    low, high = np.log10(axes.get_ylim())
    ticks = [10.0**n for n in range(int(np.floor(low)), int(np.ceil(high)) + 1)]
    return ticks, [f"{tick:g}" for tick in ticks]


def draw_start(axes: Any, result: dict[str, Any]) -> None:
    """Draw bars: the steps of a new process."""
    steps = list(result["warm_cache"])
    medians = [result["warm_cache"][step]["p50_ms"] for step in steps]
    bars = axes.barh(steps, medians)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("median time, ms")
    axes.set_title("A new process, with compiled models in the cache")


def draw_paper(axes: Any, result: dict[str, Any]) -> None:
    """Draw bars in pairs: the paper's frames per second and ours."""
    rows = result["rows"]
    names = [f"{row['data_set']} {row['height']}, {row['backbone']}" for row in rows]
    y = np.arange(len(rows))
    ours = [1000 / row["ms"]["both"]["p50_ms"] for row in rows]
    theirs = [row["paper_fps"]["both"] for row in rows]
    for offset, rates, label in ((-0.2, theirs, "paper, GTX 1080 Ti"), (0.2, ours, "this machine")):
        bars = axes.barh(y + offset, rates, 0.4, label=label)
        axes.bar_label(bars, fmt="%.3g", padding=3)
    axes.set_yticks(y, names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("frames per second, batch 1, with post-processing")
    axes.set_title("The paper's settings: DB with DCN, untrained weights")
    _legend_below(axes)


DRAWINGS: dict[str, Callable[[Any, Any], None]] = {
    "stages": draw_stages,
    "gpu": draw_gpu,
    "comparison": draw_comparison,
    "start": draw_start,
    "paper": draw_paper,
}
