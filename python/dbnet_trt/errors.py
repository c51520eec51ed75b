# SPDX-License-Identifier: Apache-2.0
"""Every error of the package. Wrong arguments are plain ValueError or TypeError."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DBNetError(Exception):
    """Base of all errors that are not a wrong argument."""


class ImageError(DBNetError, ValueError):
    """An image could not be read, or is not an image."""


class BuildError(DBNetError, RuntimeError):
    """A model could not be exported or an engine could not be built."""


class EngineError(DBNetError, RuntimeError):
    """A model or engine cannot run: wrong file, device, version, architecture or memory."""


class TrainingError(DBNetError, RuntimeError):
    """Training cannot go on."""


def did_you_mean(name: object, choices: Iterable[str], cutoff: float = 0.6) -> str:
    """Return `; did you mean "..."?` for the closest choice, "" if none is close.

    Args:
        name: What was given.
        choices: What would have been right.
        cutoff: Least similarity of a suggestion, in [0, 1].
    """
    close = difflib.get_close_matches(str(name), list(choices), 1, cutoff)
    return f'; did you mean "{close[0]}"?' if close else ""
