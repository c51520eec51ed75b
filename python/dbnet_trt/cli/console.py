# SPDX-License-Identifier: Apache-2.0
"""The terminal: consoles, exit codes, progress bars, and safe printing of outside names."""

from __future__ import annotations

import logging
import os
import sys
import unicodedata

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

SUCCESS = 0
SOME_FAILED = 1
"""Exit code if some inputs failed while the others were processed, or a check found problems."""

ERROR = 2
"""Exit code of a command that failed."""

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells define it."""

out = Console(highlight=False, emoji=False)
"""Console on standard output, for results."""

err = Console(stderr=True, highlight=False, emoji=False)
"""Console on standard error, for progress, summaries, warnings and errors."""

LINE_SECONDS = 60.0
"""Seconds between lines of progress where there is no terminal."""


_BIDI_CONTROLS = frozenset(
    "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_HIDDEN = frozenset(("Cc", "Zl", "Zp"))


def visible(text: object) -> str:
    """Return text in one line with its control characters escaped, as in "\\x1b".

    File names come from outside: they must not move the cursor, fake a line, or run backwards.
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _HIDDEN or character in _BIDI_CONTROLS
        else character
        for character in text
    )


def line(*parts: str | tuple[object, str]) -> Text:
    """Return a line for a console.

    Args:
        parts: Texts of our own, and pairs of an object from outside and its style, as in
            (path, "bold"). Markup in them is not interpreted.
    """
    shown = [part if isinstance(part, str) else (visible(part[0]), part[1]) for part in parts]
    return Text.assemble(*shown)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Format a record in one line with its control characters escaped."""
        return visible(super().format(record))


def _open_missing_streams() -> None:
    """Open the null device for standard streams that are closed, as in `dbnet ... >&-`.

    Otherwise the next file that is opened, such as that of --json, takes the place of the stream,
    and what libraries print goes into it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest descriptor that is free
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def prepare_terminal() -> None:
    """Log to standard error, and escape characters that the terminal's encoding lacks."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def number(count: int, noun: str) -> str:
    """Return a count with its noun, as in "1 image" or "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def fail(message: str) -> int:
    """Print an error in one line and return its exit code."""
    err.print(line(("error:", "red"), " ", (message, "")), soft_wrap=True)
    return ERROR


def progress_bar(field: str, *, transient: bool, disable: bool) -> Progress:
    """Make a progress bar on standard error, with one text field.

    Args:
        field: Name of the text field, set by `progress.update(task, FIELD=...)`.
        transient: Whether the bar is removed when it is done.
        disable: Whether to show no bar; without a terminal none is shown anyway.
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
