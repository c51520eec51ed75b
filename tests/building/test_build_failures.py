# SPDX-License-Identifier: Apache-2.0
"""What a build leaves behind when it goes wrong, and what it says."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import BuildError
from dbnet_trt.building import build
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.lowering import lower
from dbnet_trt.engines.engine_card import card_path
from tiny import make_model

from building.conftest import SMALL


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Whoever runs the tests in the background may have SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupted_build_leaves_nothing(
    rtx: Any,
    no_gpu: None,
    ctrl_c_interrupts: None,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = make_model(folder / "a.onnx")
    steps = []

    def press_ctrl_c(*step: object) -> None:
        steps.append(step)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)  # the other thread hears of it

    with pytest.raises(KeyboardInterrupt):
        build_engine(source, config=SMALL, progress=press_ctrl_c)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert not any(phase == "Computing profile costs" for phase, *_ in steps)  # it stopped early
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["a.onnx"]


def test_full_disk_leaves_the_old_engine(
    rtx: Any,
    no_gpu: None,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = make_model(folder / "a.onnx")
    built = build_engine(source, config=SMALL)
    before = built.path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(BuildError, match=r"\.engine cannot be written: no space left"):
        build_engine(make_model(source, weight=3.0), built.path, config=SMALL)
    assert "not kept in the cache: no space left" in caplog.text
    assert built.path.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "a.onnx",
        built.path.name,
        card_path(built.path).name,
    ]


def test_output_is_looked_at_before_the_build(no_gpu: None, folder: Path) -> None:
    (folder / "file").touch()
    for output, message in [("file/a.engine", "no folder"), (".", "is a folder; --output names")]:
        with pytest.raises(BuildError, match=message):
            build_engine("never-looked-for", Path(output), config=SMALL)


@pytest.mark.parametrize("name", ["a.pt", "model.pdparams", "file"])
def test_files_that_are_no_models(name: str, folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(BuildError, match=r"\.onnx file, a \.safetensors checkpoint or the name"):
        build_engine(name, config=SMALL)


def test_operator_that_no_one_knows(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx"))
    model.graph.node[-1].op_type = "Enchant"
    onnx.save(model, folder / "a.onnx")
    config = dataclasses.replace(SMALL, check=False)
    with pytest.raises(BuildError, match=r"TensorRT-RTX cannot read \"tiny\".*Enchant"):
        build_engine(folder / "a.onnx", config=config)
    assert not list(folder.glob("*.engine"))


def test_shapes_that_the_network_does_not_take(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    onnx.save(model, folder / "a.onnx")
    config = dataclasses.replace(SMALL, check=False)
    with pytest.raises(BuildError, match="TensorRT"):
        build_engine(folder / "a.onnx", config=config)


def test_engine_that_finds_other_text_is_not_written(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    original = lower

    def break_weights(network: Any, *, half: bool) -> Any:
        lowered = original(network, half=half)
        for tensor in lowered.model.graph.initializer:
            if tensor.name == "weight":
                broken = onnx.numpy_helper.from_array(np.array([-20], np.float32), "weight")
                tensor.CopyFrom(broken)
        return lowered

    monkeypatch.setattr(build, "lower", break_weights)
    with pytest.raises(BuildError, match="does not find what ONNX Runtime finds"):
        build_engine(source, config=SMALL)
    assert not list(folder.glob("*.engine*"))
