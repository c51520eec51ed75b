# SPDX-License-Identifier: Apache-2.0
"""Compare a model in fp32 and bf16 with its file in int8: CPU time, and F on a data set.

    python benchmarks/int8.py MODEL MODEL.int8.onnx [--data FORMAT:PATH] [--json FILE]

`dbnet-build MODEL --target cpu --precision int8 --calibration PHOTOS` makes the file. Times are CPU
time of the network on one thread, which other work on the machine changes little, interleaved. The
last lines are what `engines/cpu_features.py` has to know of this CPU: send them with the JSON.

OpenVINO computes as a CPU with fewer instructions would if it is told so, here one with VNNI and
without bf16: `ONEDNN_MAX_CPU_ISA=AVX512_CORE_VNNI` in front, `--precisions fp32 --precisions int8`
behind. ONNX Runtime knows no such limit, and is left out then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from cyclopts import App
from dbnet_trt import CpuConfig, Detector, SizePolicy
from dbnet_trt.building.calibration import network_input
from dbnet_trt.engines import Engine
from dbnet_trt.engines.cpu_features import int8_feature
from dbnet_trt.errors import EngineError
from dbnet_trt.settings import Backend, Precision
from measure import geometric_mean, interleaved, machine, tell, write_report
from rich.console import Console
from rich.table import Table
from scenes import text_scene

app = App(help="Compare a model with its file in int8.")
LIMIT = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
PHOTO_SIZE = (1296, 1944)
"""(height, width) of the drawn photo that is timed, the aspect ratio of most photos."""


def open_ways(
    model: str, int8: Path, card: str | None, precisions: Sequence[Precision]
) -> dict[str, Detector]:
    """Open the model in every library and precision that this machine has, on one thread."""
    detectors = {}
    backends: list[Backend] = ["openvino"] if LIMIT else ["openvino", "onnxruntime"]
    for backend in backends:
        for precision in precisions:
            cpu = CpuConfig(backend, precision, num_threads=1)
            try:
                detectors[f"{backend} {precision}"] = (
                    Detector(int8, cpu=cpu)
                    if precision == "int8"
                    else Detector(model, cpu=cpu, card=card)
                )
            except EngineError as error:
                tell(f"{backend} {precision} is not measured: {error}")
    return detectors


def time_networks(detectors: dict[str, Detector], side: int, repeats: int) -> dict[str, float]:
    """Time the networks on a drawn photo, at a short side in pixels: least CPU time in ms."""
    photo = text_scene(*PHOTO_SIZE, 12, np.random.default_rng(0))
    calls: dict[str, Callable[[], object]] = {}
    for name, detector in detectors.items():
        plan = SizePolicy(side, detector.size.long_side_limit).plan(*PHOTO_SIZE)
        engine: Engine = detector._engine  # type: ignore[assignment]
        calls[name] = partial(engine, network_input(photo, detector.card, plan))
    times = interleaved(calls, repeats, clock=time.process_time)
    return {name: round(float(values.min()), 2) for name, values in times.items()}


def score(detectors: dict[str, Detector], data: str, side: int) -> dict[str, dict[str, float]]:
    """Compute precision, recall and F on a data set, in percent."""
    from dbnet_trt.data.open import read_dataset
    from dbnet_trt.evaluation.evaluate import evaluate_samples

    samples, scores = read_dataset(data).samples, {}
    for name, detector in detectors.items():
        tell(f"F of {name} at {side}")
        size = SizePolicy(side, detector.size.long_side_limit)
        found = evaluate_samples(detector, samples, size=size).score
        numbers = {"precision": found.precision, "recall": found.recall, "f": found.f}
        scores[name] = {what: round(100 * value, 2) for what, value in numbers.items()}
    return scores


def gains(times: list[dict[str, float]]) -> dict[str, float]:
    """Time of what "auto" takes otherwise over the time in int8, by library; mean over sizes."""
    found = {}
    for backend in get_args(Backend):
        ratios = [
            each.get(f"{backend} bf16", each.get(f"{backend} fp32", 0.0)) / each[f"{backend} int8"]
            for each in times
            if f"{backend} int8" in each
        ]
        if ratios:
            found[backend] = round(geometric_mean(ratios), 2)
    return found


@app.default
def main(
    model: str,
    int8: Path,
    /,
    *,
    card: str | None = None,
    precisions: tuple[Precision, ...] = ("fp32", "bf16", "int8"),
    sides: tuple[int, ...] = (736, 544),
    data: str | None = None,
    repeats: int = 15,
    json: Path | None = None,
) -> None:
    """Compare a model with its file in int8.

    Parameters
    ----------
    model
        Name of a model, or an .onnx file.
    int8
        Its file in int8.
    card
        Card of another project's ONNX file.
    precisions
        Precisions to measure.
    sides
        Short sides of the network's input, in pixels.
    data
        Data set as FORMAT:PATH, for F; it must hold no photo that calibrated.
    repeats
        Number of timed calls of each network.
    json
        File for the numbers.
    """
    detectors = open_ways(model, int8, card, precisions)
    console = Console(width=max(110, Console().width))
    rows: list[dict[str, Any]] = []
    for side in sides:
        tell(f"time at {side}")
        row: dict[str, Any] = {"short_side": side}
        row["cpu_ms"] = time_networks(detectors, side, repeats)
        row["scores"] = score(detectors, data, side) if data else {}
        rows.append(row)
    console.print(machine()["cpu"], style="dim")
    for row in rows:
        table = Table(f"short side {row['short_side']}", "CPU ms", "precision / recall / F")
        for name, least in row["cpu_ms"].items():
            numbers = row["scores"].get(name, {}).values()
            table.add_row(name, f"{least:.1f}", " / ".join(f"{value:.1f}" for value in numbers))
        console.print(table)
    feature, gain = LIMIT or int8_feature(), gains([row["cpu_ms"] for row in rows])
    for backend, ratio in gain.items():
        console.print(f'INT8_GAIN["{feature}", "{backend}"] = {ratio}', highlight=False)
    report = {"model": Path(model).stem, "data": data and Path(data).name, "feature": feature}
    write_report({**report, "rows": rows, "gain": gain}, json)


if __name__ == "__main__":
    app()
