# SPDX-License-Identifier: Apache-2.0
"""Local disks and object stores, by pyarrow's file systems."""

from __future__ import annotations

import os
import posixpath
import re
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import DBNetError, ImageError
from ..files import write_atomically

WHOLE_OR_NOT = ("s3", "gcs", "abfs")
"""Kinds of file systems in which a file is there when it is complete, and not before."""


def is_uri(path: str) -> bool:
    """Whether a path begins with a scheme, as in s3://bucket/scans."""
    return re.match(r"[A-Za-z][\w+.-]*://", path) is not None


class Storage:
    """A file system, found by the URI of a path unless one is given. It can be sent elsewhere."""

    def __init__(self, filesystem: Any = None) -> None:
        """Keep the file system.

        Args:
            filesystem: `pyarrow.fs.FileSystem`; None takes the local one, or that of a path's URI.
        """
        self._given = filesystem

    def resolve(self, path: str) -> tuple[Any, str]:
        """Return the file system of a path and the path in it; a local path becomes absolute.

        Raises:
            DBNetError: There is no such file system, or it cannot be reached.
        """
        if self._given is not None:
            return self._given, path
        if not is_uri(path):
            return _local(), os.path.abspath(path)
        parts = urlsplit(path)
        if parts.scheme == "file":
            return _local(), parts.path
        filesystem, root = _connect(f"{parts.scheme}://{parts.netloc}", parts.query)
        return filesystem, (root + parts.path).lstrip("/") if root else parts.path

    def absolute(self, path: str) -> str:
        """Return a path that means the same file on every machine that has it."""
        return path if self._given is not None or is_uri(path) else os.path.abspath(path)

    def local_path(self, path: str) -> str | None:
        """Return the absolute path of a file on this machine; None if it is elsewhere."""
        if self._given is None and is_uri(path) and not path.startswith("file://"):
            return None
        filesystem, inside = self.resolve(path)
        return inside if filesystem.type_name == "local" else None

    def read(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            ImageError: It cannot be read.
        """
        import pyarrow

        try:
            filesystem, inside = self.resolve(path)
            with filesystem.open_input_stream(inside) as file:
                return file.readall()
        except FileNotFoundError:
            raise ImageError(f"there is no file {path}") from None
        except (OSError, ValueError, pyarrow.ArrowException, DBNetError) as error:
            raise ImageError(f"{path} cannot be read: {error}") from error

    def write(self, path: str, data: bytes) -> None:
        """Write a file so that it is complete or absent, whatever ends the program.

        Raises:
            OSError: It cannot be written.
        """
        filesystem, inside = self.resolve(path)
        if filesystem.type_name == "local":
            write_atomically(Path(inside), lambda temporary: temporary.write_bytes(data))
            return
        filesystem.create_dir(posixpath.dirname(inside), recursive=True)
        if filesystem.type_name in WHOLE_OR_NOT:
            with filesystem.open_output_stream(inside) as file:
                file.write(data)
            return
        folder, name = posixpath.split(inside)
        temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}")
        with filesystem.open_output_stream(temporary) as file:
            file.write(data)
        filesystem.move(temporary, inside)

    def names(self, folder: str) -> list[str]:
        """List the names of the files in a folder; none if there is no such folder."""
        from pyarrow.fs import FileSelector, FileType

        filesystem, inside = self.resolve(folder)
        found = filesystem.get_file_info(FileSelector(inside, allow_not_found=True))
        return [each.base_name for each in found if each.type == FileType.File]

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder."""
        from pyarrow.fs import FileType

        filesystem, inside = self.resolve(path)
        return filesystem.get_file_info([inside])[0].type == FileType.Directory

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        from pyarrow.fs import FileType

        filesystem, inside = self.resolve(path)
        return filesystem.get_file_info([inside])[0].type == FileType.File

    def walk(self, folder: str) -> Iterator[str]:
        """Yield the paths of all files below a folder, sorted, one folder at a time."""
        from pyarrow.fs import FileSelector, FileType

        filesystem, inside = self.resolve(folder)
        found = filesystem.get_file_info(FileSelector(inside))
        entries = [(each.base_name, each.type == FileType.Directory) for each in found]
        del found
        entries.sort(reverse=True)
        while entries:
            name, is_folder = entries.pop()
            path = posixpath.join(folder, name)
            if is_folder:
                yield from self.walk(path)
            else:
                yield path

    def open_parquet(self, path: str) -> Any:
        """Open a Parquet file.

        Raises:
            ImageError: It cannot be read, or is no Parquet file.
        """
        import pyarrow
        from pyarrow import parquet

        try:
            filesystem, inside = self.resolve(path)
            return parquet.ParquetFile(inside, filesystem=filesystem)
        except FileNotFoundError:
            raise ImageError(f"there is no file {path}") from None
        except (OSError, pyarrow.ArrowException) as error:
            raise ImageError(f"{path} cannot be read as Parquet: {error}") from error


@cache
def _local() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


@cache
def _connect(root: str, query: str) -> tuple[Any, str]:
    """Return a file system and the path of its root: each connection takes requests of its own."""
    import pyarrow
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(f"{root}/?{query}" if query else f"{root}/")
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DBNetError(f"{root} cannot be reached: {error}") from error
