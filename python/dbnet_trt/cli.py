# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet`. Only this module, `outputs` and the other commands print."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from . import __version__, images, videos, weights
from .card import ModelCard
from .detections import Detections
from .detector import Detector
from .engines.engine_card import EngineCard, read_engine_card
from .engines.onnx import Backend, Precision
from .errors import DBNetError, ImageError
from .images import Image
from .outputs import Outputs
from .preprocess import SizePolicy

INTERRUPTED = 130  # the shell's code for Ctrl-C

EXTRAS = {
    "rapidocr": "pretrained",
    "supervision": "supervision",
    "pycuda": "pycuda",
    "shapely": "eval",
    "scipy": "eval",
    "PIL": "eval",
    "torch": "train",
    "safetensors": "train",
    "onnxslim": "train",
    "tensorboard": "train",
    "tensorrt": "tensorrt",
    "tensorrt_rtx": "tensorrt-rtx",
    "modelopt": "quantize",
}
"""The extra of this package that brings an optional library, by the name that is imported."""

app = App(
    name="dbnet",
    help="Find text in photos, documents and video.",
    version=__version__,
    help_epilogue="Example: dbnet detect photo.jpg --save out.jpg",
    suppress_keyboard_interrupt=False,  # `main` says so
)
app.command("dbnet_trt.training.data_command:app", name="data", help="Look after data sets.")
out = Console()
err = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """How `dbnet detect` looks for text."""

    model: str | None = None
    """Name (see `dbnet models`), or path of an .onnx, .engine or .safetensors file; the default
    model if left out."""

    card: str | None = None
    """For another project's ONNX file: paddleocr, mmocr, doctr, opencv, or the path of a card."""

    device: str = "auto"
    """auto, cpu, cuda or cuda:0."""

    backend: Backend = "auto"
    """What runs the network on the CPU."""

    precision: Precision = "auto"
    """Arithmetic of the network on the CPU."""

    short_side: int | None = None
    """Short side of the image inside the network, in pixels; more finds smaller text, slower."""

    binary_threshold: float | None = None
    """Text is where the probability is greater than this, 0 to 1."""

    score_threshold: float | None = None
    """Text with a lower score is dropped, 0 to 1."""

    unclip_ratio: float | None = None
    """How far outlines grow around the shrunk text regions."""

    max_candidates: int | None = None
    """At most so many texts an image, the best ones."""

    polygons: Annotated[bool, Parameter(negative="")] = False
    """Follow curved text with polygons instead of rectangles."""

    def open_detector(self) -> Detector:
        """The detector that these options describe."""
        return Detector(
            self.model,
            device=self.device,
            card=self.card,
            binary_threshold=self.binary_threshold,
            score_threshold=self.score_threshold,
            unclip_ratio=self.unclip_ratio,
            max_candidates=self.max_candidates,
            polygons=self.polygons,
            backend=self.backend,
            precision=self.precision,
        )

    def size(self, card: ModelCard) -> SizePolicy | None:
        """The size policy, if one is asked for."""
        if self.short_side is None:
            return None
        return SizePolicy(self.short_side, max(card.long_side_limit, self.short_side))


@app.command
def detect(
    inputs: list[str],
    /,
    *,
    save: Path | None = None,
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None,
    every_frame: Annotated[bool, Parameter(negative="")] = False,
    options: Annotated[DetectOptions, Parameter(name="*")] = DetectOptions(),
) -> int:
    """Find the text in images, videos, or the pictures of a camera or stream.

    Parameters
    ----------
    inputs
        Images, videos, folders, globs, the number of a camera (0), or a stream (rtsp://…).
    save
        Draw the outlines: into a file for one image, a .mp4 or .avi for one video, or a folder.
    json
        Write one line of JSON an image: to a file, or "-" for standard output.
    every_frame
        Of a camera or stream, keep what comes while a frame is looked at. Otherwise the newest is
        next, so that results keep up with the camera, and frame numbers show what was left out.
    """
    videos.silence_opencv()  # what it complains of comes as our errors
    sources = images.find_sources(inputs)
    detector = options.open_detector()
    size = options.size(detector.card)
    totals = _Totals()
    with Outputs(save, json, sources) as outputs, _progress(sources) as progress:
        task = progress.add_task("detecting", total=_count(sources), rate="")
        for name, frame, image in _read(sources, every_frame, totals):
            found = detector.detect(image, size=size)
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
    return 1 if totals.failures else 0


@app.command
def info(model: str = weights.DEFAULT_MODEL, /, *, card: str | None = None) -> None:
    """Print a model's card.

    Parameters
    ----------
    model
        Name of a model, or path of an .onnx file or of an .engine file, which needs no GPU here.
    card
        For another project's ONNX file: paddleocr, mmocr, doctr, opencv, or the path of a card.
    """
    if Path(model).suffix.lower() == ".engine":
        engine = read_engine_card(Path(model))
        _print_card(engine.model, engine.model.name)
        _print_card(engine, f"built by {engine.backend} {engine.version}")
    else:
        detector = Detector(model, card=card, backend="onnxruntime")
        _print_card(detector.card, detector.card.name)


