# SPDX-License-Identifier: Apache-2.0
"""Find the files, cameras and streams that the inputs of a command stand for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..errors import ImageError
from ..files import is_file, is_folder
from .load import IMAGE_SUFFIXES, VIDEO_SUFFIXES

KNOWN_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES


def real_path(path: str | os.PathLike[str]) -> str:
    """Return a path without links; one that no file can have is returned as it is."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # ValueError: a NUL in it
        return os.fspath(path)


class Outputs:
    """Files and folders that a command writes, which are no inputs of it."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._paths = [real_path(path) for path in paths]
        self._names = {os.path.basename(path) for path in self._paths}

    def has(self, path: str) -> bool:
        """Whether a path is an output, or lies in a folder that is one."""
        real = real_path(path)
        return any(real == each or real.startswith(each + os.sep) for each in self._paths)

    def has_entry(self, entry: os.DirEntry[str]) -> bool:
        """Whether an entry of a folder that is no output is one; it is faster."""
        return entry.name in self._names and self.has(entry.path)


def find_sources(inputs: Iterable[str], outputs: Outputs | None = None) -> Iterator[str]:
    """List the files, cameras and streams that inputs stand for; folders and globs are expanded.

    What an earlier input names, by the same path, is not there once more. A folder is listed while
    its files are taken, sorted, and no more of it is in memory than the names in one folder at each
    depth.

    Args:
        inputs: Files, folders (with all below them), globs, numbers of cameras,
            addresses of streams (rtsp://…).
        outputs: What the command writes; it is left out of folders and globs.

    Returns:
        Iterator of paths, numbers and addresses. A folder that cannot be listed is one of the
        paths: reading it tells why.

    Raises:
        ImageError: A name is empty, a folder holds no image or video, or a glob matches nothing.
    """
    outputs = outputs or Outputs()
    parts: list[tuple[str, Iterable[str]]] = []
    for given in inputs:
        if not given:
            raise ImageError(
                "the name of an input is empty; name a file or a folder (this one is .)"
            )
        found: Iterable[str] = [given]
        if is_folder(Path(given)):
            if not _holds_any(given, outputs):
                raise ImageError(f"the folder {given} holds no image and no video")
            found = _walk(str(Path(given)), outputs)
        elif is_glob(given):
            found = sorted(
                each for each in glob.glob(given, recursive=True) if not outputs.has(each)
            )
            if not found:
                raise ImageError(f"nothing matches {given}")
        parts.append((given, found))
    return _once(parts)


def _once(parts: Iterable[tuple[str, Iterable[str]]]) -> Iterator[str]:
    """Yield what each input stands for, without what one before it named.

    The files of a folder are not kept: a file was there if the folder's walk comes to it.
    """
    listed, folders = set[str](), list[str]()
    for given, found in parts:
        is_walk = isinstance(found, Iterator)
        for path in found:
            name = path  # of a camera, a stream or a missing file it stays that
            if (listed or folders) if is_walk else is_file(Path(path)):
                name = os.path.abspath(path)
                if any(_walk_has(folder, name) for folder in folders):
                    continue
            if name in listed:
                continue
            if not is_walk:
                listed.add(name)
            yield path
        if is_walk:
            folders.append(os.path.abspath(given))


def _walk_has(folder: str, file: str) -> bool:
    """Tell whether a folder's walk comes to a file: of a known kind, not by way of a link."""
    if not file.startswith(os.path.join(folder, "")) or not is_known(file):
        return False
    parent = os.path.dirname(file)
    below = os.path.relpath(parent, folder)
    return real_path(parent) == os.path.normpath(os.path.join(real_path(folder), below))


def is_glob(given: str) -> bool:
    """Whether an input has wildcards, and is neither a file nor an address."""
    is_there = is_file(Path(given)) or is_folder(Path(given))
    return glob.has_magic(given) and "://" not in given and not is_there


def is_known(name: str) -> bool:
    """Whether a file's name is that of an image or a video."""
    return os.path.splitext(name)[1].lower() in KNOWN_SUFFIXES


def count_files(inputs: Iterable[str], outputs: Outputs) -> int:
    """Count what `find_sources` lists; its order does not matter, so it is faster."""
    return sum(
        sum(1 for _ in _scan(given, outputs))
        if is_folder(Path(given))
        else len(glob.glob(given, recursive=True) if is_glob(given) else [given])
        for given in inputs
    )


def _walk(folder: str, outputs: Outputs) -> Iterator[str]:
    """Yield the images and videos below a folder in the order of their paths."""
    prefix = "" if folder == os.curdir else os.path.join(folder, "")
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                if (is_folder or is_known(entry.name)) and not outputs.has_entry(entry):
                    # With the separator a folder is sorted as the paths in it are.
                    names.append(entry.name + os.sep if is_folder else entry.name)
    except OSError:
        yield folder
        return
    names.sort(reverse=True)
    while names:
        name = names.pop()
        if name.endswith(os.sep):
            yield from _walk(prefix + name[:-1], outputs)
        else:
            yield prefix + name


def _scan(folder: str, outputs: Outputs) -> Iterator[str]:
    """Yield the images and videos below a folder in any order."""
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not outputs.has_entry(entry):
                            folders.append(entry.path)
                    elif is_known(entry.name) and not outputs.has_entry(entry):
                        yield entry.path
        except OSError:
            continue


def _holds_any(folder: str, outputs: Outputs) -> bool:
    return any(True for _ in _scan(folder, outputs))
