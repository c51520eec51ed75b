# SPDX-License-Identifier: Apache-2.0
"""Writer for the file of `--json`, which holds whole lines even if the program is stopped."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from ..errors import ImageError
from ..files import append_whole, parse_json


class JsonLines:
    """A writer of one line of JSON per image, to a file or to standard output."""

    def __init__(self, path: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        """Open the file.

        Args:
            path: File to write, or "-" for standard output.
            overwrite: Whether to replace a file that holds results.
            resume: Whether to append to the lines of a file.

        Raises:
            ValueError: The file is not empty and neither is set, or both are set.
            ImageError: The file cannot be written.
        """
        if overwrite and resume:
            raise ValueError("--overwrite and --resume exclude each other; give one")
        self._path = path
        self.done: set[str] = set()
        """Names of the images that the file already has lines for, with `resume`."""
        self._descriptor: int | None = None
        if str(path) == "-":
            return
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            status = os.fstat(self._descriptor)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{path} cannot be written: {reason}") from error
        if stat.S_ISREG(status.st_mode) and status.st_size > 0:
            self._take_over(overwrite, resume)

    def _take_over(self, overwrite: bool, resume: bool) -> None:
        """Empty a file that holds results, or prepare to append to it."""
        assert self._descriptor is not None
        if not overwrite and not resume:
            self.close()
            raise ValueError(
                f"--json {self._path} exists and holds results; name another file, or give "
                "--overwrite to replace them or --resume to append to them"
            )
        if overwrite:
            os.ftruncate(self._descriptor, 0)
            return
        lines = self._path.read_bytes().split(b"\n")
        os.ftruncate(self._descriptor, sum(len(line) + 1 for line in lines[:-1]))
        for number, line in enumerate(lines[:-1], 1):
            try:
                record = parse_json(line.decode())
                self.done.add(record["image"])
            except (ValueError, TypeError, KeyError):
                self.close()
                raise ValueError(
                    f"--resume: line {number} of {self._path} is not a result of `dbnet detect`"
                ) from None

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
