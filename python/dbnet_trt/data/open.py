# SPDX-License-Identifier: Apache-2.0
"""Open data sets by name: FORMAT:PATH#PART."""

from __future__ import annotations

import logging
from pathlib import Path

from .dataset import DataSet
from .guess import guess_format
from .readers import READERS
from .samples import Sample

logger = logging.getLogger("dbnet_trt")

VALIDATION_EVERY = 6
"""Of a data set that is split, every so many-th image is held out for validation."""

MAX_LOGGED = 20
"""Problems of a data set that are logged one by one; the rest is counted."""


def read_dataset(name: str) -> DataSet:
    """Read "FORMAT:PATH", as in "td500:data/msra_td500/train".

    "PATH" alone will do where the files tell their format. "FORMAT:PATH#train" and "#val" are the
    parts that the data set itself names, as COCO-Text does; where it names none, "#val" is every
    sixth image, and "#train" the others. Problems are logged, a few of them in full.

    Raises:
        ValueError: There is no such format or path, or it holds no sample.
    """
    found = read_as_is(name)
    for problem in found.problems[:MAX_LOGGED]:
        logger.warning("%s", problem)
    if found.problems:
        count = f"{len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}"
        logger.warning("%s: %s in all; see `dbnet data check %s`", name, count, name)
    if not found.samples:
        first = f"; the first problem is {found.problems[0]}" if found.problems else ""
        raise ValueError(f"{name} holds no sample{first}")
    return found


def read_as_is(name: str) -> DataSet:
    """Read what `read_dataset` reads, but log nothing, and accept that there is no sample.

    Raises:
        ValueError: There is no such format or path, or it holds another format.
    """
    form, path, part = split_name(name)
    found = READERS[form](path)
    if part:
        found.samples = _select(found.samples, part)
    return found


def split_name(name: str) -> tuple[str, Path, str]:
    """(format, path, part) of "FORMAT:PATH#PART"; the format is guessed where it is left out.

    Raises:
        ValueError: There is no such format or path, or the format cannot be told.
    """
    whole, _, part = name.partition("#")
    form, colon, rest = whole.partition(":")
    named = bool(colon) and (form in READERS or not Path(whole).exists())
    path = Path(rest if named else whole).expanduser()  # the shell does not, behind a colon
    if part not in ("", "train", "val", "test") or not whole or (named and form not in READERS):
        raise ValueError(
            "expected FORMAT:PATH, and perhaps #train, #val or #test behind it, "
            f"FORMAT one of {', '.join(READERS)}; got {name!r}"
        )
    if not (rest if named else whole) or not path.exists():
        raise ValueError(f"there is no {path}; it was named by {name!r}")
    return form if named else guess_format(path), path, part


def _select(samples: list[Sample], part: str) -> list[Sample]:
    if part == "test" or any(sample.part == "val" for sample in samples):
        return [sample for sample in samples if sample.part == part]
    return [
        sample
        for index, sample in enumerate(samples)
        if (index % VALIDATION_EVERY == 0) == (part == "val")
    ]
