# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet bulk`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from ..bulk import (
    BulkConfig,
    BulkEstimate,
    BulkProgress,
    BulkSummary,
    detect_dataset,
    estimate_dataset,
)
from .console import LINE_SECONDS, SOME_FAILED, SUCCESS, err, line, number, out, progress_bar
from .options import DEFAULT_OPTIONS, RunOptions

DEFAULT_CONFIG = BulkConfig()


def bulk(
    inputs: list[str],
    output: str,
    /,
    *,
    resume: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[BulkConfig, Parameter(name="*", negative="")] = DEFAULT_CONFIG,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Find text in millions of images on a Ray cluster, into Parquet files.

    Parameters
    ----------
    inputs
        Folders, list files (.txt, one path per line), and Parquet files of paths or encoded images;
        on disks that all machines share, or URIs (s3://…).
    output
        Folder of the results, likewise; one row per image or page, errors are rows.
    resume
        Go on with the results that are in the folder; new images are added. Model and options must
        be the same.
    dry_run
        Count the images, try some of them on this machine, and estimate; nothing is written.
    """
    arguments: dict[str, Any] = {
        "device": options.device,
        "card": options.card,
        "cpu": options.cpu,
        "short_side": options.short_side,
        "config": config,
        "tiles": options.tiles,
        "max_pixels": options.max_pixels,
        **options.postprocess,
    }
    if dry_run:
        _print_estimate(estimate_dataset(inputs, output, options.model, **arguments))
        return SUCCESS
    with progress_bar("rate", transient=True, disable=False) as bar:
        summary = detect_dataset(
            inputs,
            output,
            options.model,
            resume=resume,
            report=_show(bar),
            say=lambda text: err.print(line((text, "dim")), soft_wrap=True),
            **arguments,
        )
    err.print(line((_summarize(summary), "")), soft_wrap=True)
    return SOME_FAILED if summary.num_errors else SUCCESS


def _show(bar: Any) -> Callable[[BulkProgress], None]:
    """Return what shows the progress: a bar on a terminal, else a line a minute."""
    task = bar.add_task("detecting", total=None, rate="")
    shown = time.monotonic()

    def show(progress: BulkProgress) -> None:
        nonlocal shown
        rate = f"{progress.rate:.1f} images/s, {number(progress.num_actors, 'actor')}"
        bar.update(task, completed=progress.num_done, total=progress.num_images, rate=rate)
        if err.is_terminal or time.monotonic() - shown < LINE_SECONDS:
            return
        shown = time.monotonic()
        left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
        err.print(f"{progress.num_done} of {progress.num_images} images, {rate}{left}")

    return show


def _summarize(summary: BulkSummary) -> str:
    """Return a summary in one line."""
    parts = [number(summary.num_images, "image")]
    if summary.num_before:
        parts.append(f"{summary.num_before} done before")
    parts.append(f"{number(summary.num_rows, 'row')} with {number(summary.num_texts, 'text')}")
    if summary.num_errors:
        parts.append(f"{summary.num_errors} of them errors")
    if summary.num_duplicates:
        parts.append(f"{summary.num_duplicates} named more than once")
    if summary.num_lost_actors:
        parts.append(f"{number(summary.num_lost_actors, 'actor')} lost, their parts done by others")
    parts.append(f"{_duration(summary.seconds)}, {summary.cpu_seconds:.0f} CPU s of work")
    return ", ".join(parts)


def _print_estimate(found: BulkEstimate) -> None:
    """Print what a run would do."""
    repeated = f", {found.num_duplicates} more than once" if found.num_duplicates else ""
    out.print(f"{number(found.num_images, 'image')}{repeated}, {found.num_left} to do")
    out.print(found.actors)
    if found.seconds is None or found.seconds_per_image is None:
        out.print("no image could be tried on this machine")
        return
    out.print(
        f"{number(found.num_tried, 'image')} tried here, {found.seconds_per_image:.2f} s each: "
        f"about {_duration(found.seconds)} if every actor is as fast"
    )


def _duration(seconds: float) -> str:
    """Return a duration, as in 1:02:03 or 45 s."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
