# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt.engines import openvino as openvino_engine
from dbnet_trt.engines.onnx import CpuConfig, load_onnx
from tiny import make_model

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests leave the user's cache folder alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_openvino_keeps_few_shapes(tmp_path: Path, rng: np.random.Generator) -> None:
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    for i in range(1, openvino_engine.MAX_COMPILED_SHAPES + 4):
        engine(rng.random((1, 3, 32, 32 * i), np.float32))
    assert len(engine._compiled) == openvino_engine.MAX_COMPILED_SHAPES
    assert (1, 3, 32, 32) not in engine._compiled


def test_openvino_keeps_few_pixels(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "MAX_COMPILED_PIXELS", 32 * 32 * 10)
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    for columns, kept in ((4, [4]), (6, [4, 6]), (1, [6, 1]), (20, [20])):
        engine(rng.random((1, 3, 32, 32 * columns), np.float32))
        assert [shape[3] // 32 for shape in engine._compiled] == kept


def test_openvino_forgets_before_it_compiles(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_engine, "MAX_COMPILED_SHAPES", 2)
    engine: Any = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    compile_model = engine._core.compile_model
    held: list[int] = []

    class Core:
        def compile_model(self, *arguments: Any) -> Any:
            held.append(len(engine._compiled))
            return compile_model(*arguments)

    engine._core = Core()
    for i in range(1, 6):
        engine(rng.random((1, 3, 32, 32 * i), np.float32))
    assert held == [0, 1, 1, 1, 1]


def test_old_compiled_models_are_deleted(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    engine(np.zeros((1, 3, 32, 32), np.float32))
    (first,) = (cache / "dbnet_trt" / "openvino").glob("*.blob")
    os.utime(first, (0, 0))
    monkeypatch.setattr(openvino_engine, "MAX_CACHE_BYTES", int(1.5 * first.stat().st_size))
    engine(np.zeros((1, 3, 32, 64), np.float32))
    (second,) = (cache / "dbnet_trt" / "openvino").glob("*.blob")
    assert second != first


def test_compiled_models_are_kept_on_disk(cache: Path, tmp_path: Path) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))
    engine(np.zeros((1, 3, 32, 32), np.float32))
    assert any((cache / "dbnet_trt" / "openvino").iterdir())
