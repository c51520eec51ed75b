# SPDX-License-Identifier: Apache-2.0
"""Metrics of the server, in the text format of Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable by which prometheus_client is told the folder that processes share."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms of times."""


class Metrics:
    """Counters of one process; `text` adds up those of all processes."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.requests = Counter(
            "dbnet_requests", "Requests answered.", ("route", "code"), registry=own
        )
        self.active = Gauge(
            "dbnet_active_requests",
            "Requests that wait or are worked on.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self.batch_sizes = Histogram(
            "dbnet_batch_size",
            "Images per batch.",
            registry=own,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self._stages = Histogram(
            "dbnet_stage_seconds",
            "Seconds by stage: wait, decode, detect, answer.",
            ("stage",),
            registry=own,
            buckets=SECONDS,
        )
        self._registry = own
        self._folder = os.environ.get(FOLDER_VARIABLE)

    def observe(self, stage: str, seconds: float) -> None:
        """Count the seconds that one stage took."""
        self._stages.labels(stage).observe(seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a `with` block as one stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.observe(name, time.perf_counter() - start)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        if self._folder is None:
            return generate_latest(self._registry)
        for file in Path(self._folder).glob("gauge_livesum_*.db"):  # of a worker that was killed
            pid = int(file.stem.rpartition("_")[2])
            if not _is_alive(pid):
                mark_process_dead(pid, self._folder)  # type: ignore[no-untyped-call]
        together = CollectorRegistry()
        MultiProcessCollector(together, self._folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
