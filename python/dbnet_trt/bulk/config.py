# SPDX-License-Identifier: Apache-2.0
"""Settings of a bulk run, and what it reports."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..card import ModelCard
from ..detector import Detector
from ..images.pages import DPI, check_dpi, parse_pages
from ..opening import describe_model
from ..settings import CpuConfig, DetectorOptions, SizePolicy

IMAGES_PER_PART = 256
"""Default number of images per file of results: half a minute of one core, which is what a kill
costs at most, and 4000 files for a million images."""

MAX_PER_PART = 1 << 16


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, as in "1 image" or "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True, slots=True)
class BulkConfig:
    """Actors of a bulk run, its parts, and how images are read."""

    address: str | None = None
    """Address of the Ray cluster, as in 10.0.0.1:6379, or "auto" for the one that runs on this
    machine; by default RAY_ADDRESS, and if that is not set this machine alone."""

    num_actors: int = 0
    """Maximum number of actors, each with a detector of its own; 0 takes all that the cluster
    holds."""

    cpus_per_actor: int = 0
    """Number of CPUs per actor, which is also the number of its threads; 0 takes 1 for an actor
    without a GPU, else the node's CPUs by its GPUs."""

    images_per_part: int = IMAGES_PER_PART
    """Maximum number of images per file of results; fewer if there are few images for the actors.
    Row groups of encoded images stay as they are."""

    column: str | None = None
    """Column of Parquet files that holds the paths or the encoded images; by default the first of
    path, image, bytes."""

    pages: str | None = None
    """Pages of documents to read, as in "3-7" or "1,4,9-"; all by default."""

    dpi: int = DPI
    """Resolution at which pages of a PDF are drawn, in pixels per inch."""

    text: bool = False
    """Also read the text, by rapidocr."""

    def __post_init__(self) -> None:
        check_dpi(self.dpi)
        if self.pages is not None:
            parse_pages(self.pages)
        for name, lowest, highest in (
            ("num_actors", 0, 1 << 20),
            ("cpus_per_actor", 0, 1 << 10),
            ("images_per_part", 1, MAX_PER_PART),
        ):
            value = getattr(self, name)
            if not lowest <= value <= highest:
                raise ValueError(f"{name} must lie between {lowest} and {highest}, got {value}")


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """Arguments of each actor's detector. Unlike a detector they can be sent to another machine."""

    model: str | None = None
    device: str = "auto"
    card: ModelCard | str | None = None
    cpu: CpuConfig = CpuConfig()
    short_side: int | None = None
    options: DetectorOptions = field(default_factory=DetectorOptions)

    @property
    def wants_gpu(self) -> bool:
        """True if an actor needs a GPU."""
        is_engine = Path(self.model or "").suffix.lower() == ".engine"
        return self.device.startswith("cuda") or (self.device == "auto" and is_engine)

    def open(self, num_threads: int, *, polygons: bool) -> Detector:
        """Open the detector.

        Args:
            num_threads: Number of threads, unless the settings say another.
            polygons: Whether it finds polygons even if the options do not ask for them.
        """
        options: dict[str, Any] = dict(self.options)
        options["polygons"] = bool(options.get("polygons")) or polygons
        cpu = dataclasses.replace(self.cpu, num_threads=self.cpu.num_threads or num_threads)
        return Detector(self.model, device=self.device, card=self.card, cpu=cpu, **options)

    def size(self, detector: Detector) -> SizePolicy | None:
        """Return the size policy for `short_side`; None if it was left out."""
        if self.short_side is None:
            return None
        limit = detector.card.long_side_limit
        return SizePolicy(self.short_side, max(limit, self.short_side))

    def describe(self, detector: Detector, config: BulkConfig) -> dict[str, Any]:
        """Describe what results depend on, in types of JSON: the model and the options given.

        Device and threads are left out.
        """
        options: dict[str, Any] = {
            name: dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
            for name, value in self.options.items()
            if value is not None and name != "max_pixels"
        }
        defaults = {"tiles": "auto", "polygons": False, "precision": self.cpu.precision}
        given = {**defaults, "short_side": self.short_side, **options}
        told = {name: value for name, value in given.items() if value is not None}
        model = describe_model(self.model, detector.card)
        return model | told | {"dpi": config.dpi, "pages": config.pages, "text": config.text}


@dataclass(frozen=True, slots=True)
class BulkProgress:
    """Progress of a bulk run."""

    num_images: int
    """Number of images in all: files, or rows of encoded images."""

    num_done: int
    """Number of them whose results are written, those of earlier runs included."""

    num_new: int
    """Number of them that this run has done."""

    num_actors: int
    """Number of actors that are at work."""

    seconds: float
    """Time since the first actor was ready."""

    @property
    def rate(self) -> float:
        """Images per second of this run; 0 before the first are done."""
        return self.num_new / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the others take at this rate; None before the first are done."""
        return (self.num_images - self.num_done) / self.rate if self.rate > 0 else None


@dataclass(frozen=True, slots=True)
class BulkSummary:
    """Totals of a bulk run that has ended."""

    num_images: int
    """Number of images in all: files, or rows of encoded images."""

    num_before: int
    """Number of them that an earlier run had done."""

    num_duplicates: int
    """Number of paths that were named more than once, and are there once."""

    num_rows: int
    """Number of rows that this run wrote: one per image, of a document one per page."""

    num_texts: int
    """Number of texts that this run found."""

    num_errors: int
    """Number of its rows that hold an error."""

    num_lost_actors: int
    """Number of actors that ended before their work, with their node or alone; others did it."""

    seconds: float
    """Time of the run, its start included."""

    cpu_seconds: float
    """CPU time of the actors' work, without opening their models."""


@dataclass(frozen=True, slots=True)
class BulkEstimate:
    """Totals that a bulk run would have, and the time it would take."""

    num_images: int
    """Number of images in all."""

    num_left: int
    """Number of them without results."""

    num_duplicates: int
    """Number of paths that are named more than once."""

    num_actors: int
    """Number of actors that would work."""

    actors: str
    """Actors and CPUs chosen for the cluster, in words."""

    num_tried: int
    """Number of images that were tried here, spread over all."""

    seconds_per_image: float | None
    """Seconds per image of those tried, on the threads of one actor; None if none could be."""

    @property
    def seconds(self) -> float | None:
        """Seconds for the images left, if every actor is as fast as this machine; a model."""
        each = self.seconds_per_image
        return None if each is None else each * self.num_left / max(1, self.num_actors)
