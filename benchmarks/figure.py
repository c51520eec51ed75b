# SPDX-License-Identifier: Apache-2.0
"""One figure in a PNG, for those who ask for it with --plot FILE.png."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SIZE_INCHES = (8, 5)
DOTS_PER_INCH = 120


def check_plot(path: Path | None) -> None:
    """Say at once, not after minutes of measuring, that a plot cannot be drawn.

    Raises:
        SystemExit: matplotlib is asked for and is not there.
    """
    if path is None:
        return
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SystemExit(f"--plot needs matplotlib ({error}); pip install matplotlib") from error


@contextmanager
def draw_plot(path: Path, title: str, x_label: str, y_label: str) -> Iterator[Any]:
    """Give axes to draw on, and write them to a PNG file when done."""
    from matplotlib.figure import Figure  # no display, no global state

    figure = Figure(SIZE_INCHES, DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(visible=True, which="both", alpha=0.25)
    yield axes
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
