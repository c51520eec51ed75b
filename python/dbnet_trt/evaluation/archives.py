# SPDX-License-Identifier: Apache-2.0
"""Read folders and zip archives of annotation files, within limits.

A small archive may unpack to any size: each file is read up to its limit, and all together up to
theirs, whatever sizes the archive states.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from ..files import read_up_to

MAX_TOTAL_BYTES = 512 << 20
"""Default limit on all files of an archive together, unpacked: 512 MiB."""

FILES_PER_TOTAL = 32
"""Ratio of the limit on all files to the limit on one file."""

MAX_FILE_BYTES = MAX_TOTAL_BYTES // FILES_PER_TOTAL
"""Default limit on one unpacked file: 16 MiB; a file of one image has some kilobytes."""

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,  # encrypted
    NotImplementedError,  # compressed otherwise
    OSError,
    ValueError,
    OverflowError,
)
"""Exceptions of `zipfile` for archives that are damaged, encrypted, or of an unknown kind."""


def read_files(
    path: Path,
    wanted: Callable[[str], bool],
    *,
    max_file_bytes: int = MAX_FILE_BYTES,
    max_total_bytes: int = MAX_TOTAL_BYTES,
) -> Iterator[tuple[str, bytes]]:
    """Read the wanted files of a folder or a zip archive, one by one.

    Args:
        path: The folder, or the archive, inside which folders are ignored.
        wanted: Whether a file is wanted, by its name.
        max_file_bytes: Limit on one file.
        max_total_bytes: Limit on all files of an archive together.

    Yields:
        Name and content of each file.

    Raises:
        ValueError: The path is neither, a file cannot be read, or a limit is exceeded.
    """
    if path.is_dir():
        for file in sorted(path.iterdir()):
            if wanted(file.name) and file.is_file():
                yield file.name, _read_file(file, max_file_bytes)
    elif path.is_file():
        yield from _read_archive(path, wanted, max_file_bytes, max_total_bytes)
    else:
        raise ValueError(f"there is no {path}; a folder or a zip archive was expected")


def _read_file(file: Path, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as opened:
            content = read_up_to(opened, max_bytes + 1)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror or error}") from error
    return _within(content, max_bytes, str(file))


def _read_archive(
    path: Path, wanted: Callable[[str], bool], max_file_bytes: int, max_total_bytes: int
) -> Iterator[tuple[str, bytes]]:
    total = 0
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise ValueError(f"{path} is neither a folder nor a zip archive: {error}") from error
    with archive:
        for entry in archive.infolist():
            name = PurePosixPath(entry.filename).name
            if not name or entry.is_dir() or not wanted(name):
                continue
            try:
                with archive.open(entry) as opened:
                    content = opened.read(max_file_bytes + 1)
            except _DAMAGE as error:
                reason = str(error) or type(error).__name__
                raise ValueError(
                    f"{path}/{entry.filename} cannot be unpacked: {reason}; pack it again, "
                    "without a password, by deflate"
                ) from error
            total += len(_within(content, max_file_bytes, f"{path}/{entry.filename}"))
            if total > max_total_bytes:
                raise ValueError(
                    f"{path} unpacks to more than {max_total_bytes} bytes, too many for "
                    "annotations; raise the limit (--max-unpacked-mb) if it is right"
                )
            yield name, content


def _within(content: bytes, max_bytes: int, name: str) -> bytes:
    if len(content) > max_bytes:
        raise ValueError(
            f"{name} has more than {max_bytes} bytes, too many for annotations; raise "
            "the limit (--max-unpacked-mb) if it is right"
        )
    return content
