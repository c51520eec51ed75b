# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet build`, also installed as `dbnet-build`."""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from ..building.build import BuiltEngine, build_engine
from ..building.config import BuildConfig
from ..building.int8 import QuantizedModel, quantize_for_cpu
from ..building.triton import write_cpu_repository, write_repository
from ..building.trtexec import write_graph
from ..zoo import int8_file, resolve_model
from .console import LINE_SECONDS, err, line, out

DEFAULT = BuildConfig()

_AS_IT_IS = BuildConfig("int8", target="cpu")
"""Settings with which a model's own file in int8 is served."""


def build(
    model: str,
    /,
    *,
    output: Path | None = None,
    card: str | None = None,
    triton: Path | None = None,
    graph: Path | None = None,
    verbose: Annotated[bool, Parameter(negative="")] = False,
    config: Annotated[BuildConfig, Parameter(name="*")] = DEFAULT,
) -> None:
    """Build a TensorRT engine with its card beside it, or an ONNX file in int8 for CPUs.

    Parameters
    ----------
    model
        Name (see `dbnet models`), or path of an .onnx file or of a checkpoint.
    output
        The file; by default an .engine file whose name says model, size, precision, GPU and
        version, and for CPUs NAME.int8.onnx.
    card
        For another project's ONNX file: paddleocr, mmocr, doctr, opencv, or the path of a card.
    triton
        Also write a model repository for Triton Inference Server to this folder.
    graph
        Write the graph that would be compiled to this .onnx file instead, and print the trtexec
        command that builds the same engine; TensorRT is not needed.
    verbose
        Print the network's layers and TensorRT's log.
    """
    if verbose:
        logging.getLogger("dbnet_trt").setLevel(logging.DEBUG)
    if graph is not None:
        if config.target == "cpu" or output is not None or triton is not None:
            raise ValueError(
                "--graph is for engines of GPUs and writes nothing else; leave out --target cpu, "
                "--output and --triton"
            )
        command = write_graph(model, graph, card=card, config=config)
        out.print(line((graph, "bold")), soft_wrap=True)
        out.print(line((command, "")), soft_wrap=True)
        return
    if config.target == "cpu":
        _build_for_cpu(model, output, card, triton, config)
        return
    with _BuildProgress() as progress:
        built = build_engine(model, output, card=card, config=config, progress=progress)
    _print(built, verbose)
    if triton is not None:
        _print_repository(triton, write_repository(triton, built.path, built.card))


def _build_for_cpu(
    model: str, output: Path | None, card: str | None, triton: Path | None, config: BuildConfig
) -> None:
    as_it_is = triton is not None and card is None and config == _AS_IT_IS
    ready = _find_int8(model) if as_it_is else None
    if triton is None or (config.precision == "int8" and ready is None):
        with _BuildProgress() as progress:
            quantized = quantize_for_cpu(model, output, card=card, config=config, progress=progress)
        _print_quantized(quantized)
        model, card = str(quantized.path), None
    elif output is not None:
        raise ValueError(
            "--output is for a file in int8 that is made; --triton names the repository's folder"
        )
    elif config.precision == "int8":
        model = str(ready)
    if triton is not None:
        _print_repository(triton, write_cpu_repository(triton, model, card))


def _find_int8(model: str) -> Path | None:
    """Find the file in int8 of a model that comes in int8; None if it is to be made."""
    path, named_card = resolve_model(model, (".onnx", ".safetensors"))
    return int8_file(path) if named_card else None


def main() -> int:
    """Run `dbnet-build`."""
    from .app import main as run

    return run(["build", *sys.argv[1:]])


def _print(built: BuiltEngine, verbose: bool) -> None:
    if verbose:
        for kind, count in built.layers:
            out.print(line(f"{count:6d}  ", (kind, "")))
    card = built.card
    size = built.path.stat().st_size / 1e6
    cached = ", from the cache" if built.from_cache else ""
    out.print(line((built.path, "bold"), f"  {size:.1f} MB{cached}"), soft_wrap=True)
    ranges = " to ".join(f"{batch}x3x{height}x{width}" for batch, height, width in card.shapes[::2])
    gpus = ", ".join(card.compute_capabilities)
    out.print(
        f"{card.backend} {card.version}, {card.precision}, GPUs {gpus}, {ranges}", soft_wrap=True
    )
    out.print(line("checked: ", (built.checked, "")), soft_wrap=True)


def _print_repository(folder: Path, model: Path) -> None:
    parts = ("model repository: ", (folder, "bold"), ", model ", (model.name, ""))
    out.print(line(*parts), soft_wrap=True)


def _print_quantized(made: QuantizedModel) -> None:
    size = made.path.stat().st_size / 1e6
    out.print(line((made.path, "bold"), f"  {size:.1f} MB"), soft_wrap=True)
    if made.left_out:
        names = ", ".join(made.left_out)
        out.print(line("left in floating point: ", (names, "")), soft_wrap=True)
    out.print(line("checked: ", (made.checked, "")), soft_wrap=True)


class _BuildProgress:
    """Progress bars, one per running phase; without a terminal, a line a minute.

    TensorRT calls it from its own threads.
    """

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()
        self._shown = time.monotonic()

    def __enter__(self) -> _BuildProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, phase: str, step: int, num_steps: int) -> None:
        with self._lock:
            if phase not in self._tasks:
                self._tasks[phase] = self._progress.add_task(phase, total=num_steps)
            task = self._tasks[phase]
            if step < num_steps:
                self._progress.update(task, completed=step)
            else:
                self._progress.remove_task(self._tasks.pop(phase))
            if not err.is_terminal and time.monotonic() - self._shown >= LINE_SECONDS:
                self._shown = time.monotonic()
                err.print(line((phase, ""), f": {step} of {num_steps}"), soft_wrap=True)
