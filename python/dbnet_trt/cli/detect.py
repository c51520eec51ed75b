# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet detect`."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from cyclopts import Parameter

from ..detections import Detections
from ..detector import Detector
from ..errors import ImageError
from ..images import video
from ..images.ahead import PageOptions, ReadAhead, ReadImage
from ..images.decode import MAX_PIXELS
from ..images.load import Image
from ..images.pages import DPI, check_dpi, parse_pages
from ..images.sources import Outputs, count_files, find_sources
from ..pipeline.streaming import GPU_IMAGES, search_items
from ..reading import open_reader
from ..settings import SizePolicy
from .console import SOME_FAILED, SUCCESS, err, line, number, out, progress_bar, visible
from .finishing import Finished, Finisher
from .options import DEFAULT_OPTIONS, RunOptions
from .outputs import Label, ResultWriter
from .pictures import is_one_picture
from .targets import Targets

if TYPE_CHECKING:
    from ..tracking import Track

M_MMAP_THRESHOLD = -3
"""Parameter of glibc's mallopt: size of the blocks that are mapped by themselves."""

LARGE_BLOCK_BYTES = 4 << 20


def detect(
    inputs: list[str],
    /,
    *,
    save: Path | None = None,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    csv: Path | None = None,
    parquet: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume: Annotated[bool, Parameter(negative="")] = False,
    pages: str | None = None,
    dpi: int = DPI,
    every_frame: Annotated[bool, Parameter(negative="")] = False,
    text: Annotated[bool, Parameter(negative="")] = False,
    track: Annotated[bool, Parameter(negative="")] = False,
    skip_same: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Find text in images, documents, videos, cameras and streams.

    Parameters
    ----------
    inputs
        Images, PDF files, videos, folders, globs, the number of a camera (0), or a stream
        (rtsp://…). A file that is named twice is searched once.
    save
        Draw the outlines: into a file for one image, a .mp4 or .avi for one video, or a folder, in
        which the input's folders are repeated.
    json
        Write one line of JSON per image: to a file, or "-" for standard output. A file that holds
        results is not replaced.
    csv
        Write a table with one row per text; it gets its name when all is done.
    parquet
        Write the same table in Parquet.
    overwrite
        Replace the files of --json, --csv and --parquet.
    resume
        Append to the file of --json; images that it already has are skipped. Model and options must
        be the same.
    pages
        Pages of documents to read, as in "3-7" or "1,4,9-"; all by default.
    dpi
        Resolution at which pages of a PDF are drawn, in pixels per inch.
    every_frame
        Process every frame of a camera or stream. By default stale frames are skipped, so that
        results keep up with the camera; frame numbers show what was skipped.
    text
        Also read the text, as `dbnet read` does, for the lines of JSON and the drawn pictures.
        With --track each text is read once, and has a line of its own when it is gone.
    track
        Follow each text through a video: it has the same number in every frame.
    skip_same
        Do not search a frame of a video that shows the same picture as the last one that was
        searched: it gets the same result, and its line says which frame that was.
    """
    video.silence_opencv()  # its errors are reported as ours
    _return_freed_memory()
    check_dpi(dpi)
    page_options = PageOptions(
        parse_pages(pages) if pages is not None else None, dpi, options.max_pixels or MAX_PIXELS
    )
    targets = Targets(save, json, csv, parquet, overwrite=overwrite, resume=resume)
    sources = find_sources(inputs, targets.outputs)
    first = list(itertools.islice(sources, 2))
    is_one = is_one_picture(first, page_options)
    detector = options.open_detector(polygons=text, side_by_side=not is_one)
    if track and text and (csv or parquet) and json is None:
        raise ValueError(
            "--track --text reads each text once, when it is gone; its line is in the file of "
            "--json, and tables have none of it: name --json, or leave out --track or --text"
        )
    finisher = Finisher(open_reader(cpu=options.cpu) if text else None, track=track)
    wanted = {"dpi": dpi, "text": text, "track": track, "skip_same": skip_same}
    run = {} if json is None else options.describe_run(detector) | wanted
    totals = _Totals()
    with (
        ResultWriter(targets, inputs, first, page_options, run) as outputs,
        _read_ahead(itertools.chain(first, sources), page_options, outputs, detector) as ahead,
        _Progress(inputs, targets.outputs, ahead, is_shown=not is_one) as progress,
    ):
        # Drawing, reading and comparing need the pixels in main memory.
        gpu = None if save or text or skip_same else detector.gpu_number
        read_video = partial(_read_video, outputs=outputs, every_frame=every_frame, gpu=gpu)
        images = _flatten(ahead, read_video, totals, only_videos=track)
        is_printed = save is None and not targets.named
        for name, items in _by_video(images):
            results = _detect_in_order(
                detector,
                items,
                options.size(detector.card),
                is_video=name != "",
                skip_same=skip_same,
            )
            for each, outlines in results:
                done = finisher.finish(each.label, each.image, outlines)
                try:
                    outputs.write(each.label, each.read, done.found, done.same_as)
                except ImageError as error:
                    totals.fail(error)
                if is_printed:
                    _print_found(each.label, done)
                ahead.release(each.read)
                totals.add(done)
                progress.show(totals.images)
                _write_tracks(name, finisher.take_tracks(is_over=False), outputs, is_printed)
            _write_tracks(name, finisher.take_tracks(is_over=True), outputs, is_printed)
            finisher.begin()
    err.print(totals.summary(), style="dim")
    return SOME_FAILED if totals.failures else SUCCESS


def _return_freed_memory() -> None:
    """Let glibc return large blocks to the system when they are freed.

    It would keep images of up to 32 MiB in a heap for each thread, where those of many sizes leave
    holes.
    """
    try:
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
    except (OSError, TypeError, AttributeError):  # another C library
        return


def _read_ahead(
    sources: Iterable[str], options: PageOptions, outputs: ResultWriter, detector: Detector
) -> ReadAhead:
    num_working = detector.num_streams if detector.device == "cpu" else GPU_IMAGES
    return ReadAhead(sources, options, outputs, num_working=num_working)


@dataclass
class _Totals:
    images: int = 0
    texts: int = 0
    failures: int = 0
    same: int = 0

    def add(self, done: Finished) -> None:
        """Count an image."""
        self.images += 1
        self.texts += len(done.found)
        self.same += done.same_as is not None

    def fail(self, error: ImageError) -> None:
        """Count and print an input that was skipped."""
        self.failures += 1
        err.print(line(("skipped:", "red"), " ", (error, "")), soft_wrap=True)

    def summary(self) -> str:
        """Return the totals in one line."""
        failed = f", {self.failures} skipped" if self.failures else ""
        same = f" ({self.same} not searched: same as the frame before)" if self.same else ""
        return f"{number(self.images, 'image')}{same}, {number(self.texts, 'text')}{failed}"


@dataclass(frozen=True, slots=True)
class _Item:
    """One image on its way."""

    label: Label
    read: ReadImage

    @property
    def image(self) -> Image:
        """(H, W, 3) uint8 BGR."""
        assert self.read.image is not None
        return self.read.image


def _flatten(
    ahead: ReadAhead,
    read_video: Callable[[str], Iterator[_Item | None]],
    totals: _Totals,
    *,
    only_videos: bool,
) -> Iterator[_Item | None]:
    """Yield all images and frames; None where there is no memory until one is released."""
    for read in ahead:
        if read is None:
            yield None
        elif read.error is not None:
            totals.fail(read.error)
        elif read.image is not None and only_videos:
            ahead.release(read)
            totals.fail(ImageError(f"{read.name} is an image; --track follows text in videos"))
        elif read.image is not None:
            yield _Item(Label(read.name, read.page), read)
        else:
            try:
                yield from read_video(read.name)
            except ImageError as error:
                totals.fail(error)


def _read_video(
    source: str, outputs: ResultWriter, *, every_frame: bool, gpu: int | None
) -> Iterator[_Item | None]:
    """Yield the frames; after each of a live source None, as its result is wanted at once."""
    is_live = video.is_live(source)
    frames = video.read_timed_frames(source, gpu=gpu)
    for frame, time, image in video.newest(frames) if is_live and not every_frame else frames:
        picture = outputs.reserve(source, None, frame)
        if not outputs.is_done(source, None, frame):
            # Of a frame in GPU memory nothing is asked but its shape: see `gpu` in `detect`.
            read = ReadImage(source, picture=picture, image=cast(Image, image))
            yield _Item(Label(source, None, frame, time), read)
            if is_live:
                yield None


def _by_video(items: Iterable[_Item | None]) -> Iterator[tuple[str, Iterator[_Item | None]]]:
    """Group the frames of each video under its name, all images between videos under ""."""
    name = ""

    def key(item: _Item | None) -> str:
        nonlocal name
        if item is not None:
            name = "" if item.label.frame is None else item.label.name
        return name

    return itertools.groupby(items, key)


def _detect_in_order(
    detector: Detector,
    items: Iterable[_Item | None],
    size: SizePolicy | None,
    *,
    is_video: bool,
    skip_same: bool = False,
) -> Iterator[tuple[_Item, Detections]]:
    """Return results in the order of the images, while later ones are searched already."""
    on_gpu = detector.device != "cpu"
    search = partial(
        detector.stream,
        batch_size=GPU_IMAGES if on_gpu else 1,
        in_flight=max(detector.num_streams, 2 if on_gpu or is_video else 1),
        skip_same=skip_same and is_video,
        size=size,
    )
    return search_items(items, search)


class _Progress:
    """A progress bar, whose total is counted meanwhile."""

    def __init__(
        self, inputs: list[str], outputs: Outputs, ahead: ReadAhead, *, is_shown: bool
    ) -> None:
        self._bar = progress_bar("rate", transient=True, disable=not is_shown)
        self._task = self._bar.add_task("detecting", total=None, rate="")
        self._ahead = ahead
        self._num_files: int | None = None
        self._inputs, self._outputs = inputs, outputs

    def __enter__(self) -> _Progress:
        self._bar.start()
        if not self._bar.disable and not any(map(video.is_video, self._inputs)):
            threading.Thread(target=self._count, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _count(self) -> None:
        self._num_files = count_files(self._inputs, self._outputs)

    def show(self, num_done: int) -> None:
        """Show the number of images done, and of all as far as it is known."""
        elapsed = self._bar.tasks[self._task].elapsed or 0
        rate = f"{num_done / elapsed:.1f} images/s" if elapsed > 0 else ""
        total = None
        if self._num_files is not None:  # documents have several pages, and some images are done
            total = self._num_files + self._ahead.num_images - self._ahead.num_sources
        self._bar.update(self._task, completed=num_done, total=total, rate=rate)


def _print_found(label: Label, done: Finished) -> None:
    same = "" if done.same_as is None else f", the same as frame {done.same_as}"
    texts = number(len(done.found), "text")
    out.print(line((label, "bold"), f": {texts}{same}"), soft_wrap=True)
    for text in done.found.in_reading_order() if done.same_as is None else ():
        corners = "  ".join(f"{x:6.1f},{y:6.1f}" for x, y in text.quad)
        track = "" if text.track_id is None else f"  #{text.track_id}"
        read = "" if text.text is None else "  " + visible(text.text)
        out.print(f"  {text.score:.2f}  {corners}{track}{read}", soft_wrap=True, markup=False)


def _write_tracks(name: str, tracks: list[Track], outputs: ResultWriter, is_printed: bool) -> None:
    for track in tracks:
        outputs.write_track(name, track)
        if is_printed:
            frames = f"frames {track.first_frame} to {track.last_frame}"
            if track.first_time is not None and track.last_time is not None:
                frames += f", {track.first_time:.2f} to {track.last_time:.2f} s"
            said = f"  {track.confidence:.2f}  {visible(track.text)}"
            out.print(line((name, "bold"), f" #{track.track_id}, {frames}:"), soft_wrap=True)
            out.print(said, soft_wrap=True, markup=False)
