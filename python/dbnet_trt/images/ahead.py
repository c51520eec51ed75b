# SPDX-License-Identifier: Apache-2.0
"""Read images ahead of the one that is worked on, within a bound on memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from ..errors import ImageError
from .decode import MAX_PIXELS
from .load import Image
from .pages import DPI, PageNumbers, Pages, choose_pages, open_pages
from .video import is_video

BYTES_PER_IMAGE = 40 << 20
"""Size of the images in memory, for each thread that reads, each image that is worked on, and one
more: 14 megapixels. Larger ones only wait for each other."""

MAX_READY = 2
"""Number of images beside one per thread that are read, or being read, before they are asked for:
enough to bridge a slow file. Of a document it is the number of pages: one ready, one being read."""

MAX_THREADS = 8


@dataclass(frozen=True, slots=True)
class PageOptions:
    """Which pages of documents are read, and how."""

    pages: PageNumbers = None
    """Numbers of the pages, as in `read_pages`."""

    dpi: int = DPI
    """Resolution at which pages of a PDF are drawn, in pixels per inch."""

    max_pixels: int = MAX_PIXELS
    """Limit on width x height, as in `read_pages`."""


class Register(Protocol):
    """What becomes of each image."""

    def is_done(self, name: str, page: int | None) -> bool:
        """Whether an image needs no reading."""

    def reserve(self, name: str, page: int | None) -> Path | None:
        """Return where an image will be drawn; called for each in order, also if it is done."""


@dataclass(slots=True)
class ReadImage:
    """One image of a file; of a video, only its name."""

    name: str
    page: int | None = None
    pages: Pages | None = field(default=None, repr=False)
    picture: Path | None = None
    """Where it will be drawn."""

    image: Image | None = field(default=None, repr=False)
    """(H, W, 3) uint8 BGR; None if there is an error, or for a video."""

    error: ImageError | None = None
    num_bytes: int = 0
    """Memory that is counted for it, about."""

    def measure(self) -> None:
        """Set `num_bytes` before the image is read."""
        if self.pages is not None:
            try:
                self.num_bytes = self.pages.num_bytes(self.page or 1)
            except ImageError as error:
                self.error = error

    def read(self) -> None:
        """Set the image, or the error."""
        if self.pages is not None and self.error is None:
            try:
                self.image = self.pages.read(self.page or 1)
            except ImageError as error:
                self.error = error


class ReadAhead:
    """Images of files in their order, read by threads before they are asked for.

    Iterate over it within a `with` block, and `release` each image when it is of no more use: no
    more than `max_bytes` of images are in memory, unless a single one is larger. None comes instead
    of an image where the next one waits for a release.
    """

    def __init__(
        self,
        sources: Iterable[str],
        options: PageOptions,
        register: Register,
        *,
        num_threads: int = 0,
        num_working: int = 1,
        max_bytes: int = 0,
    ) -> None:
        """Begin to read.

        Args:
            sources: Files, cameras and streams, from `find_sources`.
            options: Which pages are read, and how.
            register: What becomes of each image.
            num_threads: Number of threads that read; 0 takes half of the cores, at most 8.
            num_working: Number of images that are worked on at a time.
            max_bytes: Bound on the images in memory; 0 takes `BYTES_PER_IMAGE` for each of them.
        """
        self.num_sources, self.num_images = 0, 0
        """Numbers of the sources, and of their images, that were found so far."""
        self._options, self._register = options, register
        count = num_threads or min(MAX_THREADS, max(1, (os.cpu_count() or 1) // 2))
        self._max_ready = count + MAX_READY
        self._max_bytes = max_bytes or BYTES_PER_IMAGE * (count + num_working + 1)
        self._jobs, self._jobs_lock = self._find(sources), threading.Lock()
        self._changed = threading.Condition()
        self._ready: dict[int, ReadImage] = {}
        self._admitted, self._taken, self._in_flight = 0, 0, 0
        self._is_full, self._is_stopped, self._last = False, False, -1
        self._failure: BaseException | None = None
        self._broken: Pages | None = None  # a sequence whose other pages cannot be read
        self._threads = [
            threading.Thread(target=self._work, name=f"dbnet-read-{i}", daemon=True)
            for i in range(count)
        ]

    def __enter__(self) -> ReadAhead:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[ReadImage | None]:
        while True:
            with self._changed:
                self._changed.wait_for(self._can_take)
                if self._failure is not None:
                    raise self._failure
                read = self._ready.pop(self._taken, None)
                if read is None and self._taken == self._last:
                    return
                if read is not None:
                    self._taken += 1
                    self._changed.notify_all()
            if read is not None and read.error is not None:
                self.release(read)
                if read.pages is not None and read.pages is self._broken:
                    continue
                if read.pages is not None and read.pages.is_sequence:
                    self._broken = read.pages
            yield read

    def release(self, read: ReadImage) -> None:
        """Forget an image."""
        with self._changed:
            self._in_flight -= read.num_bytes
            self._is_full = False
            read.num_bytes, read.image = 0, None
            self._changed.notify_all()

    def _can_take(self) -> bool:
        is_starved = self._is_full and self._taken == self._admitted
        is_over = self._taken == self._last
        return self._taken in self._ready or is_starved or is_over or self._failure is not None

    def _find(self, sources: Iterable[str]) -> Iterator[ReadImage]:
        """Yield the images of all sources that are not done, to be read."""
        options, register = self._options, self._register
        for source in sources:
            self.num_sources += 1
            if is_video(source):
                yield ReadImage(source)
            elif register.is_done(source, None):
                register.reserve(source, None)
            else:
                try:
                    pages = open_pages(source, dpi=options.dpi, max_pixels=options.max_pixels)
                    numbers = choose_pages(pages, options.pages)
                except ImageError as error:
                    yield ReadImage(source, error=error)
                    continue
                yield from self._find_pages(pages, numbers)

    def _find_pages(self, pages: Pages, numbers: list[int]) -> Iterator[ReadImage]:
        for number in numbers:
            page = number if pages.has_numbers else None
            picture = self._register.reserve(pages.path, page)
            if not self._register.is_done(pages.path, page):
                yield ReadImage(pages.path, page, pages, picture)
            if pages is self._broken:
                return

    def _work(self) -> None:
        """Read one image after the other."""
        try:
            while not self._is_stopped:
                with self._jobs_lock:
                    job = next(self._jobs, None)
                    if job is None:
                        break
                    index = self.num_images
                    self.num_images += 1
                job.measure()
                if not self._admit(index, job):
                    return
                job.read()
                with self._changed:
                    self._ready[index] = job
                    self._changed.notify_all()
        except BaseException as error:  # the caller's thread raises it
            self._failure = error
        with self._changed:
            self._last = self.num_images
            self._changed.notify_all()

    def _admit(self, index: int, job: ReadImage) -> bool:
        """Wait until an image may be read: its turn, and memory; False if there is no more need."""
        max_ready = self._max_ready if job.page is None else MAX_READY
        with self._changed:
            while not self._is_stopped:
                if index == self._admitted and index - self._taken < max_ready:
                    fits = self._in_flight + job.num_bytes <= self._max_bytes
                    if fits or self._in_flight == 0:
                        self._admitted += 1
                        self._in_flight += job.num_bytes
                        self._is_full = False
                        self._changed.notify_all()
                        return True
                    if not self._is_full:
                        self._is_full = True
                        self._changed.notify_all()
                self._changed.wait()
        return False
