# SPDX-License-Identifier: Apache-2.0
"""Detection for many callers at once: threads, bounded memory, batches of one size."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar, cast

from ..detections import Detections
from ..detector import Detector
from ..images.load import Image
from ..settings import DetectOptions
from .config import ServerConfig
from .metrics import Metrics

Result = TypeVar("Result")

MAX_PARALLEL_CPU = 8
"""Batches at the same time on a CPU: its network uses all cores, more would only hold memory."""


class _Waiting(NamedTuple):
    image: Image
    found: asyncio.Future[Detections]


class Batcher:
    """Detector that the coroutines of one event loop share.

    Reading, detecting and answering run in threads, so that the loop is never blocked. At most
    twice as many images are decoded at a time as are detected; the others wait, as bytes.
    """

    def __init__(self, detector: Detector, config: ServerConfig, metrics: Metrics) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        is_gpu = detector.is_gpu
        num_parallel = config.parallel or (2 if is_gpu else min(cores or 1, MAX_PARALLEL_CPU))
        self.max_batch = config.max_batch or (8 if is_gpu else 1)
        self._delay = config.max_delay_ms / 1000
        self._detector, self._metrics = detector, metrics
        self._threads = ThreadPoolExecutor(num_parallel, "dbnet")
        self._places = asyncio.Semaphore(2 * num_parallel * self.max_batch)
        self._groups: dict[tuple[Any, ...], list[_Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself keeps no tasks alive

    async def detect(
        self,
        load: Callable[[], Image],
        answer: Callable[[Image, Detections], Result],
        options: DetectOptions,
    ) -> Result:
        """Detect the text in one image.

        Args:
            load: Function that returns the image, (H, W, 3) uint8 BGR; it runs in a thread.
            answer: Function from image and detections to what is returned; it runs in a thread.
            options: Options of this call. Only images with the same ones share a batch.

        Raises:
            ImageError: `load` raised it.
            EngineError: The network cannot run.
        """
        start = time.perf_counter()
        async with self._places:
            self._metrics.observe("wait", time.perf_counter() - start)
            if self.max_batch == 1:
                return await self._detect_alone(load, answer, options)
            image = await self._run("decode", load)
            found = await self._join(image, options)
            return await self._run("answer", lambda: answer(image, found))

    def close(self) -> None:
        """Wait for the threads to end."""
        self._threads.shutdown()

    async def _run(self, stage: str, function: Callable[[], Result]) -> Result:
        """Run a function in a thread, and measure it."""

        def measured() -> Result:
            with self._metrics.stage(stage):
                return function()

        return await asyncio.get_running_loop().run_in_executor(self._threads, measured)

    async def _detect_alone(
        self,
        load: Callable[[], Image],
        answer: Callable[[Image, Detections], Result],
        options: DetectOptions,
    ) -> Result:
        """Detect the text in one image, a batch of its own, in one visit to a thread."""
        is_wanted = True

        def work() -> Result | None:
            with self._metrics.stage("decode"):
                image = load()
            if not is_wanted:
                return None
            self._metrics.batch_sizes.observe(1)
            with self._metrics.stage("detect"):
                found = self._detector.detect(image, **options)
            with self._metrics.stage("answer"):
                return answer(image, found)

        try:
            done = asyncio.get_running_loop().run_in_executor(self._threads, work)
            return cast(Result, await done)
        finally:
            is_wanted = False  # a deadline that has passed: the network need not run

    def _join(self, image: Image, options: DetectOptions) -> asyncio.Future[Detections]:
        """Add an image to the group of its size and options; a full group starts."""
        loop = asyncio.get_running_loop()
        size = options.get("size") or self._detector.size
        key = (size.plan(*image.shape[:2]).padded, *sorted(options.items()))
        group = self._groups.setdefault(key, [])
        group.append(_Waiting(image, loop.create_future()))
        if len(group) >= self.max_batch:
            self._start(key, group, options)
        elif len(group) == 1:
            loop.call_later(self._delay, self._start, key, group, options)
        return group[-1].found

    def _start(self, key: tuple[Any, ...], group: list[_Waiting], options: DetectOptions) -> None:
        if self._groups.get(key) is not group:  # it was full before its time was up
            return
        del self._groups[key]
        task = asyncio.create_task(self._detect(group, options))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _detect(self, group: list[_Waiting], options: DetectOptions) -> None:
        group = [each for each in group if not each.found.done()]  # done: its deadline has passed
        if not group:
            return
        images = [each.image for each in group]

        def work() -> list[Detections]:
            ticket = self._detector.submit(images, batch_size=self.max_batch, **options)
            return self._detector.collect(ticket)

        self._metrics.batch_sizes.observe(len(group))
        try:
            results = await self._run("detect", work)
        except Exception as error:  # each caller is told
            for each in group:
                if not each.found.done():
                    each.found.set_exception(error)
            return
        for each, found in zip(group, results, strict=True):
            if not each.found.done():
                each.found.set_result(found)


async def all_or_none(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Wait for the answers of several detections; where one fails, the others are dropped."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
