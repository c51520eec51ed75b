# SPDX-License-Identifier: Apache-2.0
"""Local disks and object stores, by pyarrow's file systems."""

from __future__ import annotations

import os
import posixpath
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import DBNetError, ImageError
from ..files import write_atomically

OBJECT_STORES = ("s3", "gcs", "abfs")
"""Kinds of file systems without folders, in which a file is there when it is complete, and not
before."""

THIS_MACHINE = ("", "localhost")
"""Hosts in file://HOST/PATH."""

S3_HINT = (
    "; check the bucket, the keys (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and the address "
    "(AWS_ENDPOINT_URL, or ?endpoint_override=HOST:PORT&scheme=http after the path)"
)


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
        self._connections: dict[str, tuple[str, str]] = {}  # keys and options by root and by scheme

    def learn(self, uri: str) -> str:
        """Keep keys and options of a URI for all of its scheme, and return it without them.

        Names of files may then hold any character, and no key is written into results.
        """
        if self._given is not None or not is_uri(uri):
            return uri
        scheme, host, rest = _split(uri)
        path, _, options = rest.partition("?")
        keys, at, bucket = host.rpartition("@") if scheme == "s3" else ("", "", host)
        root = f"{scheme}://{bucket}"
        if at or options:
            self._connections[root] = (keys + at, options)
            self._connections.setdefault(scheme, (keys + at, options))
        return root + path

    def resolve(self, path: str) -> tuple[Any, str]:
        """Return the file system of a path and the path in it; a local path becomes absolute.

        Raises:
            DBNetError: There is no such file system.
            OSError: It cannot be reached.
        """
        if self._given is not None:
            return self._given, path
        if not is_uri(path):
            return _local(), os.path.abspath(path)
        scheme, host, inside = _split(path)
        if scheme == "file":
            if host not in THIS_MACHINE:
                raise DBNetError(
                    f"expected file:///PATH, the whole path on this machine, got {path}, which "
                    f"names the machine {host}"
                )
            return _local(), os.path.abspath(inside or "/")
        known = self._connections.get(f"{scheme}://{host}") or self._connections.get(scheme)
        keys, options = known or ("", "")
        filesystem, root = _connect(f"{scheme}://{keys}{host}", options)
        return filesystem, (root.rstrip("/") + inside).rstrip("/") or root

    def absolute(self, path: str) -> str:
        """Return a path that means the same file on every machine that has it."""
        return path if self._given is not None else self.local_path(path) or path

    def local_path(self, path: str) -> str | None:
        """Return the absolute path of a file on this machine; None if it is elsewhere."""
        if self._given is None and is_uri(path):
            scheme, host, _ = _split(path)
            if scheme != "file" or host not in THIS_MACHINE:
                return None
        filesystem, inside = self.resolve(path)
        return inside if filesystem.type_name == "local" else None

    @contextmanager
    def reaching(self, path: str) -> Iterator[None]:
        """Say of a store's errors what cannot be reached; those of a disk here stay as they are."""
        import pyarrow

        try:
            yield
        except (OSError, pyarrow.ArrowException) as error:
            if self.local_path(path) is not None:
                raise
            kind = path.partition(":")[0] if self._given is None else self._given.type_name
            hint = S3_HINT if kind == "s3" else ""
            raise OSError(f"{path} cannot be reached: {error}{hint}") from error

    def check_bucket(self, path: str) -> None:
        """Check that the bucket of a path in an object store is there.

        Raises:
            OSError: It is not, or the store cannot be reached.
        """
        from pyarrow.fs import FileType

        with self.reaching(path):
            filesystem, inside = self.resolve(path)
            if filesystem.type_name in OBJECT_STORES:
                bucket = inside.partition("/")[0]
                if filesystem.get_file_info([bucket])[0].type == FileType.NotFound:
                    raise OSError(f"there is no bucket {bucket}")

    def read(self, path: str) -> bytes:
        """Read a whole file.

        Raises:
            ImageError: It cannot be read.
            OSError: Its store cannot be reached, which is not the file's fault.
        """
        import pyarrow

        filesystem, inside = self._resolve_image(path)
        try:
            with filesystem.open_input_stream(inside) as file:
                return file.readall()
        except FileNotFoundError:
            raise ImageError(f"there is no file {path}") from None
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            self._ask_for(path)
            raise ImageError(f"{path} cannot be read: {error}") from error

    def _ask_for(self, path: str) -> None:
        """Ask a store for the bucket or the root of a path, after an error of a file.

        Raises:
            OSError: The store cannot be reached.
        """
        with self.reaching(path):
            filesystem, inside = self.resolve(path)
            filesystem.get_file_info([inside.partition("/")[0] or "/"])

    def _resolve_image(self, path: str) -> tuple[Any, str]:
        """Resolve a path that may name no file system."""
        try:
            with self.reaching(path):
                return self.resolve(path)
        except DBNetError as error:
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
        with self.reaching(path):
            if filesystem.type_name in OBJECT_STORES:
                with filesystem.open_output_stream(inside) as file:
                    file.write(data)
                return
            folder, name = posixpath.split(inside)
            filesystem.create_dir(folder, recursive=True)
            temporary = posixpath.join(folder, f".{name}.{uuid.uuid4().hex}")
            with filesystem.open_output_stream(temporary) as file:
                file.write(data)
            filesystem.move(temporary, inside)

    def names(self, folder: str) -> list[str]:
        """List the names of the files in a folder; none if there is no such folder."""
        from pyarrow.fs import FileSelector, FileType

        local = self.local_path(folder)
        if local is not None:  # pyarrow ends on names that are no UTF-8
            with suppress(FileNotFoundError), os.scandir(local) as entries:
                return [each.name for each in entries if os.path.isfile(each)]  # links, too
            return []
        with self.reaching(folder):
            filesystem, inside = self.resolve(folder)
            found = filesystem.get_file_info(FileSelector(inside, allow_not_found=True))
        return [each.base_name for each in found if each.type == FileType.File]

    def is_folder(self, path: str) -> bool:
        """Whether a path is a folder."""
        local = self.local_path(path)
        return os.path.isdir(local) if local is not None else self._type(path) == "Directory"

    def exists(self, path: str) -> bool:
        """Whether there is a file."""
        local = self.local_path(path)
        return os.path.isfile(local) if local is not None else self._type(path) == "File"

    def _type(self, path: str) -> str:
        with self.reaching(path):
            filesystem, inside = self.resolve(path)
            return str(filesystem.get_file_info([inside])[0].type.name)

    def walk(self, folder: str) -> Iterator[str]:
        """Yield the paths of all files below a folder, sorted, one folder at a time."""
        from pyarrow.fs import FileSelector, FileType

        with self.reaching(folder):
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
            OSError: Its store cannot be reached.
        """
        import pyarrow
        from pyarrow import parquet

        try:
            filesystem, inside = self.resolve(path)
            return parquet.ParquetFile(inside, filesystem=filesystem)
        except FileNotFoundError:
            raise ImageError(f"there is no file {path}") from None
        except (OSError, pyarrow.ArrowException) as error:
            self._ask_for(path)
            raise ImageError(f"{path} cannot be read as Parquet: {error}") from error


@cache
def _local() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


@cache
def _connect(root: str, options: str) -> tuple[Any, str]:
    """Return a file system and the path of its root: each connection takes requests of its own."""
    import pyarrow
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(f"{root}/?{options}" if options else f"{root}/")
    except (ValueError, pyarrow.ArrowException) as error:
        name = root.rpartition("@")[2]  # without keys
        raise DBNetError(f"{name} is no file system that pyarrow knows: {error}") from error


def _split(uri: str) -> tuple[str, str, str]:
    """Return scheme, host or bucket, and the rest of a URI."""
    scheme, _, rest = uri.partition("://")
    host = re.match(r"[^/?]*", rest)
    assert host is not None
    return scheme, host.group(), rest[host.end() :]
