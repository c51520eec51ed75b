# SPDX-License-Identifier: Apache-2.0
"""Detect the text in the images of one part after the other, and write the results."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..detections import Detections
from ..errors import DBNetError
from ..images import video
from ..images.ahead import PageOptions, ReadAhead, ReadImage
from ..images.decode import MAX_PIXELS
from ..images.load import Image
from ..images.pages import parse_pages
from ..pipeline.streaming import GPU_IMAGES, search_items
from ..reading import open_reader, read_text
from .config import BulkConfig, DetectorSpec
from .fetch import Fetched
from .inputs import Encoded
from .plan import Part, is_paths, join
from .rows import Row, error_row, result_row, to_parquet
from .storage import Storage

ENCODED_ROWS = 16
"""Rows of encoded images that are read at a time."""

BLANK = np.zeros((64, 64, 3), np.uint8)

logger = logging.getLogger("dbnet_trt")


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run needs to know. It can be sent to another machine."""

    spec: DetectorSpec
    config: BulkConfig
    output: str
    images: Storage
    """Where the images lie."""

    results: Storage
    """Where the folder of the results lies."""

    sources: tuple[Encoded, ...]
    """The Parquet files of the plan."""

    num_threads: int
    """Number of threads of each worker."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of a part."""

    part: Part
    num_rows: int
    num_texts: int
    num_errors: int
    cpu_seconds: float

    rows: list[Row] | None = None
    """The rows, if they were not written because the part was a single row of one."""


