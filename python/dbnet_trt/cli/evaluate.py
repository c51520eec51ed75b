# SPDX-License-Identifier: Apache-2.0
"""The commands `dbnet eval` and `dbnet score`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.progress import track

from ..errors import ImageError
from ..files import write_atomically
from .console import err, line, out
from .options import DEFAULT_OPTIONS, RunOptions

if TYPE_CHECKING:
    from ..data.samples import Sample
    from ..evaluation.evaluate import Evaluation

logger = logging.getLogger("dbnet_trt")

RESULT_SUFFIXES = frozenset((".jsonl", ".html", ".zip"))
"""Suffixes of results, which are replaced; other files in a data set may be a part of it."""

ProtocolName = Literal["icdar2015", "totaltext", "ctw1500", "deteval"]
FormatName = Literal["icdar2015", "totaltext", "ctw1500", "deteval", "polygons", "paddleocr"]


def evaluate(
    model: str | None = None,
    /,
    *,
    data: str,
    protocol: ProtocolName | None = None,
    report: Path | None = None,
    json: Path | None = None,
    submission: Path | None = None,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> None:
    """Score a detector on a data set.

    Prints precision, recall and F, as the official script of the data set computes them, and on
    standard error the model, numeric precision, size and thresholds that were used.

    Parameters
    ----------
    model
        Name of a model, an .onnx file or a .safetensors checkpoint; the default model if left out.
    data
        FORMAT:PATH of images with ground truth, as in icdar2015:FOLDER; text is found as polygons
        where the data set's is curved.
    protocol
        How to score: icdar2015 (IoU > 0.5), totaltext (DetEval on polygons), ctw1500, or deteval
        (ICDAR 2013). By default the protocol of the data set.
    report
        Write numbers, curve and worst images to an HTML file.
    json
        Write one line of JSON per image.
    submission
        Write the detections to a zip archive, in the format that the benchmark collects.
    """
    from ..data.damaged import require_whole
    from ..data.open import read_dataset, split_name
    from ..evaluation.evaluate import choose_scoring, evaluate_samples, write_jsonl
    from ..evaluation.submissions import write_results

    options = dataclasses.replace(options, model=model or options.model)
    form, path, *_ = split_name(data)
    labels = path.glob("*.jsonl") if form == "jsonl" else ()
    check_outputs([json, submission, report], path, *labels, Path(options.model or ""))
    samples = read_dataset(data).samples
    scoring = choose_scoring([form], samples, protocol)
    detector = options.open_detector(polygons=scoring.polygons)
    size = options.size(detector.card)
    require_whole(samples, "mend or remove them; nothing was scored")
    evaluation = evaluate_samples(
        detector, with_progress(samples), scoring.protocol, size=size, curve=report is not None
    )
    with writing():
        if json is not None:
            write_atomically(json, lambda path: write_jsonl(path, evaluation))
        if submission is not None:
            write_atomically(submission, lambda path: write_results(path, evaluation))
    facts = {
        "model": repr(detector),
        "data": data,
        "size": str(size or detector.size),
        "thresholds": str(detector.params),
    }
    _conclude(evaluation, facts, report, detector.params.score_threshold)


def score(
    gt: Path,
    pred: Path,
    /,
    *,
    protocol: ProtocolName,
    format: FormatName | None = None,
    report: Path | None = None,
    json: Path | None = None,
    max_unpacked_mb: int = 512,
) -> None:
    """Score existing results.

    Prints precision, recall and F, as the official script of the protocol computes them.

    Parameters
    ----------
    gt
        Ground truth: a folder, a zip archive, or a label file of PaddleOCR.
    pred
        Results to score: a folder, a zip archive, or a result file of PaddleOCR.
    protocol
        How to score: icdar2015 (IoU > 0.5), totaltext (DetEval on polygons), ctw1500, or deteval
        (ICDAR 2013).
    format
        Format of the files in both; the protocol's by default. polygons is x1,y1,...,xn,yn,text,
        with any number of points, as the TIoU scripts use for Total-Text and CTW1500.
    report
        Write numbers and curve to an HTML file.
    json
        Write one line of JSON per image.
    max_unpacked_mb
        Maximum size of each archive, unpacked, in MiB; the limit for each file in it is a 32nd of
        this.

    Raises
    ------
    ValueError
        An option is out of range, or a file is missing or not in the format.
    """
    from ..evaluation.evaluate import write_jsonl
    from ..evaluation.submissions import score_submission

    check_outputs([json, report], gt, pred)
    if max_unpacked_mb < 1:
        raise ValueError(f"expected --max-unpacked-mb of 1 or more, got {max_unpacked_mb}")
    evaluation = score_submission(
        gt,
        pred,
        protocol,
        format or protocol,
        curve=report is not None,
        max_bytes=max_unpacked_mb << 20,
    )
    if json is not None:
        with writing():
            write_atomically(json, lambda path: write_jsonl(path, evaluation))
    _conclude(evaluation, {"ground truth": str(gt), "results": str(pred)}, report, None)


def _conclude(
    evaluation: Evaluation, facts: dict[str, str], report: Path | None, threshold: float | None
) -> None:
    """Write the report, if one is requested, and print the score and how it was obtained."""
    from ..evaluation.report import render_report

    if report is not None:
        page = render_report(evaluation, facts, threshold)
        with writing():
            write_atomically(report, lambda path: path.write_text(page, encoding="utf-8"))
    if evaluation.score.num_truths == 0:
        logger.warning("there is no text to find: all is ignored, or there is none")
    for name, value in facts.items():
        err.print(line(f"{name}: ", (value, "")), style="dim", soft_wrap=True)
    out.print(str(evaluation.score), markup=False, soft_wrap=True)


def check_outputs(outputs: list[Path | None], *inputs: Path) -> None:
    """Check before the work that the outputs can be written and are not among the inputs."""
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path is None:
            continue
        if path.resolve() in read:
            raise ValueError(f"{path} is read, and would be overwritten; name another file")
        if path.is_dir():
            raise ValueError(f"expected the name of a file to write, got the folder {path}")
        is_result = path.suffix.lower() in RESULT_SUFFIXES
        if path.exists() and not is_result and not read.isdisjoint(path.resolve().parents):
            raise ValueError(
                f"{path} exists, in a folder that is read, and would be overwritten; name a file "
                "elsewhere"
            )
        with writing():
            path.parent.mkdir(parents=True, exist_ok=True)


def with_progress(samples: list[Sample]) -> Iterable[Sample]:
    """Iterate over samples with a progress bar on standard error, if that is a terminal."""
    return track(samples, "detecting", console=err, transient=True, disable=not err.is_terminal)


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Turn errors of writing a file into the package's own."""
    try:
        yield
    except OSError as error:
        raise ImageError(f"{error.filename} cannot be written: {error.strerror}") from error
