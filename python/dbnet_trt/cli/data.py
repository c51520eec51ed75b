# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet data`."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App
from rich.progress import track
from rich.table import Table

from ..data.damaged import check_images
from ..data.open import read_as_is
from ..data.report import aspect_quantiles, counts, write_report
from ..data.statistics import Statistics, compute_statistics, spread
from .console import err, line, out

MAX_PRINTED = 20
"""Maximum number of problems that are printed; the report lists more."""

app = App(
    name="data",
    help="Check data sets.",
    help_epilogue="Example: dbnet data check icdar2015:data/ic15",
)


@app.command
def check(
    data: str,
    /,
    *,
    format: str | None = None,
    report: Path = Path("data-check.html"),
    limit: int | None = None,
    pictures: int = 24,
) -> int:
    """Check a data set: count its images and texts, and list its problems.

    The exit code is 0 if nothing is wrong, 1 if there are problems or no images, and 2 if it
    cannot be read.

    Parameters
    ----------
    data
        PATH or FORMAT:PATH of a data set, optionally followed by #train, #val or #test.
    format
        Format of the data set, if the first argument does not name it and the files fit several.
    report
        HTML file to write, with pictures; or a folder, in which report.html is written.
    limit
        Maximum number of images that are decoded to find damaged ones, evenly spread; all if left
        out.
    pictures
        Maximum number of pictures in the report.

    Raises
    ------
    ValueError
        An option is out of range, the data set cannot be read, or the report cannot be written.
    """
    if pictures < 0 or (limit is not None and limit < 0):
        raise ValueError(f"expected 0 or more, got --pictures {pictures}, --limit {limit}")
    name = f"{format}:{data}" if format else data
    found = read_as_is(name)
    looked_at = found.samples if limit is None else spread(found.samples, limit)
    progress = track(
        check_images(looked_at),
        "decoding",
        total=len(looked_at),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
    found.problems += [problem for problem in progress if problem is not None]
    statistics = compute_statistics(found)
    file = report if report.suffix.lower() in (".html", ".htm") else report / "report.html"
    try:
        write_report(file, name, statistics, found.samples, pictures)
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror}") from error
    _print(name, statistics)
    for note in found.notes:
        out.print(line("note: ", (note, "")), soft_wrap=True)
    out.print(line("report with pictures: ", (file, "")), soft_wrap=True)
    return 1 if statistics.problems or not statistics.num_images else 0


def _print(name: str, statistics: Statistics) -> None:
    table = Table(title=line((name, "")), show_header=False, title_justify="left")
    table.add_column()
    table.add_column(justify="right")
    for title, rows in (
        ("", counts(statistics)),
        ("problems: ", statistics.kinds),
        ("height in pixels ", statistics.height_table),
        ("length over height, ", aspect_quantiles(statistics)),
    ):
        for what, value in rows:
            table.add_row(line((title + what, "")), str(value))
        table.add_section()
    out.print(table)
    for problem in statistics.problems[:MAX_PRINTED]:
        out.print(line((problem, "")), soft_wrap=True)
    if len(statistics.problems) > MAX_PRINTED:
        out.print(f"and {len(statistics.problems) - MAX_PRINTED} more problems")
    if len(statistics.heights) == 0:
        out.print("there is no text to learn or find")
