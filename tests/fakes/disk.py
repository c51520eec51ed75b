# SPDX-License-Identifier: Apache-2.0
"""A disk whose n-th write fails, and what a command may leave there."""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FUNCTIONS = ("write", "fsync", "replace")
"""Functions of `os` that change a disk."""


class FaultyDisk:
    """Counts the writes of this process, and lets the n-th fail after half of its bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = errno.ENOSPC) -> None:
        self.num_writes, self.fails_at = 0, 0
        self.code = code
        for name in FUNCTIONS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))
        for module in (io, builtins):
            monkeypatch.setattr(module, "open", self._open)

    def count(self, write_half: Callable[[], object] = lambda: None) -> None:
        """Count a write; raise OSError if it is to fail."""
        self.num_writes += 1
        if self.num_writes == self.fails_at:
            write_half()
            raise OSError(self.code, os.strerror(self.code))

    @contextmanager
    def failing_at(self, number: int) -> Iterator[None]:
        """Let a write fail in a `with` block: the first is 1."""
        self.num_writes, self.fails_at = 0, number
        yield
        self.fails_at = 0

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **options: Any) -> Any:
            first, data = (*arguments, b"")[:2]
            half = b"" if isinstance(data, (str, Path)) else data[: len(data) // 2]
            self.count(lambda: original(first, half) if half else None)
            return original(*arguments, **options)

        return write

    def _open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """Open a file as `io.open` does; one that is written counts what reaches the disk."""
        raw = _File(file, mode.translate({ord("b"): None, ord("t"): None}), closefd, opener)
        raw.disk = self
        if buffering == 0:
            return raw
        kinds = {(True, True): io.BufferedRandom, (False, True): io.BufferedWriter}
        kind = kinds.get((raw.readable(), raw.writable()), io.BufferedReader)
        buffered = kind(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(buffered, encoding, errors, newline)


class _File(io.FileIO):
    disk: FaultyDisk

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.disk.count(lambda: super(_File, self).write(view[: len(view) // 2]))
        return super().write(data)


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder, hidden ones too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Make a folder hold these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def assert_whole(folder: Path, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Check that each file is as it was or as it shall be, and that there is none beside them."""
    found = contents(folder)
    assert old.keys() <= found.keys() <= new.keys()
    for name, data in found.items():
        assert data in (old.get(name), new[name]), name
