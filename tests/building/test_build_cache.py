# SPDX-License-Identifier: Apache-2.0
"""Cache of built engines."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt.building import build
from dbnet_trt.building.build import build_engine
from fakes.tiny_model import make_model
from onnx import numpy_helper

from .conftest import SMALL


def test_second_build_comes_from_the_cache(rtx: Any, no_gpu: None, folder: Path) -> None:
    source = make_model(folder / "a.onnx")
    first = build_engine(source, folder / "first.engine", config=SMALL)
    second = build_engine(source, folder / "second.engine", config=SMALL)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.card == first.card
    assert second.path.read_bytes() == first.path.read_bytes()
    for changes in (
        {"precision": "fp16"},
        {"shapes": "32x32/64x64/128x160"},
        {"batch": 1},
        {"compute_capability": "86"},
        {"check": False},
        {"cache": False},
    ):
        config = dataclasses.replace(SMALL, **changes)
        assert not build_engine(source, folder / "b.engine", config=config).from_cache, changes
    make_model(source, weight=21.0)
    assert not build_engine(source, folder / "b.engine", config=SMALL).from_cache


def test_cache_says_what_was_checked(rtx: Any, no_gpu: None, folder: Path) -> None:
    source = make_model(folder / "a.onnx")
    for check in (False, True):
        config = dataclasses.replace(SMALL, check=check)
        first, second = (build_engine(source, config=config) for _ in range(2))
        assert (first.from_cache, second.from_cache) == (False, True)
        if check:
            assert "boxes the same" in first.checked
            assert second.checked == f"when it was first built: {first.checked}"
        else:
            assert (first.checked, second.checked) == ("no", "no")


def test_weights_beside_the_file_are_part_of_the_key(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "whole.onnx"))
    for tensor in model.graph.initializer:  # only raw data is written beside
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    source = folder / "a.onnx"
    onnx.save_model(model, source, save_as_external_data=True, location="w", size_threshold=0)
    assert not build_engine(source, config=SMALL).from_cache
    assert build_engine(source, config=SMALL).from_cache
    values = np.fromfile(folder / "w", np.float32)
    (values * 2).tofile(folder / "w")
    assert not build_engine(source, config=SMALL).from_cache


def test_another_version_is_built_again(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    build_engine(source, config=SMALL)
    monkeypatch.setattr(rtx, "__version__", "1.0.0")
    assert not build_engine(source, config=SMALL).from_cache


def test_damaged_cache_is_built_again(rtx: Any, no_gpu: None, folder: Path) -> None:
    source = make_model(folder / "a.onnx")
    build_engine(source, config=SMALL)
    (entry,) = (folder / "cache" / "dbnet_trt" / "engines").glob("*.blob")
    entry.write_bytes(entry.read_bytes()[:-1])
    assert not build_engine(source, config=SMALL).from_cache


def test_old_engines_are_deleted(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    build_engine(source, config=SMALL)
    (first,) = (folder / "cache" / "dbnet_trt" / "engines").glob("*.blob")
    os.utime(first, (0, 0))
    monkeypatch.setattr(build, "MAX_CACHE_BYTES", int(1.5 * first.stat().st_size))
    build_engine(source, config=dataclasses.replace(SMALL, batch=1))
    (second,) = (folder / "cache" / "dbnet_trt" / "engines").glob("*.blob")
    assert second != first
