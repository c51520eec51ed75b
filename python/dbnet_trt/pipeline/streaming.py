# SPDX-License-Identifier: Apache-2.0
"""Search of frames ahead of the one whose result is taken, with results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Generic, Protocol, TypeVar

from ..detections import Detections
from ..images.load import Image
from .batching import Batches, Results

GPU_IMAGES = 16
"""Number of images of a folder that are handed to the GPU together; those of one size make
batches."""

Frame = TypeVar("Frame")
Numbered = tuple[int, Frame]


class HasImage(Protocol):
    """An image with what its caller knows of it."""

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 BGR."""


Item = TypeVar("Item", bound=HasImage)


def search_items(
    items: Iterable[Item | None],
    search: Callable[[Iterator[Image | None]], Iterable[tuple[Image, Detections]]],
) -> Iterator[tuple[Item, Detections]]:
    """Yield each item with the detections of its image, in order; no other image stays in memory.

    Args:
        items: Items; None asks for all results so far.
        search: Searches their images as `Detector.stream` does.
    """
    taken: deque[Item] = deque()

    def images() -> Iterator[Image | None]:
        for item in items:
            if item is not None:
                taken.append(item)
            yield None if item is None else item.image

    for image, found in search(images()):
        del image  # the item has it, until it is released
        yield taken.popleft(), found


class Search(Protocol):
    """A batch of frames that is searched."""

    def result(self) -> Results:
        """Wait for the batch."""


class Begun:
    """A batch that was begun, up to the first frame that failed."""

    def __init__(self, batches: Batches, error: Exception | None = None) -> None:
        self._batches, self._error = batches, error

    def result(self) -> Results:
        """Wait for the batch."""
        results, error = self._batches.finish_until_error()
        return results, error or self._error


class InOrder(Generic[Frame]):
    """An iterator over frames with their detections, while later frames are searched already.

    Nothing that was begun is left running when it ends, however it ends.
    """

    def __init__(
        self,
        start: Callable[[list[Numbered[Frame]]], Search],
        *,
        batch_size: int = 1,
        in_flight: int = 2,
        in_thread: bool = False,
        is_same: Callable[[Frame], bool] | None = None,
    ) -> None:
        """Begin without frames.

        Args:
            start: Begins to search a batch of frames, each with its number from 0.
            batch_size: Number of frames that are searched together.
            in_flight: Number of batches that are searched before the first result is waited for.
            in_thread: Whether all work of a batch is done in a thread, one batch after the other.
            is_same: Tells whether a frame shows the same picture as the last one that was searched,
                whose result it then gets; None searches all.
        """
        self._start, self._batch_size, self._in_flight = start, batch_size, in_flight
        self._in_thread, self._is_same = in_thread, is_same or (lambda frame: False)
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[Numbered[Frame]] = []
        self._running: deque[tuple[list[Numbered[Frame]], Search]] = deque()
        self._last: Detections | None = None

    def run(
        self, frames: Iterable[Frame | None]
    ) -> Generator[tuple[Frame, Detections], None, None]:
        """Yield each frame with its detections.

        Args:
            frames: Frames; None asks for all results so far.

        Raises:
            Exception: The error of the source, or of a frame, after the results of the frames
                before it.
        """
        failed: list[Exception] = []
        with ExitStack() as ending:
            if self._in_thread:
                self._thread = ending.enter_context(ThreadPoolExecutor(1, "dbnet-frame"))
            ending.callback(self._drop)
            number = -1
            for frame in _until_error(frames, failed):
                number += frame is not None
                try:
                    is_new = frame is not None and not self._is_same(frame)
                except Exception as error:  # raised in its turn
                    failed.append(error)
                    break
                if frame is not None and is_new:
                    self._waiting.append((number, frame))
                    del frame  # or it would stay in memory until the next one is there
                    if len(self._waiting) == self._batch_size:
                        self._submit()
                        yield from self._take(self._in_flight - 1)
                    continue
                yield from self._take_all()
                if frame is not None and self._last is not None:
                    yield frame, self._last
            yield from self._take_all()
            if failed:
                raise failed[0]

    def _submit(self) -> None:
        batch, self._waiting = self._waiting, []
        search: Search
        try:
            if self._thread is None:
                search = self._start(batch)
            else:
                search = self._thread.submit(lambda: self._start(batch).result())
        except Exception as error:  # raised in its turn
            search = _Failed(error)
        self._running.append((batch, search))

    def _take_all(self) -> Iterator[tuple[Frame, Detections]]:
        if self._waiting:
            self._submit()
        yield from self._take(0)

    def _take(self, num_left: int) -> Iterator[tuple[Frame, Detections]]:
        """Yield the results of the oldest batches until a number of batches is left."""
        while len(self._running) > num_left:
            batch, search = self._running.popleft()
            results, error = search.result()
            for (_, frame), found in zip(batch, results, strict=False):  # fewer after an error
                self._last = found
                yield frame, found
            if error is not None:
                raise error

    def _drop(self) -> None:
        """Wait for what still runs; nobody wants its results."""
        while self._running:
            _, search = self._running.popleft()
            try:
                search.result()
            except Exception:  # the one that ended it all is raised
                continue


class _Failed:
    """A batch that could not be begun."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def result(self) -> Results:
        """Return its error."""
        return [], self._error


def _until_error(frames: Iterable[Frame], failed: list[Exception]) -> Iterator[Frame]:
    """Yield frames; an error of their source ends them, and is kept."""
    try:
        yield from frames
    except Exception as error:
        failed.append(error)