class Worker:
    """A detector that takes parts. Two threads may call it."""

    def __init__(self, job: Job) -> None:
        """Open the detector.

        Raises:
            EngineError: The model, its library or the device is missing on this machine.
        """
        video.silence_opencv()
        config = job.config
        self._job = job
        self._detector = job.spec.open(job.num_threads, polygons=config.text)
        on_gpu = self._detector.device != "cpu"
        self._num_streams = 0 if on_gpu else self._detector.num_streams
        self._size = job.spec.size(self._detector)
        self._reader = open_reader(cpu=job.spec.cpu) if config.text else None
        self._pages = PageOptions(
            parse_pages(config.pages) if config.pages is not None else None,
            config.dpi,
            job.spec.options.get("max_pixels") or MAX_PIXELS,
        )
        self._opened = threading.local()  # a file that is read by one thread only

    def describe(self) -> dict[str, Any]:
        """Describe what the results depend on, in types of JSON."""
        return self._job.spec.describe(self._detector, self._job.config)

    def run(self, part: Part) -> PartResult:
        """Detect the text in a part's images and write the rows, unless only one is wanted.

        Raises:
            EngineError: The network runs on none of the images.
            OSError: The results cannot be written.
        """
        begun = time.process_time()
        try:
            rows = self._detect(part, singly=False)
        except (DBNetError, MemoryError) as error:
            logger.warning("%s: %s; its images are searched one by one", part.name, error)
            rows = self._detect(part, singly=True)
        if part.row is None:
            self.write(part, rows)
        return self._tell(part, rows, time.process_time() - begun)

    def put_together(self, part: Part, found: list[list[Row] | None]) -> PartResult:
        """Write the rows of a part whose images were searched by themselves.

        Args:
            part: The part.
            found: Rows of each image; None for one that ended the process each time.
        """
        message = "the process ended each time that this image was searched"
        rows: list[Row] = []
        for (name, _), each in zip(self._read_images(part), found, strict=True):
            rows += [error_row(name, None, message)] if each is None else each
        self.write(part, rows)
        return self._tell(part, rows, 0.0)

    def write(self, part: Part, rows: list[Row]) -> None:
        """Write the results of a part."""
        self._job.results.write(join(self._job.output, part.name), to_parquet(rows))

    def _tell(self, part: Part, rows: list[Row], cpu_seconds: float) -> PartResult:
        num_errors = sum(row["error"] is not None for row in rows)
        num_texts = sum(len(row.get("scores") or ()) for row in rows)
        kept = None if part.row is None else rows
        return PartResult(part, len(rows), num_texts, num_errors, cpu_seconds, kept)

    def _read_images(self, part: Part) -> Iterator[tuple[str, bytes | None]]:
        """Yield name and bytes of the part's images; the bytes are None where it has paths."""
        source = self._job.sources[part.source]
        file = self._open(source)
        first = sum(source.groups[: part.group])
        columns = [source.column, *([source.name] if source.name else [])]
        index = 0
        for batch in file.iter_batches(ENCODED_ROWS, row_groups=[part.group], columns=columns):
            for row in batch.to_pylist():
                if part.row is None or part.row == index:
                    yield _image_of(row, source, first + index)
                index += 1

    def _open(self, source: Encoded) -> Any:
        """Open a Parquet file; the last one stays open, as the end of a long one takes time."""
        name, file = getattr(self._opened, "last", ("", None))
        if name != source.file:
            job = self._job
            if is_paths(source):
                file = job.results.open_parquet(join(job.output, source.file))
            else:
                file = job.images.open_parquet(source.file)
            self._opened.last = source.file, file
        return file

    def _detect(self, part: Part, *, singly: bool) -> list[Row]:
        """Detect the text in all images.

        Args:
            part: The part.
            singly: Whether to take one image at a time, and note errors of the network as well.
        """
        rows: list[Row] = []
        search = self._search_singly if singly else self._search
        with tempfile.TemporaryDirectory(prefix="dbnet-") as folder:
            fetched = Fetched(self._read_images(part), self._job.images, folder)
            with ReadAhead(
                fetched,
                self._pages,
                _EachOne(),
                num_threads=max(1, self._job.num_threads // 2),
                num_working=self._num_streams or GPU_IMAGES,
            ) as ahead:
                images = _note_errors(ahead, fetched, rows)
                for image, row in search(images, fetched):
                    rows[image.at] = row
                    ahead.release(image.read)
                    if image.is_last:
                        fetched.release(image.read.name)
        return rows

    def _search(
        self, images: Iterator[_Image | None], fetched: Fetched
    ) -> Iterator[tuple[_Image, Row]]:
        search = partial(
            self._detector.stream,
            batch_size=1 if self._num_streams else GPU_IMAGES,
            in_flight=self._num_streams or 2,
            size=self._size,
        )
        for image, found in search_items(images, search):
            yield image, self._finish(image, found, fetched)

    def _search_singly(
        self, images: Iterator[_Image | None], fetched: Fetched
    ) -> Iterator[tuple[_Image, Row]]:
        num_tried, failures = 0, []
        for image in images:
            if image is None:
                continue
            num_tried += 1
            try:
                found = self._detector.detect(image.image, size=self._size)
                row = self._finish(image, found, fetched)
            except (DBNetError, MemoryError) as error:
                failures.append(error)
                message = fetched.explain(image.read.name, error) or "there is not enough memory"
                row = error_row(fetched.name(image.read.name), image.read.page, message)
            yield image, row
        if failures and len(failures) == num_tried:
            self._detector.detect(BLANK)  # which fails if it is the network, not the images

    def _finish(self, image: _Image, found: Detections, fetched: Fetched) -> Row:
        read = image.read
        if self._reader is not None:
            found = read_text(found, image.image, self._reader)
        height, width = image.image.shape[:2]
        return result_row(fetched.name(read.name), read.page, (height, width), found)


@dataclass(frozen=True, slots=True)
class _Image:
    """One image on its way, and the place of its row."""

    at: int
    read: ReadImage

    @property
    def image(self) -> Image:
        assert self.read.image is not None
        return self.read.image

    @property
    def is_last(self) -> bool:
        """Whether no other page of its file follows."""
        pages, page = self.read.pages, self.read.page
        return pages is None or page is None or page == pages.num_pages


class _EachOne:
    """All images are searched, and none is drawn."""

    def is_done(self, name: str, page: int | None) -> bool:
        return False

    def reserve(self, name: str, page: int | None) -> None:
        return None


def _note_errors(ahead: ReadAhead, fetched: Fetched, rows: list[Row]) -> Iterator[_Image | None]:
    """Yield the images that can be searched, and add a row for each that cannot, in its place."""
    for read in ahead:
        if read is None:
            yield None
            continue
        if read.error is not None:
            message = fetched.explain(read.name, read.error)
        elif read.image is None:
            message = "a video; `dbnet detect` takes it"
        else:
            rows.append({})
            yield _Image(len(rows) - 1, read)
            continue
        rows.append(error_row(fetched.name(read.name), read.page, message))


def _image_of(row: Row, source: Encoded, number: int) -> tuple[str, bytes | None]:
    """Return name and bytes of the image in a row of Parquet."""
    value = row[source.column]
    if is_paths(source):
        return os.fsdecode(value), None
    data = value.get("bytes") if isinstance(value, dict) else value
    name = row.get(source.name) if source.name else None
    return str(name) if name is not None else f"{source.file}#{number}", data or b""
