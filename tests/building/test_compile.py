# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import onnx
import pytest
from dbnet_trt import BuildConfig, BuildError, build_engine
from dbnet_trt.building import compile as compile_module
from fakes.tiny_model import make_model


def test_timing_cache_is_read_and_written(
    rtx: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls of a fake TensorRT are recorded, as no library here builds for its own GPU."""
    calls = []

    class Config:
        def create_timing_cache(self, data: bytes) -> str:
            calls.append(data)
            return "cache"

        def set_timing_cache(self, cache: str, ignore_mismatch: bool) -> bool:
            return len(calls) != 2  # the cache that the second build reads is of another GPU

        def get_timing_cache(self) -> Any:
            return type("Cache", (), {"serialize": lambda _: b"measured"})()

    path = folder / "a.timing"
    for _ in range(2):
        with compile_module._timing_cache(object(), Config(), path):
            pass
    assert calls == [b"", b"measured", b""]
    assert path.read_bytes() == b"measured"


def test_a_full_cache_does_not_cost_the_engine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compile_module, "write_atomically", Mock(side_effect=OSError(28, "full")))
    with compile_module._timing_cache(object(), MagicMock(), folder / "a.timing"):
        pass
    assert "timings of kernels are not kept" in caplog.text


def fix_sides(path: Path, *sides: int) -> Path:
    """Give a model's input and output these fixed sides: batch, height, width."""
    model = onnx.load(path)
    for value in (model.graph.input[0], model.graph.output[0]):
        dims = value.type.tensor_type.shape.dim
        for dim, side in zip((dims[0], *dims[-2:]), sides, strict=True):
            dim.dim_value = side
    onnx.save(model, path)
    return path


def test_a_model_of_one_size_says_how_to_build_it(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = fix_sides(make_model(folder / "a.onnx"), 1, 64, 96)
    options: dict[str, Any] = {"rtx": True, "precision": "fp32", "compute_capability": "86"}
    with pytest.raises(BuildError, match="--shapes 64x96 --batch 1"):
        build_engine(model, config=BuildConfig(**options))
    built = build_engine(model, config=BuildConfig(**options, shapes="64x96"))
    assert built.card.shapes[0] == built.card.shapes[2] == (1, 64, 96)
