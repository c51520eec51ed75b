# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet eval`."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from rich.progress import track

from ..cli import DetectOptions, err
from ..detector import Detector
from ..errors import ImageError
from ..files import write_atomically

if TYPE_CHECKING:
    from ..training.datasets import Sample
    from .evaluate import Evaluation

logger = logging.getLogger("dbnet_trt")

ProtocolName = Literal["icdar2015", "totaltext", "ctw1500", "deteval"]
CURVED = ("totaltext", "ctw1500")
"""Protocols of data sets with curved text, which is found as polygons."""
PROTOCOL_OF: dict[str, ProtocolName] = {
    "totaltext": "totaltext",
    "ctw1500": "ctw1500",
    "icdar2013": "deteval",
}
"""By the format of --data; the others are scored as ICDAR 2015."""
DEFAULTS = DetectOptions()


def evaluate(
    model: str | None = None,
    /,
    *,
    data: str | None = None,
    gt: Path | None = None,
    pred: Path | None = None,
    protocol: ProtocolName | None = None,
    format: ProtocolName | None = None,
    report: Path | None = None,
    json: Path | None = None,
    submission: Path | None = None,
    options: Annotated[DetectOptions, Parameter(name="*")] = DEFAULTS,
) -> int:
    """Score a detector on a data set, or results that are there already.

    Prints precision, recall and F, as the official script of the data set gives them, and on
    standard error the model, the arithmetic, the size and the thresholds that gave them. Either
    `dbnet eval MODEL --data icdar2015:FOLDER`, or
    `dbnet eval --protocol icdar2015 --gt gt.zip --pred results.zip`.

    Parameters
    ----------
    model
        Name of a model, an .onnx file or a .safetensors checkpoint; the default model if left out.
    data
        FORMAT:PATH of images with ground truth, as in icdar2015:FOLDER.
    gt
        Ground truth of the results, a folder or a zip archive.
    pred
        The results to score, a folder or a zip archive.
    protocol
        How to score: icdar2015 (IoU > 0.5), totaltext (DetEval on polygons), ctw1500, or deteval
        (ICDAR 2013). That of the data by default.
    format
        Of the files of --gt and --pred; that of the protocol by default.
    report
        Write numbers, curve and worst images to an HTML file.
    json
        Write one line of JSON an image.
    submission
        Write what was found to a zip archive, as the benchmark collects results.
    """
    from ..training.datasets import split_name
    from .evaluate import write_jsonl
    from .report import render_report
    from .submissions import score_submission, write_results

    options = dataclasses.replace(options, model=model or options.model)
    outputs = [path for path in (json, submission, report) if path is not None]
    if data is not None:
        if gt is not None or pred is not None or format is not None:
            raise ValueError("--gt, --pred and --format go with each other, not with --data")
        _check_outputs(outputs, split_name(data)[1], Path(options.model or ""))
        evaluation, facts, threshold = _run(data, protocol, options, curve=report is not None)
    else:
        if gt is None or pred is None or protocol is None:
            raise ValueError(
                "expected --data FORMAT:PATH to run a detector, or --protocol, --gt and --pred "
                "to score results"
            )
        if submission is not None:
            raise ValueError("--submission is for what a detector finds; give --data")
        if options.model is not None:
            raise ValueError(
                f"{options.model} is not run on --gt and --pred; give --data, or no model"
            )
        _check_outputs(outputs, gt, pred)
        form, curve = format or protocol, report is not None
        evaluation = score_submission(gt, pred, protocol, form, curve=curve)
        facts, threshold = {"ground truth": str(gt), "results": str(pred)}, None
    with _writing():
        if json is not None:
            write_atomically(json, lambda path: write_jsonl(path, evaluation))
        if submission is not None:
            write_atomically(submission, lambda path: write_results(path, evaluation))
        if report is not None:
            page = render_report(evaluation, facts, threshold)
            write_atomically(report, lambda path: path.write_text(page, encoding="utf-8"))
    if evaluation.score.num_truths == 0:
        logger.warning("there is no text to find: all is ignored, or there is none")
    for name, value in facts.items():
        err.print(f"{name}: {value}", style="dim", markup=False, soft_wrap=True)
    print(evaluation.score)
    return 0


def _check_outputs(outputs: list[Path], *inputs: Path) -> None:
    """Find out before the work that results can be written, and over nothing that is read."""
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.resolve() in read:
            raise ValueError(f"{path} is read, and would be overwritten; name another file")
        if path.is_dir():
            raise ValueError(f"expected the name of a file to write, got the folder {path}")
        with _writing():
            path.parent.mkdir(parents=True, exist_ok=True)


def _run(
    data: str, protocol: ProtocolName | None, options: DetectOptions, *, curve: bool
) -> tuple[Evaluation, dict[str, str], float]:
    """The evaluation, what a report says of it, and the score threshold."""
    from ..training.datasets import read_dataset
    from .evaluate import evaluate_samples

    samples = read_dataset(data).samples
    chosen = protocol or PROTOCOL_OF.get(data.partition(":")[0], "icdar2015")
    options = dataclasses.replace(options, polygons=options.polygons or chosen in CURVED)
    detector = options.open_detector()
    size = options.size(detector.card)
    shown = _with_progress(samples)
    evaluation = evaluate_samples(detector, shown, chosen, size=size, curve=curve)
    return (
        evaluation,
        _facts(detector, data, size or detector.size),
        detector.params.score_threshold,
    )


def _facts(detector: Detector, data: str, size: object) -> dict[str, str]:
    return {
        "model": repr(detector),
        "data": data,
        "size": str(size),
        "thresholds": str(detector.params),
    }


def _with_progress(samples: list[Sample]) -> Iterable[Sample]:
    return track(samples, "detecting", console=err, transient=True, disable=not err.is_terminal)


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(f"{error.filename} cannot be written: {error.strerror}") from error
