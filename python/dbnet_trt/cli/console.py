# SPDX-License-Identifier: Apache-2.0
"""The terminal: where commands print, what they print with, and how they end."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SUCCESS = 0
SOME_FAILED = 1
"""Exit code where some inputs failed, or a check found problems; the others were worked on."""

ERROR = 2
"""Exit code of a command that could not do its work."""

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended: the shell's."""

out = Console(highlight=False)
"""Results."""

err = Console(stderr=True, highlight=False)
"""Progress, summaries, warnings and errors."""


def escape(text: str) -> str:
    """Return text that rich prints as it is."""
    return text.replace("[", "\\[")


def number(count: int, noun: str) -> str:
    """Return "1 image" or "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def fail(message: str) -> int:
    """Print an error in one line and return its exit code."""
    err.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    return ERROR


def progress_bar(field: str, *, transient: bool, disable: bool) -> Progress:
    """Make a progress bar on standard error, with one text of its own.

    Args:
        field: Name of the text, set by `progress.update(task, FIELD=...)`.
        transient: Whether the bar goes when it is done.
        disable: Whether to show none; there is none beside a terminal either.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[{field}]}}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=transient,
        disable=disable or not err.is_terminal,
    )
