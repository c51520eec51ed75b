# SPDX-License-Identifier: Apache-2.0
"""Exceptions of the package. Wrong arguments raise ValueError or TypeError."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DBNetError(Exception):
    """Base class of all exceptions of this package."""


class ImageError(DBNetError, ValueError):
    """An image or video cannot be read, or is not one."""


class BuildError(DBNetError, RuntimeError):
    """A model cannot be exported, or an engine cannot be built."""


class EngineError(DBNetError, RuntimeError):
    """A model or engine cannot run: wrong file, device, version, architecture or memory."""


class TrainingError(DBNetError, RuntimeError):
    """Training cannot continue."""


def did_you_mean(name: object, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean "..."?` for the closest choice, "" if none is close.

    Args:
        name: Name that was given.
        choices: Names that exist.
        cutoff: Minimum similarity of a suggestion, in [0, 1].
    """
    close = difflib.get_close_matches(str(name), list(choices), 1, cutoff)
    return f'; did you mean "{close[0]}"?' if close else ""
