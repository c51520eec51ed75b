# SPDX-License-Identifier: Apache-2.0
"""Atomic writes, and reads within limits: bytes, and JSON."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

MAX_BYTES = 64 << 20
"""Default limit on the size of a file that is read as a whole: 64 MiB. Parsed JSON takes up to 25
times as much memory."""

PIECE_BYTES = 1 << 20
"""Bytes that are read at a time of a file that does not tell its size."""

TEMPORARY_NAME_LENGTH = 50
"""Characters, of up to 4 bytes, of a file's name that its temporary file has."""


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file so that it is complete or absent, even if the program is stopped.

    Args:
        path: File to write; its folder is created if missing.
        write: Function that fills the temporary file whose path it gets.

    A link is followed: the file that it points to is replaced.

    Raises:
        OSError: The file cannot be written; the error names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    target = Path(os.path.realpath(path))
    # Names have at most 255 bytes: the temporary one is not longer than the final one may be.
    owner = f"{os.getpid()}.{threading.get_native_id()}"
    temporary = target.with_name(f".{target.name[:TEMPORARY_NAME_LENGTH]}.{owner}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        if error.errno:
            error.filename = str(path)  # in place of the temporary file; a full disk names none
        raise
    finally:
        temporary.unlink(missing_ok=True)


def append_whole(descriptor: int, data: bytes) -> None:
    """Append to a file completely or not at all; to a pipe, write.

    Args:
        descriptor: File open for reading and writing, or a pipe.
        data: What to append.

    Raises:
        OSError: It cannot be written: the disk is full, for example.
    """
    is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    start = os.lseek(descriptor, 0, os.SEEK_END) if is_regular else 0
    left = memoryview(data)
    try:
        while left:  # a disk that fills up accepts a part
            left = left[os.write(descriptor, left) :]
    except OSError:
        if is_regular:
            os.ftruncate(descriptor, start)
        raise


def is_file(path: Path) -> bool:
    """Whether a path is a file; a name that no file can have, as a too long one, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_up_to(file: BinaryIO, num_bytes: int) -> bytes:
    """Read the next bytes of an open file, without reserving memory for more than it has."""
    data = file.read(min(num_bytes, os.fstat(file.fileno()).st_size + 1))
    while len(data) < num_bytes and (piece := file.read(min(num_bytes - len(data), PIECE_BYTES))):
        data += piece  # of a pipe, whose size is not known
    return data


def read_limited(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a file that has at most `max_bytes` bytes.

    Raises:
        ValueError: It is missing, cannot be read, or is larger; no more than the limit was read.
    """
    try:
        with path.open("rb") as file:
            data = read_up_to(file, max_bytes + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > max_bytes:
        raise ValueError(f"expected {path} to have at most {max_bytes} bytes; it is larger")
    return data


def read_json(path: Path, *, max_bytes: int = MAX_BYTES, expected: str = "JSON") -> Any:
    """Read a JSON file in UTF-8 or UTF-16, as `decode_text` does.

    Args:
        path: The file.
        max_bytes: Limit on its size.
        expected: What its contents should be, for the error message.

    Raises:
        ValueError: It is missing, larger than the limit, nested too deeply, or not JSON; the
            message has its path and what was expected.
    """
    return decode_json(read_limited(path, max_bytes=max_bytes), path, expected=expected)


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Decode UTF-8, with or without a byte order mark, or UTF-16 with one.

    Lines of the result end in line feeds, also where those of the file end in carriage returns
    alone, as editors of classic Mac OS write them.

    Args:
        data: The bytes.
        errors: What to do about bytes that are neither, as in `bytes.decode`.

    Raises:
        UnicodeDecodeError: There are such bytes, and `errors` is "strict".
    """
    is_utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    text = data.decode("utf-16" if is_utf16 else "utf-8-sig", errors)
    return text if "\n" in text else text.replace("\r", "\n")


def decode_json(data: bytes, path: Path, *, expected: str = "JSON") -> Any:
    """Parse the contents of a JSON file, as `read_json` does.

    Args:
        data: The contents.
        path: The file, for the error message.
        expected: What its contents should be, for the error message.

    Raises:
        ValueError: They are nested too deeply, or not JSON.
    """
    try:
        return parse_json(decode_text(data))
    except ValueError as error:  # UnicodeDecodeError is one
        raise ValueError(f"expected {path} to be {expected}; got {error}") from error


def parse_json(text: str) -> Any:
    """Parse JSON as its standard has it: NaN and Infinity are refused.

    Raises:
        ValueError: It is not JSON, or nested too deeply (some 1000 levels).
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name}, which is no JSON number")
