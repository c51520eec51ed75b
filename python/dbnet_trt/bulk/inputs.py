# SPDX-License-Identifier: Apache-2.0
"""The images that the inputs of a bulk run stand for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import ImageError
from ..images.sources import Outputs, find_sources, is_glob, is_known
from .storage import Storage

LIST_SUFFIXES = (".txt", ".list", ".lst")
PARQUET_SUFFIX = ".parquet"

COLUMNS = ("path", "image", "bytes")
"""Columns of Parquet files in which paths or encoded images are looked for, in this order."""

NAME_COLUMNS = ("path", "id", "name")
"""Columns that name encoded images, likewise."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A Parquet file that holds encoded images."""

    file: str
    column: str
    """Column of the images, binary or a struct with a field `bytes`."""

    name: str | None
    """Column of their names; None where it has none: they are called FILE#ROW."""

    groups: tuple[int, ...]
    """Number of rows of each row group."""


def find_inputs(
    inputs: Iterable[str], storage: Storage, output: str, column: str | None
) -> Iterator[str | Encoded]:
    """Check that the inputs are there, and return what they stand for, which is not read yet.

    Args:
        inputs: Folders, globs (local ones), images, list files (.txt, .list, .lst: one path per
            line) and Parquet files or folders of them.
        storage: Where they lie.
        output: Folder of the results, which is no input.
        column: Column of Parquet files; None looks for one.

    Returns:
        Iterator of absolute paths of images, and of Parquet files that hold images themselves.

    Raises:
        ImageError: An input is missing or holds nothing.
        ValueError: A Parquet file has no such column, or one of another type.
        OSError: A store cannot be reached.
    """
    several = [(given, _kind(given, storage)) for given in inputs]
    return _absolute(_find(several, storage, output, column), storage)


Kind = Literal["list", "table", "folder", "image"]


def _kind(given: str, storage: Storage) -> Kind:
    """Return what an input is."""
    if not given:
        raise ImageError("the name of an input is empty; name a file or a folder (this one is .)")
    if storage.is_folder(given):
        return "folder"
    is_local = storage.local_path(given) is not None
    if not storage.exists(given) and not (is_local and is_glob(given)):
        raise ImageError(f"there is no file or folder {given}")
    suffix = os.path.splitext(given)[1].lower()
    return "list" if suffix in LIST_SUFFIXES else "table" if suffix == PARQUET_SUFFIX else "image"


def _absolute(found: Iterator[str | Encoded], storage: Storage) -> Iterator[str | Encoded]:
    for each in found:
        if isinstance(each, Encoded):
            yield replace(each, file=storage.absolute(each.file))
        else:
            yield storage.absolute(each)


def _find(
    inputs: Iterable[tuple[str, Kind]], storage: Storage, output: str, column: str | None
) -> Iterator[str | Encoded]:
    for given, kind in inputs:
        if kind == "list":
            yield from _read_list(given, storage)
        elif kind == "table":
            yield from _read_parquet(given, storage, column)
        elif kind == "folder":
            yield from _read_folder(given, storage, output, column)
        elif storage.local_path(given) is not None:
            yield from find_sources([given])
        else:
            yield given


def _read_folder(
    folder: str, storage: Storage, output: str, column: str | None
) -> Iterator[str | Encoded]:
    """Yield the images in a folder, or what its Parquet files hold if there are any on top."""
    names = list(storage.names(folder))
    tables = [name for name in names if _is_table(name)]
    images = [name for name in names if is_known(name)]
    if tables and images:
        raise ValueError(
            f"the folder {folder} holds images ({images[0]}) and Parquet files ({tables[0]}); name "
            "the ones that are meant: the files, or a folder of images alone"
        )
    if tables:
        for name in sorted(tables):
            yield from _read_parquet(f"{folder.rstrip('/')}/{name}", storage, column)
        return
    local = storage.local_path(folder)
    if local is not None:
        yield from find_sources([folder], Outputs([Path(output)]))
        return
    is_empty, left_out = True, f"{output.rstrip('/')}/"
    for path in storage.walk(folder.rstrip("/")):
        if is_known(path) and not path.startswith(left_out):
            is_empty = False
            yield path
    if is_empty:
        raise ImageError(f"the folder {folder} holds no image and no video")


def _is_table(name: str) -> bool:
    return name.lower().endswith(PARQUET_SUFFIX) and not name.startswith(("_", "."))


def _read_list(path: str, storage: Storage) -> Iterator[str]:
    """Yield the lines of a list file, without the empty ones; names may be of any bytes."""
    is_empty = True
    try:
        filesystem, inside = storage.resolve(path)
        with filesystem.open_input_stream(inside) as file:
            rest = b""
            while piece := file.read(1 << 20):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if name := os.fsdecode(line.rstrip(b"\r")):
                        is_empty = False
                        yield name
    except FileNotFoundError:
        raise ImageError(f"there is no file {path}") from None
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error}") from error
    if name := os.fsdecode(rest.rstrip(b"\r")):
        is_empty = False
        yield name
    if is_empty:
        raise ImageError(f"the list {path} is empty; it holds one path per line")


def _read_parquet(path: str, storage: Storage, column: str | None) -> Iterator[str | Encoded]:
    import pyarrow

    file = storage.open_parquet(path)
    schema = file.schema_arrow
    chosen = _choose_column(path, schema, column)
    kind = schema.field(chosen).type
    is_text = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
    if not is_text:
        _check_binary(path, chosen, kind)
        names = (name for name in NAME_COLUMNS if name in schema.names and name != chosen)
        meta = file.metadata
        groups = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
        yield Encoded(path, chosen, next(names, None), groups)
        return
    for batch in file.iter_batches(columns=[chosen]):
        for value in batch.column(0).to_pylist():
            if not value:
                raise ImageError(f"{path}: a path in the column {chosen} is empty")
            yield value


def _choose_column(path: str, schema: Any, column: str | None) -> str:
    wanted = COLUMNS if column is None else (column,)
    found = next((name for name in wanted if name in schema.names), None)
    if found is None:
        raise ValueError(
            f"{path} has no column {' or '.join(wanted)}, but {', '.join(schema.names)}; name the "
            "one that holds paths or encoded images by column (--column)"
        )
    return str(found)


def _check_binary(path: str, column: str, kind: Any) -> None:
    import pyarrow

    is_struct = pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    inner = kind.field("bytes").type if is_struct else kind
    if not (pyarrow.types.is_binary(inner) or pyarrow.types.is_large_binary(inner)):
        raise ValueError(
            f"{path}: column {column} is {kind}; expected paths (string) or encoded images "
            "(binary, or a struct with a field bytes)"
        )
