# SPDX-License-Identifier: Apache-2.0
"""Count what the compiled kernels execute on fixed maps, and model the time on three GPUs.

    python tests/ptx/counts.py [--output FILE]

The counts are exact, for PTX and blocks that run one after the other. The times are a model on
paper, not measurements; take them as good to a factor of two.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from dbnet_trt import _core
from fakes.emulator import ROOT, Emulator, LaunchCounts, build_emulator

from ptx.compiled import compile_ptx
from ptx.nvrtc import compile_kernels

RECORD = ROOT / "benchmarks" / "results" / "emulator" / "counts.json"

PARAMS = _core.PostprocessParams(
    binary_threshold=0.3,
    score_threshold=0.0,
    unclip_ratio=1.5,
    max_candidates=2000,
    min_side=3.0,
    logits=False,
)


@dataclass(frozen=True)
class Gpu:
    """What the model knows of a GPU."""

    name: str
    multiprocessors: int
    clock_ghz: float
    bandwidth_gb_s: float
    launch_us: float  # between kernels of a graph


GPUS = (
    Gpu("GTX 1080 Ti", 28, 1.58, 484, 2.5),
    Gpu("RTX 4090", 128, 2.5, 1008, 1.3),
    Gpu("H200", 132, 1.9, 4800, 1.3),
)
ISSUED_PER_CYCLE = 4 * 0.6  # instructions of a multiprocessor
CYCLES_PER_INSTRUCTION = 5  # on the critical path
CYCLES_PER_ACCESS = 300  # to the L2 cache


def text_lines(height: int, width: int, rows: int, columns: int) -> np.ndarray:
    """Draw a grid of bars, which cover some 40 % of the map: (1, height, width) float16."""
    maps: np.ndarray = np.zeros((1, height, width), np.float16)
    pitch_y, pitch_x = height // rows, width // columns
    for y in range(pitch_y // 5, rows * pitch_y, pitch_y):
        for x in range(pitch_x // 8, columns * pitch_x, pitch_x):
            maps[0, y : y + pitch_y // 2, x : x + pitch_x * 3 // 4] = 0.9
    return maps


def one_box(height: int, width: int) -> np.ndarray:
    """Draw a box over the whole page."""
    maps: np.ndarray = np.zeros((1, height, width), np.float16)
    maps[0, 8:-8, 8:-8] = 0.9
    return maps


MAPS: dict[str, Callable[[], np.ndarray]] = {
    "640x640, 20 lines": lambda: text_lines(640, 640, 20, 1),
    "640x640, one box over the page": lambda: one_box(640, 640),
    "736x1280, 42 lines": lambda: text_lines(736, 1280, 14, 3),
    "736x1280, 900 lines": lambda: text_lines(736, 1280, 30, 30),
    "736x1280, one box over the page": lambda: one_box(736, 1280),
}


def count_all(emulator: Emulator) -> dict[str, list[LaunchCounts]]:
    """Run the kernels on each map, and preprocessing on an image; `emulator` uses compiled ones."""
    counts = {}
    for name, draw in MAPS.items():
        maps = draw()
        before = len(emulator.counts())
        (found,) = emulator.box_finder(maps.shape)(maps, PARAMS, label=False).found
        assert len(found) > 0
        counts[name] = emulator.counts()[before:]
    before = len(emulator.counts())
    image: np.ndarray = np.zeros((360, 640, 3), np.uint8)
    ones = np.ones(3, np.float32)
    emulator.preprocess(image, ((368, 640), (368, 640)), ones, ones, dtype=np.float16)
    counts["preprocess, 360x640 to 368x640"] = emulator.counts()[before:]
    return counts


def model_us(gpu: Gpu, launch: LaunchCounts, num_bytes: int) -> float:
    """Microseconds of a launch by the model: the longest of issue, longest block and memory."""
    is_boxes = launch.kernel.startswith("boxes")
    sass = 1.3 if is_boxes else 1.2  # machine instructions for one of PTX
    waits = 0.25 if is_boxes else 0.5  # share of an access that is not overlapped
    cycles_ns = 1 / gpu.clock_ghz
    issue = launch.instructions * sass / (gpu.multiprocessors * ISSUED_PER_CYCLE) * cycles_ns
    block = launch.block_instructions * sass * CYCLES_PER_INSTRUCTION
    block += launch.block_accesses * CYCLES_PER_ACCESS * waits
    memory = num_bytes / gpu.bandwidth_gb_s
    return max(issue, block * cycles_ns, memory) / 1000 + gpu.launch_us


def model_of_map(name: str, launches: list[LaunchCounts]) -> dict[str, float]:
    """Microseconds of all launches on each GPU; the first one reads the map from memory."""
    num_bytes = MAPS[name]().nbytes if name in MAPS else 0
    return {
        gpu.name: round(
            sum(model_us(gpu, each, 0 if i else num_bytes) for i, each in enumerate(launches)), 1
        )
        for gpu in GPUS
    }


def report(counts: dict[str, list[LaunchCounts]]) -> dict[str, object]:
    """What is recorded: counts by map and kernel, and the model's times."""
    return {
        "command": "python tests/ptx/counts.py",
        "compiler": "NVRTC 12.9.86, PTX for compute_75 (the same for compute_61 and compute_90)",
        "counts": {
            name: {each.kernel: dict(list(each._asdict().items())[1:]) for each in launches}
            for name, launches in counts.items()
        },
        "model": "on paper, no measurement; good to a factor of two; see tests/ptx/counts.py",
        "model_us": {name: model_of_map(name, launches) for name, launches in counts.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--output", type=Path, default=RECORD, help="file of the counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        emulator = Emulator(build_emulator(Path(folder) / "kernels.so"))
        texts = compile_kernels("compute_75")
        emulator.use(compile_ptx(list(texts.values()), Path(folder)))
        result = report(count_all(emulator))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for name, times in report_times(result):
        print(f"{name}: {times}")


def report_times(result: dict[str, object]) -> list[tuple[str, str]]:
    times = result["model_us"]
    assert isinstance(times, dict)
    return [
        (name, ", ".join(f"{gpu} {us} us" for gpu, us in of_map.items()))
        for name, of_map in times.items()
    ]


if __name__ == "__main__":
    main()
