# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet detect`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..detections import Detections
from ..errors import ImageError
from ..images import video
from ..images.decode import MAX_PIXELS
from ..images.load import Image, find_sources, load_image
from ..reading import open_reader, read_text
from .console import SOME_FAILED, SUCCESS, err, line, number, out, progress_bar, visible
from .options import DEFAULT_OPTIONS, RunOptions
from .outputs import ResultWriter, Targets


def detect(
    inputs: list[str],
    /,
    *,
    save: Path | None = None,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume: Annotated[bool, Parameter(negative="")] = False,
    every_frame: Annotated[bool, Parameter(negative="")] = False,
    text: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Find text in images, videos, cameras and streams.

    Parameters
    ----------
    inputs
        Images, videos, folders, globs, the number of a camera (0), or a stream (rtsp://…).
    save
        Draw the outlines: into a file for one image, a .mp4 or .avi for one video, or a folder, in
        which the input's folders are repeated.
    json
        Write one line of JSON per image: to a file, or "-" for standard output. A file that holds
        results is not replaced.
    overwrite
        Replace the file of --json.
    resume
        Append to the file of --json; images that it already has are skipped.
    every_frame
        Process every frame of a camera or stream. By default stale frames are skipped, so that
        results keep up with the camera; frame numbers show what was skipped.
    text
        Also read the text, as `dbnet read` does, for the lines of JSON and the drawn pictures.
    """
    video.silence_opencv()  # its errors are reported as ours
    sources = find_sources(inputs)
    detector = options.open_detector(polygons=text)
    reader = open_reader(cpu=options.cpu) if text else None
    size = options.size(detector.card)
    totals = _Totals()
    targets = Targets(save, json, overwrite=overwrite, resume=resume)
    with (
        ResultWriter(targets, inputs, sources) as outputs,
        progress_bar("rate", transient=True, disable=_is_one_image(sources)) as progress,
    ):
        sources = [source for source in sources if source not in outputs.done]
        task = progress.add_task("detecting", total=_count(sources), rate="")
        max_pixels = options.max_pixels or MAX_PIXELS
        for name, frame, image in _read(sources, every_frame, max_pixels, totals):
            found = detector.detect(image, size=size)
            if reader is not None:
                found = read_text(found, image, reader)
            totals.images += 1
            totals.texts += len(found)
            try:
                outputs.write(name, frame, image, found)
            except ImageError as error:
                totals.fail(error)
            if save is None and json is None:
                _print_found(name if frame is None else f"{name} frame {frame}", found)
            elapsed = progress.tasks[task].elapsed or 0
            rate = f"{totals.images / elapsed:.1f} images/s" if elapsed > 0 else ""
            progress.update(task, advance=1, rate=rate)
    err.print(totals.summary(), style="dim")
    return SOME_FAILED if totals.failures else SUCCESS


@dataclass
class _Totals:
    images: int = 0
    texts: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, error: ImageError) -> None:
        """Count and print an input that was skipped."""
        self.failures.append(str(error))
        err.print(line(("skipped:", "red"), " ", (error, "")), soft_wrap=True)

    def summary(self) -> str:
        """Return the totals in one line."""
        failed = f", {len(self.failures)} skipped" if self.failures else ""
        return f"{number(self.images, 'image')}, {number(self.texts, 'text')}{failed}"


def _read(
    sources: list[str], every_frame: bool, max_pixels: int, totals: _Totals
) -> Iterator[tuple[str, int | None, Image]]:
    """Yield (name, number of the frame or None, image) of each image that can be read."""
    for source in sources:
        try:
            if video.is_video(source):
                frames = video.read_frames(source)
                keep_up = video.is_live(source) and not every_frame
                for frame, image in video.newest(frames) if keep_up else frames:
                    yield source, frame, image
            else:
                yield source, None, load_image(source, max_pixels=max_pixels)
        except ImageError as error:
            totals.fail(error)


def _count(sources: list[str]) -> int | None:
    """Count all images and frames; None if a source does not state its number."""
    total = 0
    for source in sources:
        count = video.count_frames(source) if video.is_video(source) else 1
        if count is None:
            return None
        total += count
    return total


def _is_one_image(sources: list[str]) -> bool:
    return len(sources) == 1 and not video.is_video(sources[0])


def _print_found(name: str, found: Detections) -> None:
    out.print(line((name, "bold"), f": {number(len(found), 'text')}"), soft_wrap=True)
    for text in found.in_reading_order():
        corners = "  ".join(f"{x:6.1f},{y:6.1f}" for x, y in text.quad)
        read = "" if text.text is None else "  " + visible(text.text)
        out.print(f"  {text.score:.2f}  {corners}{read}", soft_wrap=True, markup=False)
