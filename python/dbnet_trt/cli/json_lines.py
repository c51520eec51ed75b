# SPDX-License-Identifier: Apache-2.0
"""Writer for the file of `--json`, which holds whole lines even if the program is stopped."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ImageError
from ..files import append_whole, parse_json, read_json, write_atomically
from .targets import RUN_SUFFIX

Key = tuple[str, int | None, int | None]
"""Name, number of the page and number of the frame of an image."""


START = b'{"image": '
"""Prefix of each line."""


class JsonLines:
    """A writer of one line of JSON per image, to a file or to standard output.

    A file beside it keeps what the lines depend on, so that only the same work goes on.
    """

    def __init__(
        self, path: Path, run: dict[str, Any], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        """Open the file.

        Args:
            path: File to write, or "-" for standard output.
            run: What the lines depend on: model and options, in types of JSON.
            overwrite: Whether to replace a file that holds results.
            resume: Whether to append to the lines of a file.

        Raises:
            ValueError: The file is not empty and neither is set, both are set, or the lines are not
                of `dbnet detect` with the same model and options.
            ImageError: The file cannot be written.
        """
        if overwrite and resume:
            raise ValueError("--overwrite and --resume exclude each other; give one")
        self._path, self._run = path, run
        self._run_path = path.with_name(path.name + RUN_SUFFIX)
        self._done: set[int] = set()  # hashes: a million keys take 70 MB instead of 250
        self._descriptor: int | None = None
        if str(path) == "-":
            return
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            status = os.fstat(self._descriptor)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{path} cannot be written: {reason}") from error
        if not stat.S_ISREG(status.st_mode):
            return
        try:
            self._lock()
            if status.st_size > 0 and not overwrite:
                self._take_over(resume)
            else:
                os.ftruncate(self._descriptor, 0)
            if not self._done:
                data = (json.dumps(run, indent=1) + "\n").encode()
                write_atomically(self._run_path, lambda temporary: temporary.write_bytes(data))
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        """Keep other runs from writing to the file; the system ends this with the process."""
        assert self._descriptor is not None
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"--json {self._path}: another run is writing to this file") from None
        except OSError:  # a file system without locks
            return

    def _take_over(self, resume: bool) -> None:
        """Prepare to append to a file that holds results."""
        assert self._descriptor is not None
        if not resume:
            raise ValueError(
                f"--json {self._path} exists and holds results; name another file, or give "
                "--overwrite to replace them or --resume to append to them"
            )
        end = 0
        for number, line in enumerate(self._lines(), 1):
            if not line.endswith(b"\n") and line[: len(START)] == START[: len(line)]:
                break  # torn when the program was killed
            try:
                self._done.add(hash(_read_key(line)))
            except (ValueError, TypeError, KeyError):
                raise ValueError(
                    f"--resume: line {number} of {self._path} is not a result of `dbnet detect`"
                ) from None
            end += len(line)
        if end > 0:
            self._check_run()
        os.ftruncate(self._descriptor, end)

    def _check_run(self) -> None:
        """Check that the lines were made with the same model and options."""
        try:
            before = read_json(self._run_path)
        except ValueError as error:
            raise ValueError(
                f"--resume: {error}; it says how the lines of {self._path} were made. Name another "
                "file, or give --overwrite"
            ) from None
        now = json.loads(json.dumps(self._run))
        names = now if isinstance(before, dict) else {"model": None}
        before = before if isinstance(before, dict) else {}
        for name in names:
            if before.get(name) != now[name]:
                raise ValueError(
                    f"--resume: {self._path} was made with {name} {json.dumps(before.get(name))}, "
                    f"now it is {json.dumps(now[name])}; give the same, or name another file"
                )

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            yield from file

    def is_done(self, key: Key) -> bool:
        """Return whether the file had a line for an image when it was opened."""
        return hash(key) in self._done

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the records that the file had when it was opened.

        Raises:
            ValueError: A line is damaged.
        """
        if self._done:
            for number, line in enumerate(self._lines(), 1):
                try:
                    yield parse_json(line.decode())
                except ValueError as error:
                    raise ValueError(f"line {number} of {self._path}: {error}") from None

    def write(self, record: dict[str, Any]) -> None:
        """Write a line completely or not at all.

        Raises:
            OSError: It cannot be written: the disk is full, for example.
        """
        line = json.dumps(record) + "\n"
        if self._descriptor is None:
            sys.stdout.write(line)
            sys.stdout.flush()
            return
        try:
            append_whole(self._descriptor, line.encode())
        except OSError as error:
            error.filename = str(self._path)
            raise

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def key_of(record: dict[str, Any]) -> Key:
    """Return what tells an image's record from all others."""
    return record["image"], record.get("page"), record.get("frame")


def _read_key(line: bytes) -> Key:
    """Read the key from a line; the quads, most of it, are not parsed where they come last."""
    head, found, _ = line.partition(b', "height": ')
    if found and head.startswith(START) and line.endswith(b"}\n"):
        return key_of(parse_json(head.decode() + "}"))
    return key_of(parse_json(line.decode()))
