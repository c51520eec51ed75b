# SPDX-License-Identifier: Apache-2.0
"""From a folder, a list or Parquet files to Parquet files of results."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Unpack

import numpy as np

from ..card import ModelCard
from ..errors import DBNetError
from ..extras import install_hint
from ..settings import CpuConfig, DetectorOptions, check_device
from .cluster import Fleet, Sizing, connect, size_actors
from .config import BulkConfig, BulkEstimate, BulkProgress, BulkSummary, DetectorSpec, counted
from .inputs import Encoded, find_inputs
from .plan import RUN_FILE, Plan, check_run, count_images, extend_plan, read_plan
from .storage import Storage
from .worker import Job, PartResult, Worker

NUM_TRIED = 8
"""Number of images that an estimate tries."""

logger = logging.getLogger("dbnet_trt")

Inputs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def detect_dataset(
    inputs: Inputs,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    card: ModelCard | str | None = None,
    cpu: CpuConfig | None = None,
    short_side: int | None = None,
    config: BulkConfig | None = None,
    resume: bool = False,
    filesystem: Any = None,
    output_filesystem: Any = None,
    report: Callable[[BulkProgress], object] | None = None,
    say: Callable[[str], object] = logger.info,
    **options: Unpack[DetectorOptions],
) -> BulkSummary:
    """Detect the text in all images of a data set, on all machines of a Ray cluster.

    Needs the extra `ray`. Results are Parquet files in a folder, one row per image, of a document
    one per page. An image that cannot be read is a row with an error. A run that was ended, however
    it was, goes on by `resume`: what is done is not read again, and no row is there twice.

    >>> from dbnet_trt.bulk import detect_dataset
    >>> summary = detect_dataset("s3://bucket/scans", "s3://bucket/found")

    Args:
        inputs: Folder, list file (.txt, .list, .lst: one path per line), Parquet file or folder of
            Parquet files with paths or encoded images, image, or several of these; paths of this
            machine or URIs. All machines must reach them by the same paths.
        output: Folder of the results, likewise: a new or empty one unless `resume` is set.
        model: Name or path of the model, as in `Detector`; a path must be there on all machines.
        device: "cpu", "cuda" (each actor takes a GPU of the cluster), or "auto", which takes GPUs
            for an .engine file.
        card: Card of another project's ONNX file, as in `Detector`.
        cpu: Library, precision and threads on the CPU; None takes the defaults, with one thread per
            CPU of an actor.
        short_side: Short side of the network's input, in pixels; None takes the card's.
        config: Cluster, actors, parts and pages; None takes the defaults.
        resume: Whether to go on with the results that are in the folder; new images are added.
        filesystem: `pyarrow.fs.FileSystem` in which the inputs lie; None takes the local one, or
            that of a path's URI.
        output_filesystem: The same for the results.
        report: Function that is told the progress, at least once in some seconds.
        say: Function that is told in words what was chosen.
        **options: Options of each detector, as in `Detector`.

    Returns:
        What was done. Errors of images are counted in it.

    Raises:
        ImportError: Ray or pyarrow is missing.
        ImageError: An input is missing or holds nothing.
        EngineError: No node holds an actor, the model cannot be opened, or the network fails.
        ValueError: An argument is out of range, the folder holds results and `resume` is not set,
            or they were made with another model or other options.
        OSError: The results cannot be written, or a store cannot be reached.
    """
    begun = time.monotonic()
    run = _Run(inputs, output, config, filesystem, output_filesystem)
    spec = _make_spec(model, device, card, cpu, short_side, options)
    run.check_folder(resume)
    found = run.find()
    ray, sizing = run.size(spec)
    say(f"{sizing}; each has a detector of its own")
    plan = run.plan(found, sizing)
    parts = plan.parts_left(run.output, run.results)
    num_left = sum(part.num_images for part in parts)
    totals = _Totals(plan.num_images, plan.num_images - num_left, plan.num_duplicates)
    say(
        f"{counted(totals.num_images, 'image')}, {num_left} to do, in {counted(len(parts), 'part')}"
    )
    job = Job(spec, run.config, run.output, run.images, run.results, plan.sources, sizing.cpus)
    fleet = Fleet(ray, job, sizing, partial(check_run, run.output, run.results))
    for result in fleet.run(parts):
        if result is not None:
            totals.add(result)
        progress = totals.progress(fleet.num_ready)
        if report is not None:
            report(progress)
    return totals.summary(fleet.num_lost, time.monotonic() - begun)


def estimate_dataset(
    inputs: Inputs,
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    device: str = "auto",
    card: ModelCard | str | None = None,
    cpu: CpuConfig | None = None,
    short_side: int | None = None,
    config: BulkConfig | None = None,
    filesystem: Any = None,
    output_filesystem: Any = None,
    **options: Unpack[DetectorOptions],
) -> BulkEstimate:
    """Count what `detect_dataset` would do, and time some of the images on this machine.

    Nothing is written. Arguments and errors are those of `detect_dataset`.
    """
    run = _Run(inputs, output, config, filesystem, output_filesystem)
    spec = _make_spec(model, device, card, cpu, short_side, options)
    found = run.find()
    _, sizing = run.size(spec)
    counted = count_images(run.plan_before(), found, run.output, run.results, NUM_TRIED)
    times = _try(run, spec, counted.sample, sizing.cpus)
    return BulkEstimate(
        counted.num_images,
        counted.num_left,
        counted.num_duplicates,
        sizing.num_actors,
        str(sizing),
        len(times),
        float(np.median(times)) if times else None,
    )


class _Run:
    """Where a run reads and writes."""

    def __init__(
        self,
        inputs: Inputs,
        output: str | os.PathLike[str],
        config: BulkConfig | None,
        filesystem: Any,
        output_filesystem: Any,
    ) -> None:
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f"a bulk run needs the package pyarrow; {install_hint('ray')}"
            ) from error
        several = [inputs] if isinstance(inputs, (str, os.PathLike)) else inputs
        self.config = config or BulkConfig()
        self.images, self.results = Storage(filesystem), Storage(output_filesystem)
        self.inputs = [self.images.learn(os.fspath(each)) for each in several]
        self.output = self.results.absolute(self.results.learn(os.fspath(output)))
        if not self.inputs or not os.fspath(output):
            raise ValueError("name an input and a folder for the results; one is empty")

    def check_folder(self, resume: bool) -> None:
        """Check that the folder holds no results, or those of a run that is to go on.

        Raises:
            ValueError: It does not.
            OSError: Its store cannot be reached, or has no such bucket.
        """
        names = self.results.names(self.output)
        if not names:
            self.results.check_bucket(self.output)
        has_results = any(name == RUN_FILE or name.startswith("part-") for name in names)
        if has_results and not resume:
            raise ValueError(
                f"{self.output} holds results; name another folder, or give --resume (resume=True) "
                "to go on with them"
            )
        if names and not has_results:
            raise ValueError(
                f"{self.output} is a folder with other files ({names[0]}); name a new one"
            )

    def size(self, spec: DetectorSpec) -> tuple[Any, Sizing]:
        """Join the cluster and choose its actors."""
        ray = connect(self.config.address)
        return ray, size_actors(ray.nodes(), self.config, spec.wants_gpu)

    def find(self) -> Iterator[str | Encoded]:
        """Check that the inputs are there, and return what they stand for."""
        return find_inputs(self.inputs, self.images, self.output, self.config.column)

    def plan_before(self) -> Plan:
        """Read the plan of an earlier run; an empty one if there is none."""
        return read_plan(self.output, self.results)

    def plan(self, found: Iterator[str | Encoded], sizing: Sizing) -> Plan:
        """Add to the plan what is new, and write it."""
        return extend_plan(
            self.plan_before(),
            found,
            self.output,
            self.results,
            max_images=self.config.images_per_part,
            num_actors=sizing.num_actors,
        )


@dataclass
class _Totals:
    """Counts of a run."""

    num_images: int
    num_before: int
    num_duplicates: int
    num_new: int = 0
    num_rows: int = 0
    num_texts: int = 0
    num_errors: int = 0
    cpu_seconds: float = 0.0
    started: float = 0.0

    def add(self, result: PartResult) -> None:
        """Count a part."""
        self.num_new += result.part.num_images
        self.num_rows += result.num_rows
        self.num_texts += result.num_texts
        self.num_errors += result.num_errors
        self.cpu_seconds += result.cpu_seconds

    def progress(self, num_actors: int) -> BulkProgress:
        """Say where the run stands, and note when its first actor is ready."""
        if num_actors and not self.started:
            self.started = time.monotonic()
        seconds = time.monotonic() - self.started if self.started else 0.0
        done = self.num_before + self.num_new
        return BulkProgress(self.num_images, done, self.num_new, num_actors, seconds)

    def summary(self, num_lost: int, seconds: float) -> BulkSummary:
        """Say what was done."""
        return BulkSummary(
            self.num_images,
            self.num_before,
            self.num_duplicates,
            self.num_rows,
            self.num_texts,
            self.num_errors,
            num_lost,
            seconds,
            self.cpu_seconds,
        )


def _make_spec(
    model: str | os.PathLike[str] | None,
    device: str,
    card: ModelCard | str | None,
    cpu: CpuConfig | None,
    short_side: int | None,
    options: DetectorOptions,
) -> DetectorSpec:
    check_device(device)
    if ":" in device:
        raise ValueError(
            f'device must be "auto", "cpu" or "cuda", got "{device}": Ray gives each actor a GPU'
        )
    name = None if model is None else os.fspath(model)
    if name is not None and os.path.isfile(name):
        name = os.path.abspath(name)  # actors have working directories of their own
    return DetectorSpec(name, device, card, cpu or CpuConfig(), short_side, options)


def _try(
    run: _Run, spec: DetectorSpec, sample: list[str | Encoded], num_threads: int
) -> list[float]:
    """Search some images here, each by itself; returns seconds per image, of the later runs.

    The list is empty if the model cannot be opened on this machine.
    """
    with tempfile.TemporaryDirectory(prefix="dbnet-") as folder:
        plan = extend_plan(
            *(Plan(), sample, folder, Storage()), max_images=NUM_TRIED, num_actors=NUM_TRIED
        )
        job = Job(spec, run.config, folder, run.images, Storage(), plan.sources, num_threads)
        try:
            worker = Worker(job)
        except DBNetError as error:
            logger.warning("no image is tried here: %s", error)
            return []
        times = []
        for part in plan.parts():
            one = replace(part, row=0)
            worker.run(one)  # a network may be compiled for its shape
            begun = time.perf_counter()
            worker.run(one)
            times.append(time.perf_counter() - begun)
        return times