def _print_card(card: ModelCard | EngineCard, title: str) -> None:
    table = Table(title=_escape(title), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for each in fields(card):
        value = getattr(card, each.name)
        if each.name not in ("name", "model") and value != "":
            shown = ", ".join(map(_short, value)) if isinstance(value, tuple) else _short(value)
            table.add_row(each.name, _escape(shown))
    out.print(table)


def _short(value: object) -> str:
    if isinstance(value, tuple):  # a shape
        return "x".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@app.command
def models() -> None:
    """List the models that have names, and what installs them."""
    for name, model in weights.MODELS.items():
        card, default = model.card, " (default)" if name == weights.DEFAULT_MODEL else ""
        what = f"finds {card.finds}, at short side {card.short_side}; {card.license}"
        out.print(f"[bold]{name}[/bold]{default}  {what}", soft_wrap=True)
        try:
            path, _ = weights.find_model(name)
            out.print(f"  {_escape(str(path))}", soft_wrap=True, highlight=False)
        except DBNetError as error:
            out.print(f"  {_escape(str(error))}", soft_wrap=True, style="dim")


app.command("dbnet_trt.training.commands:train_app", name="train", help="Train a detector.")
app.command("dbnet_trt.training.commands:export", name="export", help="Checkpoint to ONNX.")
app.command("dbnet_trt.training.commands:synth", name="synth", help="Draw synthetic scenes.")
app.command(
    "dbnet_trt.building.command:build",
    name="build",
    help="Build a TensorRT engine.",
    help_epilogue="Example: dbnet-build ppocrv6-small --precision fp16",
)
app.command("dbnet_trt.evaluation.command:evaluate", name="eval", help="Score a detector.")


@dataclass
class _Totals:
    images: int = 0
    texts: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, error: ImageError) -> None:
        self.failures.append(str(error))
        err.print(f"[red]skipped:[/red] {_escape(str(error))}", soft_wrap=True)

    def summary(self) -> str:
        failed = f", {len(self.failures)} skipped" if self.failures else ""
        return f"{_number(self.images, 'image')}, {_number(self.texts, 'text')}{failed}"


def _read(
    sources: list[str], every_frame: bool, totals: _Totals
) -> Iterator[tuple[str, int | None, Image]]:
    """(name, number of the frame or None, image) of each image that can be read."""
    for source in sources:
        try:
            if videos.is_video(source):
                frames = videos.read_frames(source)
                keep_up = videos.is_live(source) and not every_frame
                for frame, image in videos.newest(frames) if keep_up else frames:
                    yield source, frame, image
            else:
                yield source, None, images.load_image(source)
        except ImageError as error:
            totals.fail(error)


def _count(sources: list[str]) -> int | None:
    """Images and frames in all; None where a source does not say."""
    total = 0
    for source in sources:
        count = videos.count_frames(source) if videos.is_video(source) else 1
        if count is None:
            return None
        total += count
    return total


def _print_found(name: str, found: Detections) -> None:
    out.print(f"[bold]{_escape(name)}[/bold]: {_number(len(found), 'text')}", soft_wrap=True)
    for text in found.in_reading_order():
        corners = "  ".join(f"{x:6.1f},{y:6.1f}" for x, y in text.quad)
        out.print(f"  {text.score:.2f}  {corners}", soft_wrap=True, highlight=False)


def _progress(sources: list[str]) -> Progress:
    one_image = len(sources) == 1 and not videos.is_video(sources[0])
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=one_image or not err.is_terminal,
    )


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def _missing_extra(error: ImportError) -> str | None:
    """What installs a library that a command needs; None where another thing went wrong."""
    missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    if not isinstance(missing, ModuleNotFoundError):
        return None
    name = missing.name or str(missing)
    extra = EXTRAS.get(name.partition(".")[0])
    if extra is None:
        return f"this command needs {name}, which is not installed"
    return f"this command needs {name}; pip install 'dbnet-trt[{extra}]'"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; errors of ours are one line on standard error, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        result = app(arguments, exit_on_error=True, result_action="return_value")
        sys.stdout.flush()
    except KeyboardInterrupt:
        err.print("interrupted", style="yellow")
        return INTERRUPTED
    except BrokenPipeError:  # `dbnet ... | head` has read enough
        sys.stderr.close()
        return 1
    except ImportError as error:
        message = _missing_extra(error)
        if message is None:
            raise
        return _fail(message)
    except OSError as error:  # a full disk, most often
        try:
            sys.stdout.flush()
        except OSError:  # what is left goes nowhere, or Python would try once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        is_full = error.errno == errno.ENOSPC and not error.filename
        what = "the results cannot be written" if is_full else error.filename or "input or output"
        return _fail(f"{what}: {error.strerror or error}")
    except (DBNetError, ValueError) as error:
        return _fail(str(error))
    return result if isinstance(result, int) else 0


def _fail(message: str) -> int:
    err.print(f"[red]error:[/red] {_escape(message)}", soft_wrap=True)
    return 2


if __name__ == "__main__":
    sys.exit(main())
