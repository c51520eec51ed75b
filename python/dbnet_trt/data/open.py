# SPDX-License-Identifier: Apache-2.0
"""Open data sets by name: FORMAT:PATH?OPTIONS#PART."""

from __future__ import annotations

import hashlib
import logging
import re
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..images.load import image_size
from ..images.sources import find_sources
from ..images.video import is_video
from .dataset import DataSet
from .guess import guess_format
from .readers import READERS
from .readers.files import annotation_limit
from .samples import Sample
from .scenes import join, link_scenes

logger = logging.getLogger("dbnet_trt")

VALIDATION_EVERY = 6
"""Every how many images one is held out for validation when a data set is split."""

MAX_LOGGED = 20
"""Maximum number of problems of a data set that are logged; the rest is counted."""

ICDAR2015_SIZE, ICDAR2015_COPY = (720, 1280), (640, 960)
"""(height, width) of ICDAR 2015's images, and of a copy with another aspect ratio."""

OPTIONS = ("stretch", "by-series", "by-scene", "by-position")
"""Options that may follow the path after "?", joined by "&"; see `read_dataset`."""

MAX_MB = "max-mb="
"""Option with the limit on an annotation file, in MiB."""

_LIMIT = re.compile(MAX_MB + r"[1-9]\d{0,5}", re.ASCII)

_COPY = re.compile(
    r"((_(jpe?g|png))?\.rf\.[0-9a-f]+|[ _-]?\(\d+\)|[ _-](copy|aug|flip|rot|crop|v)[ _-]?\d*)+$",
    re.IGNORECASE,
)
"""Suffixes that tools add to the names of copies: a (2), a_copy, a_aug3, a_jpg.rf.0123abcd."""


_LAST_DIGIT = re.compile(r"(?<=\d)\d$")


class DataName(NamedTuple):
    """The parts of "FORMAT:PATH?OPTIONS#PART"."""

    format: str
    """A name in `READERS`."""

    path: Path
    """File or folder of the data set."""

    part: str
    """Part: "train", "val", "test", or "" for all."""

    options: frozenset[str] = frozenset()
    """Selected options of `OPTIONS`."""


def read_dataset(name: str) -> DataSet:
    """Read "FORMAT:PATH", as in "td500:data/msra_td500/train".

    "PATH" alone is enough if the files can be of one format only. "FORMAT:PATH#train" and "#val"
    are the parts that the data set itself defines, as COCO-Text does. If it defines none, "#val" is
    one image in six, chosen by a hash of its name, so that removing an image moves no other;
    "#train" is the rest. Copies of one image that are named as such (a (2), a_aug3) stay on one
    side, and with "PATH?by-series#val" those numbered in a row, ten by ten, as photos of one scene
    often are. "PATH?by-scene#val" compares the photos themselves: near-duplicates and views of the
    same sign stay on one side (see `scenes.link_scenes`). "icdar2015:PATH?stretch" stretches a copy
    of 960x640 to the originals' 1280x720; "PATH?by-position#val" takes every sixth image, as in the
    runs with published numbers. "PATH?max-mb=4096" raises the limit on an annotation file, 1 GiB,
    to 4096 MiB. Problems are logged, the first of them in full.

    Raises:
        ValueError: There is no such format or path, or it holds no sample.
    """
    found = read_as_is(name)
    for note in found.notes:
        logger.warning("%s: %s", name, note)
    for problem in found.problems[:MAX_LOGGED]:
        logger.warning("%s", problem)
    if found.problems:
        count = f"{len(found.problems)} problem{'s' if len(found.problems) > 1 else ''}"
        logger.warning("%s: %s in all; see `dbnet data check %s`", name, count, name)
    if not found.samples:
        first = f"; the first problem is {found.problems[0]}" if found.problems else ""
        raise ValueError(f"{name} holds no sample{first}")
    return found


def read_photos(name: str) -> list[Sample]:
    """Read the photos of a folder, searched with its subfolders, or of a data set FORMAT:PATH.

    Photos of a folder have no texts.

    Raises:
        ImageError: The folder has no image.
        ValueError: There is no such folder or data set.
    """
    if not Path(name).is_dir():
        return read_dataset(name).samples
    files = [file for file in find_sources([name]) if not is_video(file)]
    return [Sample(Path(file), (), upright=True) for file in files]


def read_as_is(name: str) -> DataSet:
    """Read a data set as `read_dataset` does, but log nothing and accept an empty one.

    Raises:
        ValueError: There is no such format or path, or it holds another format.
    """
    form, path, part, options = split_name(name)
    limits = [each.removeprefix(MAX_MB) for each in options if each.startswith(MAX_MB)]
    with annotation_limit(int(limits[0]) << 20) if limits else nullcontext():
        found = READERS[form](path)
    if "stretch" in options:
        found.samples = [_stretch(sample) for sample in found.samples]
    if part:
        found.samples = _select(found.samples, part, options)
    return found


