# SPDX-License-Identifier: Apache-2.0
"""Files of one part on this machine: those of elsewhere are fetched ahead, and deleted again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..errors import ImageError
from .storage import Storage

NUM_THREADS = 8
"""Number of files that are fetched at a time: one takes 20 to 100 ms from an object store."""

NUM_AHEAD = 16
"""Number of files that are on their way or wait on the disk."""


class Fetched:
    """Paths on this machine, in order, of images that may be elsewhere or in memory.

    `name` and `problem` tell what stands behind a path that was yielded.
    """

    def __init__(
        self, images: Iterable[tuple[str, bytes | None]], storage: Storage, folder: str
    ) -> None:
        """Prepare to fetch.

        Args:
            images: Name of each image, and its encoded bytes if they are in memory.
            storage: Where images without bytes lie.
            folder: Folder for files that are fetched.
        """
        self._images, self._storage, self._folder = images, storage, folder
        self._names: dict[str, str] = {}
        self._problems: dict[str, ImageError] = {}

    def __iter__(self) -> Iterator[str]:
        with ThreadPoolExecutor(NUM_THREADS, "dbnet-fetch") as pool:
            waiting: deque[tuple[str, Future[None] | None]] = deque()
            for index, (name, data) in enumerate(self._images):
                local = self._storage.local_path(name) if data is None else None
                if local is None:
                    local = os.path.join(self._folder, f"{index:06d}{_suffix(name)}")
                    waiting.append((local, pool.submit(self._fetch, local, name, data)))
                else:
                    waiting.append((local, None))
                self._names[local] = name
                while len(waiting) > NUM_AHEAD:
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)

    def _next(self, waiting: deque[tuple[str, Future[None] | None]]) -> str:
        path, future = waiting.popleft()
        if future is not None:
            future.result()
        return path

    def _fetch(self, local: str, name: str, data: bytes | None) -> None:
        try:
            data = self._storage.read(name) if data is None else data
            Path(local).write_bytes(data)
        except ImageError as error:
            self._problems[local] = error

    def name(self, path: str) -> str:
        """Return the name of an image."""
        return self._names[path]

    def explain(self, path: str, error: Exception) -> str:
        """Return the message of an error, with the image's name in place of the path here."""
        return str(self._problems.get(path, error)).replace(path, self._names[path])

    def release(self, path: str) -> None:
        """Delete a file that was fetched."""
        if os.path.dirname(path) == self._folder:
            Path(path).unlink(missing_ok=True)


def _suffix(name: str) -> str:
    suffix = os.path.splitext(name)[1]
    return suffix if suffix.isascii() and suffix[1:].isalnum() and len(suffix) < 8 else ""
