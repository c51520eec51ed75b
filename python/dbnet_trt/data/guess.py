# SPDX-License-Identifier: Apache-2.0
"""Which format a data set is in, from its files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from .readers import READERS
from .readers.curved import parse_ctw1500
from .readers.icdar import parse_icdar2013, parse_icdar2015, parse_mlt
from .samples import Text

HEAD_BYTES = 4096

MAX_FILES = 20
"""Annotation files of a folder that are looked into."""

LABEL_FILES = ("gt.mat", "*.jsonl", "*.json", "*abel*.txt")
"""Files that annotate a whole folder."""

LINES: dict[str, Callable[[str], Text]] = {
    "mlt": parse_mlt,
    "icdar2013": parse_icdar2013,
    "ctw1500": parse_ctw1500,
    "icdar2015": parse_icdar2015,
}
"""Formats of one text a line, the strictest first."""


def guess_format(path: Path) -> str:
    """The format of a file or folder.

    Raises:
        ValueError: None or several fit.
    """
    formats = _of_file(path) if path.is_file() else _of_folder(path)
    if len(formats) != 1:
        fits = f"{' and '.join(formats)} fit" if formats else "no annotation in it is recognised"
        raise ValueError(
            f"cannot tell the format of {path}: {fits}; name it, as FORMAT:{path}, FORMAT one of "
            f"{', '.join(READERS)}"
        )
    return formats[0]


def _of_file(file: Path) -> list[str]:
    head = _head(file)
    suffix = file.suffix.lower()
    if suffix == ".mat":
        return ["synthtext"]
    if suffix == ".json":
        return _of_json(head)
    if suffix == ".jsonl":
        return ["jsonl"]
    return ["paddleocr"] if "\t[" in head else []


def _of_json(head: str) -> list[str]:
    if head.lstrip().startswith("["):
        return ["labelstudio"]
    return ["cocotext"] if any(f'"{key}"' in head for key in ("imgs", "anns", "cats")) else []


def _of_folder(folder: Path) -> list[str]:
    single = {
        form for pattern in LABEL_FILES for file in folder.glob(pattern) for form in _of_file(file)
    }
    if single:
        return sorted(single)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    by_suffix = defaultdict(list)
    for path in files:
        by_suffix[path.suffix.lower()].append(path)
    formats = {form for path in by_suffix[".txt"][:MAX_FILES] for form in _of_text(path)}
    if by_suffix[".gt"]:
        formats.add("td500")
    if any("gt_" in path.name for path in by_suffix[".mat"]):
        formats.add("totaltext")
    if any("<segs>" in _head(path) for path in by_suffix[".xml"][:MAX_FILES]):
        formats.add("ctw1500")
    return sorted(formats)


def _of_text(file: Path) -> list[str]:
    """The format that the first line fits, the strictest first."""
    line = _head(file).partition("\n")[0].strip()
    for form, parse in LINES.items():
        try:
            parse(line)
        except ValueError:
            continue
        return [form]
    return ["totaltext"] if line.startswith("x:") else []


def _head(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(HEAD_BYTES).decode("utf-8-sig", errors="replace")
