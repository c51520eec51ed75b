# SPDX-License-Identifier: Apache-2.0
"""Plots as PNG files, for --plot FILE.png."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZE_INCHES = (8, 5)
DOTS_PER_INCH = 120


def check_plot(path: Path | None) -> None:
    """Check that a plot can be drawn, before minutes are spent on measuring.

    Raises:
        SystemExit: A plot is requested, and matplotlib is missing.
    """
    if path is None:
        return
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SystemExit(f"--plot needs matplotlib ({error}); pip install matplotlib") from error


@contextmanager
def draw_plot(path: Path, title: str, x_label: str, y_label: str) -> Iterator[Any]:
    """Provide axes to draw on, and write them to a PNG file at the end."""
    from matplotlib.figure import Figure  # no display, no global state

    figure = Figure(SIZE_INCHES, DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(visible=True, which="both", alpha=0.25)
    yield axes
    if axes.get_legend_handles_labels()[1]:
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
