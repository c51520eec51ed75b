# SPDX-License-Identifier: Apache-2.0
"""Tables of results, one row per text: CSV and Parquet. They are complete, or not there."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ..conversions import CORNER_COLUMNS
from ..errors import ImageError
from .targets import PART_SUFFIX, Targets

COLUMNS = (
    *("image", "page", "frame", "height", "width"),
    *(*CORNER_COLUMNS, "score", "polygon", "text", "confidence", "track"),
)
"""Columns of a table; `polygon`, `text`, `confidence` and `track` are empty unless requested."""

ROWS_AT_ONCE = 50_000
"""Rows of a Parquet file that are kept until they are written together."""

Row = dict[str, Any]


class Table(Protocol):
    """A file that takes the records of images."""

    def add(self, record: dict[str, Any]) -> None:
        """Write the texts of one image.

        Raises:
            OSError: The file cannot be written.
        """

    def close(self, *, is_complete: bool) -> None:
        """Give the file its name if it is complete, else delete it."""


def open_tables(targets: Targets, tables: list[Table]) -> None:
    """Open the tables that are named, and add them to a list.

    Raises:
        ValueError: One exists, and is neither to be replaced nor continued.
        ImageError: One cannot be written.
        ModuleNotFoundError: A library is missing.
    """
    may_replace = targets.overwrite or targets.resume
    for option, path in (("--csv", targets.csv), ("--parquet", targets.parquet)):
        if path is not None and path.is_file() and path.stat().st_size > 0 and not may_replace:
            raise ValueError(
                f"{option} {path} exists and holds results; name another file, or give --overwrite "
                "to replace them"
            )
    if targets.parquet is not None:
        tables.append(ParquetTable(targets.parquet))
    if targets.csv is not None:
        tables.append(CsvTable(targets.csv))


class _Unfinished:
    """A file that gets its name when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.temporary = path.with_name(f"{path.name}{PART_SUFFIX}")  # a killed one is replaced
        try:
            self.temporary.touch()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = getattr(error, "strerror", None) or error
            raise ImageError(f"{path} cannot be written: {reason}") from error

    def close(self, finish: Callable[[], object], *, is_complete: bool) -> None:
        try:
            finish()
            if is_complete:
                with self.temporary.open("rb") as file:
                    os.fsync(file.fileno())
                os.replace(self.temporary, self._path)
        except OSError as error:
            if is_complete:  # otherwise another error is on its way
                error.filename = str(self._path)
                raise
        finally:
            self.temporary.unlink(missing_ok=True)


class CsvTable:
    """A table of comma-separated values in UTF-8."""

    def __init__(self, path: Path) -> None:
        self._unfinished = _Unfinished(path)
        # Bytes of a name that are no UTF-8 are written as they are.
        self._file = self._unfinished.temporary.open(
            "w", encoding="utf-8", errors="surrogateescape", newline=""
        )
        self._rows = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def add(self, record: dict[str, Any]) -> None:
        for row in _rows(record):
            if row["polygon"] is not None:
                row["polygon"] = " ".join(f"{x},{y}" for x, y in row["polygon"])
            self._rows.writerow(row)

    def close(self, *, is_complete: bool) -> None:
        self._unfinished.close(self._file.close, is_complete=is_complete)


class ParquetTable:
    """A table in Parquet."""

    def __init__(self, path: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        point = pyarrow.list_(pyarrow.float32(), 2)
        types = {
            "image": pyarrow.string(),
            **dict.fromkeys(("page", "height", "width"), pyarrow.int32()),
            "text": pyarrow.string(),
            **dict.fromkeys(("frame", "track"), pyarrow.int64()),
            "polygon": pyarrow.list_(point),
        }
        self._schema = pyarrow.schema(
            [(name, types.get(name, pyarrow.float32())) for name in COLUMNS]
        )
        self._unfinished = _Unfinished(path)
        self._writer = parquet.ParquetWriter(self._unfinished.temporary, self._schema)
        self._waiting: list[Row] = []

    def add(self, record: dict[str, Any]) -> None:
        for row in _rows(record):
            # Bytes of a name that are no UTF-8 are shown as numbers: the format has no others.
            row["image"] = row["image"].encode("utf-8", "backslashreplace").decode()
            self._waiting.append(row)
        if len(self._waiting) >= ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_pylist(self._waiting, self._schema))
        self._waiting = []

    def close(self, *, is_complete: bool) -> None:
        self._unfinished.close(self._finish, is_complete=is_complete)

    def _finish(self) -> None:
        if self._waiting:
            self._write()
        self._writer.close()


def _rows(record: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each text of a record."""
    names = {name: record.get(name) for name in ("image", "page", "frame", "height", "width")}
    missing = [None] * len(record["scores"])
    optional = ("polygons", "texts", "confidences", "track_ids")
    of_texts = (
        record["quads"],
        record["scores"],
        *(record.get(name) or missing for name in optional),
    )
    for quad, score, polygon, text, confidence, track in zip(*of_texts, strict=True):
        corners = dict(zip(CORNER_COLUMNS, (side for point in quad for side in point), strict=True))
        read = {"text": text, "confidence": confidence, "track": track}
        yield {**names, **corners, "score": score, "polygon": polygon, **read}