def _stretch(sample: Sample) -> Sample:
    if image_size(sample.image) != ICDAR2015_COPY:
        return sample
    height, width = (new / old for new, old in zip(ICDAR2015_SIZE, ICDAR2015_COPY, strict=True))
    return replace(sample, stretch=(width, height))


def split_name(name: str) -> DataName:
    """Split "FORMAT:PATH?OPTIONS#PART"; the format is guessed where it is left out.

    Raises:
        ValueError: There is no such format or path, or the format cannot be guessed.
    """
    whole, _, part = name.partition("#")
    whole, options = _split_options(whole)
    form, colon, rest = whole.partition(":")
    named = bool(colon) and (form in READERS or not Path(whole).exists())
    path = Path(rest if named else whole).expanduser()  # the shell does not do so after a colon
    if part not in ("", "train", "val", "test") or not whole or (named and form not in READERS):
        raise ValueError(
            "expected FORMAT:PATH, optionally followed by #train, #val or #test, "
            f"FORMAT one of {', '.join(READERS)}; got {name!r}"
        )
    if not (rest if named else whole) or not path.exists():
        raise ValueError(f"there is no {path}; it was named by {name!r}")
    form = form if named else guess_format(path)
    if "stretch" in options and form != "icdar2015":
        raise ValueError(f"?stretch goes with icdar2015:PATH only, got {name!r}")
    if {"by-scene", "by-position"} <= options:
        raise ValueError(f"expected one of ?by-scene and ?by-position, got both in {name!r}")
    return DataName(form, path, part, options)


def _split_options(whole: str) -> tuple[str, frozenset[str]]:
    """Split a path from its options; a "?" in the name of an existing file marks no options."""
    path, mark, listed = whole.rpartition("?")
    options = frozenset(listed.split("&")) if mark else frozenset()
    are_known = all(each in OPTIONS or _LIMIT.fullmatch(each) for each in options)
    if not mark or (not are_known and Path(whole.partition(":")[2] or whole).exists()):
        return whole, frozenset()
    if not are_known:
        known = " or ?".join((*OPTIONS, f"{MAX_MB}SIZE"))
        raise ValueError(f"expected options ?{known} after the path, got ?{listed}")
    return path, options


def _select(samples: list[Sample], part: str, options: frozenset[str]) -> list[Sample]:
    """Select the samples of a part, as the data set names it or by the hash of image names."""
    if part == "test" or any(sample.part == "val" for sample in samples):
        return [sample for sample in samples if sample.part == part]
    samples = [sample for sample in samples if sample.part != "test"]
    if "by-position" in options:
        return [
            sample
            for index, sample in enumerate(samples)
            if (index % VALIDATION_EVERY == 0) == (part == "val")
        ]
    keys = [_scene_key(sample.image, in_series="by-series" in options) for sample in samples]
    if "by-scene" in options:
        keys = _join_keys(keys, link_scenes([sample.image for sample in samples]))
    ranks = {key: _rank(key) for key in sorted(set(keys))}
    held_out = {key for key, rank in ranks.items() if rank % VALIDATION_EVERY == 0}
    if not held_out and len(ranks) > 1:  # of a very small set: one in any case
        held_out = {min(ranks, key=lambda key: ranks[key])}
    return [
        sample
        for sample, key in zip(samples, keys, strict=True)
        if (key in held_out) == (part == "val")
    ]


def _scene_key(image: Path, *, in_series: bool = False) -> str:
    """Return the common part of the names of images of one scene.

    That is the name without its suffix and what tools add for copies; of photos in series, also
    without the last digit of the number at its end.
    """
    stem = image.stem.lower()
    stem = _COPY.sub("", stem) or stem
    return _LAST_DIGIT.sub("", stem) if in_series else stem


def _join_keys(keys: list[str], links: list[tuple[int, int]]) -> list[str]:
    """Give all photos of a scene one key: that of lowest rank among theirs."""
    first: dict[str, int] = {}
    same_key = [(first.setdefault(key, index), index) for index, key in enumerate(keys)]
    scenes = join(len(keys), [*links, *same_key])
    chosen: dict[int, str] = {}
    for scene, key in zip(scenes, keys, strict=True):
        chosen[scene] = min(chosen.get(scene, key), key, key=_rank)
    return [chosen[scene] for scene in scenes]


def _rank(key: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    )


def without_folders(name: str) -> str:
    """Shorten FORMAT:PATH for a card to the last two folders, as in "td500:td500/train#val"."""
    form, colon, path = name.rpartition(":")
    parts = Path(path).parts[-2:]
    return f"{form}{colon}{'/'.join(part for part in parts if part != '/')}"
