# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet distill`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..detector import Detector
from ..settings import CpuConfig
from ..training.distill import DistillConfig
from ..training.distill import distill as run
from ..zoo import MODELS
from .console import line, number, out, progress_bar

DEFAULT = DistillConfig()


def distill(
    teacher: str,
    /,
    *more: str,
    data: str,
    output: Path,
    card: str | None = None,
    device: str = "auto",
    cpu: Annotated[CpuConfig, Parameter(name="*")] = CpuConfig(),
    config: Annotated[DistillConfig, Parameter(name="*")] = DEFAULT,
) -> None:
    """Label the photos of a data set with the probability maps of one or more detectors.

    Several maps are averaged. Train on jsonl:OUTPUT/distilled.jsonl, which has outlines and maps,
    or on OUTPUT/outlines.jsonl. The same command continues a run that was stopped.

    Parameters
    ----------
    teacher
        Name of a model, or path of an .onnx, .engine or .safetensors file.
    more
        Further teachers.
    data
        FORMAT:PATH of the photos; with --outlines teacher also a folder of photos without labels.
    output
        Folder for maps/, images/ and the two data sets.
    card
        Card of teachers that are .onnx files of another project: paddleocr, mmocr, doctr, opencv,
        or the path of one.
    device
        Device that runs the teachers: auto, cpu, cuda or cuda:0.
    """
    teachers = [
        Detector(name, device=device, cpu=cpu, card=None if name in MODELS else card)
        for name in (teacher, *more)
    ]
    with progress_bar("photo", transient=True, disable=False) as bar:
        task = bar.add_task("distilling", total=None, photo="")
        file = run(
            teachers,
            data,
            output,
            config,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    with file.open(encoding="utf-8") as lines:
        count = sum(1 for _ in lines)
    out.print(line((file, "bold"), f"  {number(count, 'photo')}"), soft_wrap=True)
