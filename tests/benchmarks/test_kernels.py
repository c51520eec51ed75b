# SPDX-License-Identifier: Apache-2.0
"""benchmarks/kernels.py with the emulator as GPU: results are checked, times are not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.cuda import FakeCuda
from maps import text_map

torch = pytest.importorskip("torch")


def on_host(function: Callable[..., Any]) -> Callable[..., Any]:
    def make(*arguments: Any, device: str = "", **options: Any) -> Any:
        return function(*arguments, **options)

    return make


@pytest.fixture
def benchmark(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    path = Path(__file__).parents[2] / "benchmarks" / "kernels.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_kernels", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_core", cuda.core)
    monkeypatch.setattr(module, "current_stream", lambda: 0)
    monkeypatch.setattr(module, "time_us", lambda work, repeats: work() or {"p50_us": 1.0})
    monkeypatch.setattr(torch.Tensor, "cuda", lambda tensor: tensor)
    for name in ("empty", "zeros", "empty_like"):
        monkeypatch.setattr(torch, name, on_host(getattr(torch, name)))
    return module


def test_rows(benchmark: Any, rng: np.random.Generator) -> None:
    """A result that differs from the CPU's is an AssertionError."""
    (row,) = benchmark.preprocess_rows(rng.integers(0, 256, (40, 64, 3), dtype=np.uint8), 1)
    assert row["work"].startswith("preprocess, 40x64 to 160x256")
    rows = benchmark.boxes_rows("small", text_map(96, 128, 5, rng), 5)
    assert [each["work"].partition(",")[0] for each in rows[:2]] == [
        "find_boxes",
        "find_boxes and labels",
    ]


def test_picture(benchmark: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    benchmark.draw([{"work": "find_boxes", "p50_us": 2.0, "floor_us": 1.0}], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
