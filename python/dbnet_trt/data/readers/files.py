# SPDX-License-Identifier: Apache-2.0
"""Find and read the annotation files of images: lines of text, JSON or XML."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...files import decode_json, decode_text, is_file, read_limited
from ...images.load import READ_SUFFIXES
from ..dataset import DataSet, ImageAnnotation
from ..samples import Polygon, Problem, Text

NOT_IMAGES = re.compile(r"(^|[^a-z])gt([^a-z]|s?$)|ground.?truth", re.IGNORECASE)
"""Pattern of folders of pixel masks, whose files are named like the images."""

PART = re.compile(r"(?<![a-z])(train|test|val)", re.IGNORECASE)

INNER = re.compile(r"(?<![a-z])(train|test|val|images?|img)", re.IGNORECASE)
"""Pattern of folders inside a data set; its annotations may lie beside or above them."""


MAX_NUMBER = 1e9
"""Limit on coordinates, so that their sums and products do not overflow."""

MAX_ANNOTATION_BYTES = 1 << 30
"""Limit on the size of an annotation file; the largest published ones have some 400 MB."""

_max_bytes = ContextVar("max_bytes", default=MAX_ANNOTATION_BYTES)


@contextmanager
def annotation_limit(max_bytes: int) -> Iterator[None]:
    """Set the limit on the size of annotation files that are read in a `with` block."""
    token = _max_bytes.set(max_bytes)
    try:
        yield
    finally:
        _max_bytes.reset(token)


def read_annotations(file: Path, *, at_least: int = 0) -> bytes:
    """Read an annotation file.

    Args:
        file: The file.
        at_least: Size in bytes that is read in any case.

    Raises:
        ValueError: It is missing, cannot be read, or is larger than the limit.
    """
    limit = max(_max_bytes.get(), at_least)
    try:
        return read_limited(file, max_bytes=limit)
    except ValueError as error:
        if is_file(file) and file.stat().st_size > limit:
            raise ValueError(f"{error}; raise the limit by ?max-mb=... after the path") from None
        raise


def stem_key(path: Path) -> str:
    """Return the common part of the names of an image and its annotation.

    That is img_1 of img_1.jpg, gt_img_1.txt and img_1.jpg.txt.
    """
    stem = path.stem.lower().removeprefix("poly_").removeprefix("gt_")
    inner = Path(stem)
    return inner.stem if inner.suffix in READ_SUFFIXES else stem


def find_annotations(
    folder: Path,
    suffixes: tuple[str, ...],
    found: DataSet,
    key: Callable[[Path], str] = stem_key,
) -> Iterator[ImageAnnotation]:
    """Pair the images below a folder with their annotations, by name.

    Annotations lie below the folder too, or, where it holds images only, beside it. An image
    without annotation, or the reverse, becomes a problem.

    Args:
        folder: A data set, one part of it, or the images of one part.
        suffixes: Suffixes of annotation files, the preferred first.
        found: Data set that problems are added to.
        key: Gives what the names of an image and its annotation share.

    Raises:
        ValueError: There are no images, no annotations, or several parts.
    """
    if not folder.is_dir():
        raise ValueError(f"expected the folder of a data set, got the file {folder}")
    images = [path for path in _walk(folder) if _is_image(path, folder)]
    if not images:
        raise ValueError(
            f"expected images ({', '.join(sorted(READ_SUFFIXES))}) in {folder}; found none"
        )
    part = _only_part(images, folder)
    keys = {key(image) for image in images}
    levels = 3 if images[0].parent == folder else 1  # images may have annotations beside them
    roots = [folder, *folder.absolute().parents][:levels]
    annotations = _find_annotations(roots, suffixes, part, lambda path: key(path) in keys)
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in annotations:
        by_key[key(path)].append(path)
    used: set[Path] = set()
    for image in images:
        near = by_key.get(key(image), [])
        used.update(near)
        if len(near) == 1:
            yield ImageAnnotation(image, near[0])
        else:
            got = f"got {len(near)}: {', '.join(map(str, near))}" if near else "found none"
            message = f"expected one annotation of this image ({' or '.join(suffixes)}), {got}"
            found.problems.append(
                Problem(image, 0, f"{message}; skipped", "annotation missing", image)
            )
    found.problems += _find_orphans(annotations, used)


def _find_orphans(annotations: list[Path], used: set[Path]) -> list[Problem]:
    """Find annotations without an image: files named and placed like the others, so no readme."""
    kinds = {(path.parent, "gt_" in path.name) for path in used}
    return [
        Problem(path, 0, "expected an image that is named alike, found none", "image missing")
        for path in annotations
        if path not in used and (path.parent, "gt_" in path.name) in kinds
    ]


def _walk(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _is_image(path: Path, root: Path) -> bool:
    inner = path.relative_to(root).parts[:-1]
    is_image = path.suffix.lower() in READ_SUFFIXES and not path.name.startswith(".")
    return is_image and not any(NOT_IMAGES.search(name) for name in inner)


def _part_of(path: Path) -> str:
    """Return the part, train, test or val, by the nearest folder that names one, else ""."""
    for name in reversed(path.parts):
        match = PART.search(name)
        if match:
            return match[1].lower()
    return ""


def _only_part(images: list[Path], folder: Path) -> str:
    folders = sorted({path.parent for path in images})
    parts = {_part_of(path.relative_to(folder)) for path in folders}
    if len(parts) > 1:
        raise ValueError(
            f"{folder} holds several parts of a data set, which must not be mixed; "
            f"name the images of one: {', '.join(map(str, folders))}"
        )
    return parts.pop() or _part_of(Path(folder.parent.name, folder.name))


def _find_annotations(
    roots: list[Path], suffixes: tuple[str, ...], part: str, has_image: Callable[[Path], bool]
) -> list[Path]:
    """Find the annotations of this part below the first of the folders that has some."""
    for root in roots:
        files = _walk(root)
        for suffix in suffixes:
            by_part = defaultdict(list)
            for path in files:
                if path.suffix.lower() == suffix:
                    by_part[_part_of(path.relative_to(root).parent)].append(path)
            choices = [by_part[part], by_part[""]]
            if root == roots[0]:
                choices.append([path for paths in by_part.values() for path in paths])
            for chosen in choices:
                if any(map(has_image, chosen)):  # else they are readmes
                    return chosen
        if not INNER.search(root.name):  # the folder above is of no data set
            break
    raise ValueError(
        f"expected annotations ({' or '.join(suffixes)}) named like the images in {roots[0]}, "
        "or beside it; found none"
    )


def only_file(path: Path, pattern: str) -> Path:
    """Find the file of labels: the path itself, or the only one of this pattern in the folder.

    Raises:
        ValueError: No file fits, or several do.
    """
    if path.is_file():
        return path
    files = sorted(path.glob(pattern))
    if len(files) != 1:
        got = ", ".join(map(str, files)) or "none"
        raise ValueError(f"expected one file {pattern} in {path}, found {got}; name the file")
    return files[0]


class ImageFinder:
    """Finder of the images that an annotation file names, in folders near it."""

    def __init__(self, folder: Path) -> None:
        """Search from `folder`, the folder of the annotation file."""
        self._folder = folder
        self._by_name: dict[str, list[Path]] | None = None
        self._by_stem: dict[str, list[Path]] | None = None

    def find_stem(self, stem: str) -> Path | None:
        """Find the only image of this stem below the folder, or else below the one above.

        Returns:
            None if there is none, or several.
        """
        if self._by_stem is None:
            self._by_stem = defaultdict(list)
            for root in (self._folder, self._folder.absolute().parent):
                for path in _walk(root):
                    if _is_image(path, root):
                        self._by_stem[path.stem].append(path)
                if self._by_stem:
                    break
        same = self._by_stem.get(Path(stem).name, [])
        return same[0] if len(same) == 1 else None

    def find(self, name: str) -> Path | None:
        """Find an image by name or relative path: in the folder, the one above, or by name below.

        Returns:
            None if there is none, or several of that name below the folder.
        """
        if not name:
            return None
        for root in (self._folder, self._folder.parent):
            if is_file(root / name):
                return root / name
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for path in _walk(self._folder):
                self._by_name[path.name].append(path)
        same = self._by_name.get(Path(name).name, [])
        return same[0] if len(same) == 1 else None


def read_folder(
    folder: Path,
    parse: Callable[[str], Text],
    suffixes: tuple[str, ...],
    found: DataSet,
) -> Iterator[ImageAnnotation]:
    """Read a folder with one annotation file per image, one text per line.

    Args:
        folder: A data set, one part of it, or the images of one part.
        parse: Makes a text of a line.
        suffixes: Suffixes of annotation files.
        found: Data set that problems of files are added to.

    Raises:
        ValueError: There are no images, no annotations, or several parts.
    """
    for annotation in find_annotations(folder, suffixes, found):
        read_lines(annotation, parse)
        yield annotation


def read_text(annotation: ImageAnnotation) -> str | None:
    """Read an annotation file in UTF-8 or UTF-16; bytes that are neither become a problem."""
    try:
        raw = read_annotations(annotation.file)
    except ValueError as error:
        annotation.report(0, f"{error}; its image is skipped", "annotation unreadable")
        annotation.complete = False
        return None
    try:
        return decode_text(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"expected UTF-8, got byte 0x{raw[error.start]:02x}; it reads as a question mark"
        annotation.report(line, message, "encoding")
        return decode_text(raw, "replace")


def read_lines(
    annotation: ImageAnnotation,
    parse: Callable[[str], Text],
    skip: re.Pattern[str] | None = None,
) -> None:
    """Add the texts of an annotation file that has one per line.

    Args:
        annotation: The image and its annotation file.
        parse: Makes a text of a line.
        skip: Matches the beginning of lines that are no text.
    """
    text = read_text(annotation) or ""
    # Not splitlines(): it also cuts at form feeds and the like, which occur in transcriptions.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not (skip and skip.match(line)):
            annotation.read(number, parse, line.strip("\r"))


def numbers(fields: Iterable[str]) -> list[float]:
    """Parse fields as numbers.

    Raises:
        ValueError: A field is not a number, or is beyond `MAX_NUMBER`.
    """
    result = []
    for each in fields:
        try:
            value = float(each)
        except ValueError:
            value = math.nan
        if not abs(value) < MAX_NUMBER:
            raise ValueError(f"expected a number, got {each.strip()[:40]!r}")
        result.append(value)
    return result


def read_labels(path: Path, expected: str) -> tuple[Path, Any]:
    """Find and read the JSON file of a data set.

    Args:
        path: The file, or a folder that holds one such file.
        expected: What its contents should be, for error messages.

    Returns:
        The file and its contents.

    Raises:
        ValueError: No file fits, several do, or it cannot be read as JSON.
    """
    file = only_file(path, "*.json")
    data = read_annotations(file)
    return file, decode_json(data, file, expected=f"JSON, {expected}")


def parse_xml(text: str) -> ElementTree.Element:
    """Parse XML that defines no entities, whose expansion could take all memory.

    Raises:
        ValueError: The text is not XML, or defines entities.
    """
    if "<!ENTITY" in text:
        raise ValueError("expected XML without entities of its own, got <!ENTITY")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"expected XML, got {error}") from error


def point_array(points: Any) -> Polygon:
    """Convert [[x, y], ...] to (K, 2) float64.

    Raises:
        ValueError: The value has another form, or is no outline in pixels.
    """
    try:
        array = np.array(points, np.float64).reshape(len(points), 2)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"expected points [[x, y], ...], got {str(points)[:80]}") from None
    return _check_numbers(array)


def _check_numbers(array: Polygon) -> Polygon:
    if not (np.abs(array) < MAX_NUMBER).all():
        raise ValueError(f"expected an outline in pixels, got {str(array.tolist())[:80]}")
    return array


def flat_points(values: Any) -> Polygon:
    """Convert [x1, y1, ..., xn, yn] to (n, 2) float64.

    Raises:
        ValueError: The value has another form.
    """
    try:
        array = np.array(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"expected numbers x1, y1, ..., got {str(values)[:80]}") from None
    if array.ndim != 1 or len(array) % 2:
        raise ValueError(f"expected pairs of numbers, got {np.size(array)} numbers")
    return _check_numbers(array.reshape(-1, 2))
