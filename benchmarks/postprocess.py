# SPDX-License-Identifier: Apache-2.0
"""The compiled pre- and post-processing against the usual Python, in one run.

    python benchmarks/postprocess.py [--json FILE] [--repeats N]

Each answer is checked before it is timed. Maps are written anew before each round, as a network
would have just written them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import ModelCard, SizePolicy
from dbnet_trt.detections import Detections
from dbnet_trt.postprocess import PostprocessParams, postprocess, postprocess_reference
from dbnet_trt.preprocess import Plan, preprocess
from measure import interleaved, machine, summary, write_report
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scenes import text_map, text_scene

PARAMS = PostprocessParams(max_candidates=100_000)

app = App(help="Pre- and post-processing against OpenCV and pyclipper.")


def make_maps(rng: np.random.Generator) -> dict[str, tuple[NDArray[np.float32], float]]:
    """Maps by name, with the threshold to read them at."""
    return {
        "736x1280, 7 lines": (text_map(736, 1280, 7, rng), 0.3),
        "736x1280, 42 lines": (text_map(736, 1280, 42, rng), 0.3),
        "736x1280, 242 lines": (text_map(736, 1280, 242, rng), 0.3),
        "736x1280, 900 lines": (text_map(736, 1280, 900, rng), 0.3),
        "640x640, 20 lines": (text_map(640, 640, 20, rng), 0.3),
        "640x640, noise": (rng.random((640, 640), dtype=np.float32), 0.5),
        "2048x2048, 400 lines": (text_map(2048, 2048, 400, rng), 0.3),
        "4096x4096, 1000 lines": (text_map(4096, 4096, 1000, rng), 0.3),
    }


def check(found: Detections, expected: NDArray[np.float32]) -> None:
    """The boxes of the reference were found."""
    # Noise is full of components with several least rectangles, whose scores differ.
    if abs(len(found) - len(expected)) > max(2, 0.02 * len(expected)):
        raise SystemExit(f"{len(found)} boxes where the reference has {len(expected)}")
    near = [np.abs(found.quads - quad).max(axis=(1, 2)).min() < 0.5 for quad in expected]
    if len(near) > 100 and np.mean(near) < 0.95:
        raise SystemExit(f"only {np.mean(near):.1%} of the boxes agree with the reference")


def postprocess_rows(repeats: int) -> list[dict[str, Any]]:
    """Times of post-processing, one row a map."""
    rows = []
    for name, (values, threshold) in make_maps(np.random.default_rng(0)).items():
        params = PostprocessParams(threshold, 0.5, max_candidates=PARAMS.max_candidates)
        height, width = values.shape
        plan = Plan((height * 2, width * 2), (height, width), (height, width))
        batch = np.empty((1, height, width), np.float32)

        def write(values: NDArray[np.float32] = values, batch: NDArray[np.float32] = batch) -> None:
            batch[0] = values

        write()
        inside = PostprocessParams(threshold, 0.5, max_candidates=PARAMS.max_candidates)
        (found,) = postprocess(
            batch, [Plan((height, width), (height, width), (height, width))], inside, logits=False
        )
        expected, _ = postprocess_reference(values, params)
        check(found, np.clip(expected, 0, [width - 1, height - 1]))
        functions: dict[str, Callable[[], object]] = {
            "core": lambda: postprocess(batch, [plan], params, logits=False),  # noqa: B023
            "python": lambda: postprocess_reference(batch[0], params),  # noqa: B023
        }
        rounds = repeats if height * width < 2e6 else max(3, repeats // 10)
        rows.append(_row(name, len(found), interleaved(functions, rounds, write)))
    return rows


def preprocess_rows(repeats: int) -> list[dict[str, Any]]:
    """Times of preprocessing, one row a photo size."""
    card = ModelCard(name="imagenet")
    mean, std = np.array(card.mean, np.float32), np.array(card.std, np.float32)
    rng = np.random.default_rng(0)
    rows = []
    for height, width in ((720, 1280), (1080, 1920), (900, 1200), (3000, 4000)):
        image = text_scene(height, width, 20, rng)
        plan = SizePolicy().plan(height, width)
        out = np.empty((3, *plan.padded), np.float32)

        def usual(image: Any = image, plan: Plan = plan) -> NDArray[np.float32]:
            resized = cv2.resize(image, plan.resized[::-1])
            normalized = (resized.astype(np.float32) * np.float32(1 / 255) - mean) / std
            (rh, rw), (h, w) = plan.resized, plan.padded
            padded = cv2.copyMakeBorder(normalized, 0, h - rh, 0, w - rw, cv2.BORDER_CONSTANT)
            return np.ascontiguousarray(padded.transpose(2, 0, 1))

        preprocess(image, plan, card, out)
        np.testing.assert_allclose(out, usual(), atol=1e-5)
        functions: dict[str, Callable[[], object]] = {
            "core": lambda: preprocess(image, plan, card, out),  # noqa: B023
            "python": usual,
        }
        name = f"{height}x{width} to {plan.padded[0]}x{plan.padded[1]}"
        rows.append(_row(name, None, interleaved(functions, repeats)))
    return rows


def _row(name: str, num_boxes: int | None, times: dict[str, Any]) -> dict[str, Any]:
    ratio = float(np.median(times["python"]) / np.median(times["core"]))
    return {
        "case": name,
        "boxes": num_boxes,
        "core": summary(times["core"]),
        "python": summary(times["python"]),
        "ratio": round(ratio, 1),
    }


@app.default
def main(*, repeats: int = 50, json: Path | None = None) -> None:
    """Run it.

    Parameters
    ----------
    repeats
        Rounds a case.
    json
        Write the numbers here.
    """
    cv2.setNumThreads(1)
    report = {
        "postprocess": postprocess_rows(repeats),
        "preprocess": preprocess_rows(repeats),
    }
    console = Console(width=max(110, Console().width))  # the tables are wide
    console.print(machine()["cpu"], style="dim")
    for stage, rows in report.items():
        table = Table(stage, "boxes", "core ms", "p99", "OpenCV + Python ms", "p99", "ratio")
        for row in rows:
            table.add_row(
                row["case"],
                "" if row["boxes"] is None else str(row["boxes"]),
                *(f"{row['core'][key]:.2f}" for key in ("p50_ms", "p99_ms")),
                *(f"{row['python'][key]:.2f}" for key in ("p50_ms", "p99_ms")),
                f"{row['ratio']:.1f}x",
            )
        console.print(table)
    write_report(report, json)


if __name__ == "__main__":
    app()
