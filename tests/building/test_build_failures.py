# SPDX-License-Identifier: Apache-2.0
"""Builds that fail: error messages, and files left behind."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import BuildError, EngineError
from dbnet_trt.building import build
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.lowering import lower
from dbnet_trt.engines.engine_card import card_path
from fakes.tiny_model import make_model

from .conftest import SMALL

PRESS_CTRL_C = """
import logging, os, signal, sys, time
from dbnet_trt.building import build
from dbnet_trt.gpu_status import CudaStatus

build_status = CudaStatus((), None, None, ())
signal.signal(signal.SIGINT, signal.default_int_handler)  # may be ignored where tests run
logging.basicConfig(level=logging.ERROR)
build.read_cuda_status = lambda: build_status
phases = []

def press_ctrl_c(phase, *step):
    phases.append(phase)
    if len(phases) == 1:
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.05)  # the other thread hears of it

shapes = "32x32/64x96/128x160"
config = build.BuildConfig("fp32", shapes, rtx=True, compute_capability="86")
try:
    build.build_engine("a.onnx", config=config, progress=press_ctrl_c)
except KeyboardInterrupt:
    assert "Computing profile costs" not in phases, "it did not stop early"
    print("interrupted")
"""


def test_interrupted_build_leaves_nothing(rtx: Any, folder: Path) -> None:
    """The build runs in another process, as on the command line: the state of TensorRT after an
    interrupted build is unknown."""
    make_model(folder / "a.onnx")
    command = [sys.executable, "-c", PRESS_CTRL_C]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")
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


def test_output_is_checked_before_the_build(no_gpu: None, folder: Path) -> None:
    (folder / "file").touch()
    for output, message in [
        ("file/a.engine", "not a writable folder"),
        (".", "is a folder; name the file"),
    ]:
        with pytest.raises(BuildError, match=message):
            build_engine("never-looked-for", Path(output), config=SMALL)


@pytest.mark.parametrize("name", ["a.pt", "model.pdparams", "file"])
def test_files_that_are_not_models(name: str, folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(EngineError, match=r"\(\.onnx, \.safetensors\) or a name"):
        build_engine(name, config=SMALL)


def test_unknown_operator(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx"))
    model.graph.node[-1].op_type = "Enchant"
    onnx.save(model, folder / "a.onnx")
    config = dataclasses.replace(SMALL, check=False)
    with pytest.raises(BuildError, match=r"TensorRT-RTX cannot read \"tiny\".*Enchant"):
        build_engine(folder / "a.onnx", config=config)
    assert not list(folder.glob("*.engine"))


def test_shapes_that_the_network_does_not_accept(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    onnx.save(model, folder / "a.onnx")
    config = dataclasses.replace(SMALL, check=False)
    with pytest.raises(BuildError, match="--shapes 64xWIDTH"):
        build_engine(folder / "a.onnx", config=config)


def test_the_model_is_not_overwritten(rtx: Any, no_gpu: None, folder: Path) -> None:
    source = make_model(folder / "a.onnx")
    before = source.read_bytes()
    with pytest.raises(BuildError, match="is the model itself"):
        build_engine(source, folder / "x" / ".." / "a.onnx", config=SMALL)
    assert source.read_bytes() == before


def test_shapes_have_a_limit() -> None:
    assert dataclasses.replace(SMALL, shapes="8192x8192").profile
    with pytest.raises(ValueError, match="at most 67108864 pixels"):
        _ = dataclasses.replace(SMALL, shapes="32x32/64x64/8224x8192").profile


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
    with pytest.raises(BuildError, match="finds other text than ONNX Runtime"):
        build_engine(source, config=SMALL)
    assert not list(folder.glob("*.engine*"))
