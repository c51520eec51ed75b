# SPDX-License-Identifier: Apache-2.0
"""Guess the format of a data set from its files, if they can be of one format only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..files import decode_text, read_json
from .readers import READERS
from .readers.boxes import DOTA_HEADER, parse_dota, parse_yolo
from .readers.curved import parse_ctw1500
from .readers.icdar import parse_icdar2013, parse_icdar2015, parse_mlt, parse_rctw
from .readers.polygons import parse_polygon
from .samples import Text

HEAD_BYTES = 1 << 16
"""Number of bytes that are read of each annotation file of one image."""

MAX_FILES = 200
"""Maximum number of annotation files of a folder that are read, evenly spread."""

MAX_JSON_BYTES = 1 << 30

LABEL_FILES = ("gt.mat", "*.jsonl", "*.json", "*abel*.txt", "*.xml")
"""Names of files that annotate a whole folder."""

LINES: dict[str, Callable[[str], Text]] = {
    "mlt": parse_mlt,
    "rctw": parse_rctw,
    "icdar2013": parse_icdar2013,
    "ctw1500": parse_ctw1500,
    "icdar2015": parse_icdar2015,
    "dota": parse_dota,
    "yolo": parse_yolo,
    "polygons": parse_polygon,
}
"""Formats of one text per line, the strictest first."""


def guess_format(path: Path) -> str:
    """Guess the format of a file or folder.

    Raises:
        ValueError: No format fits, or several.
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
    suffix = file.suffix.lower()
    if suffix == ".mat":
        return ["synthtext"]
    if suffix == ".json":
        return _of_json(file)
    if suffix == ".jsonl":
        return ["jsonl"]
    head = _head(file)
    if suffix == ".xml":
        return ["cvat"] if "<annotations" in head and "<segs>" not in head else []
    return ["paddleocr"] if "\t[" in head else []


def _of_json(file: Path) -> list[str]:
    try:
        contents = read_json(file, max_bytes=MAX_JSON_BYTES)
    except ValueError:  # broken: its reader says how
        head = _head(file)
        if head.lstrip().startswith("["):
            return ["labelstudio"]
        return [form for form, keys in KEYS.items() if all(f'"{key}"' in head for key in keys)]
    if isinstance(contents, list):
        return ["labelstudio"] if all(isinstance(task, dict) for task in contents) else []
    if not isinstance(contents, dict):
        return []
    for form, keys in KEYS.items():
        if keys <= contents.keys():
            return [form]
    return _of_table(list(contents.values()))


KEYS = {
    "cocotext": {"imgs", "anns"},
    "coco": {"images", "annotations"},
    "labelme": {"shapes", "imagePath"},
    "mmocr": {"data_list"},
    "via": {"_via_img_metadata"},
}
"""Keys that identify the format of a JSON file."""


def _of_table(rows: list[Any]) -> list[str]:
    """Return the formats that fit a JSON file with one entry per image."""
    if rows and all(isinstance(row, dict) for row in rows):
        if all("polygons" in row for row in rows):
            return ["doctr"]
        return ["via"] if all({"filename", "regions"} <= row.keys() for row in rows) else []
    texts = [text for row in rows if isinstance(row, list) for text in row]
    is_lsvt = texts and all(isinstance(text, dict) and "points" in text for text in texts)
    return ["lsvt"] if is_lsvt else []


def _of_folder(folder: Path) -> list[str]:
    if any((folder / f"{part}_images").is_dir() for part in ("train", "test")) and any(
        (folder / f"{part}_gts").is_dir() for part in ("train", "test")
    ):
        return ["db"]
    labels = [file for pattern in LABEL_FILES for file in _some(sorted(folder.glob(pattern)))]
    single = {form for file in labels for form in _of_file(file)}
    if single:
        return sorted(single)
    by_suffix = defaultdict(list)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        by_suffix[path.suffix.lower()].append(path)
    formats = set(_of_lines(_some(by_suffix[".txt"])))
    if by_suffix[".gt"]:
        formats.add("td500")
    if any("gt_" in path.name for path in by_suffix[".mat"]):
        formats.add("totaltext")
    if any("<segs>" in _head(path) for path in _some(by_suffix[".xml"])):
        formats.add("ctw1500")
    if any("labelme" in _of_json(path) for path in _some(by_suffix[".json"])):
        formats.add("labelme")
    return sorted(formats)


def _of_lines(files: list[Path]) -> list[str]:
    """Return the formats that fit all annotation files; of equivalent ones only the strictest."""
    contents = [_whole_lines(file) for file in files]
    if any(line.startswith("x:") for lines in contents for line in lines[:1]):
        return ["totaltext"]
    readings: dict[str, list[list[Text]]] = {}
    for form, parse in LINES.items():
        read = [_parse_all(lines, form, parse) for lines in contents]
        fitting = [texts for texts in read if texts]
        # Files that fit no format are readmes and lists; those of one data set fit the same.
        if fitting and not any(
            texts is None and _fits_another(lines)
            for texts, lines in zip(read, contents, strict=True)
        ):
            readings[form] = fitting
    found: list[str] = []
    for form, texts in readings.items():
        if not any(_are_alike(texts, readings[other]) for other in found):
            found.append(form)
    return found


def _parse_all(lines: list[str], form: str, parse: Callable[[str], Text]) -> list[Text] | None:
    """Parse the texts of all lines; None if one of them is not in the format."""
    try:
        return [
            parse(line)
            for line in lines
            if line.strip() and not (form == "dota" and DOTA_HEADER.match(line))
        ]
    except (ValueError, IndexError):
        return None


def _fits_another(lines: list[str]) -> bool:
    return any(_parse_all(lines, form, parse) for form, parse in LINES.items())


def _are_alike(one: list[list[Text]], other: list[list[Text]]) -> bool:
    first, second = ([text for texts in each for text in texts] for each in (one, other))
    return len(first) == len(second) and all(
        a.ignore == b.ignore and np.array_equal(a.polygon, b.polygon)
        for a, b in zip(first, second, strict=True)
    )


def _some(files: list[Path]) -> list[Path]:
    """Choose at most `MAX_FILES` files, evenly spread."""
    return files[:: max(len(files) // MAX_FILES, 1)][:MAX_FILES]


def _whole_lines(file: Path) -> list[str]:
    head = _head(file)
    if len(head) >= HEAD_BYTES // 4:  # perhaps cut inside a line
        head = head.rpartition("\n")[0]
    return [line.strip("\r") for line in head.split("\n")]


def _head(file: Path) -> str:
    with file.open("rb") as opened:
        return decode_text(opened.read(HEAD_BYTES), "replace")
