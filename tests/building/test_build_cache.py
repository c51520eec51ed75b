# SPDX-License-Identifier: Apache-2.0
"""Cache of built engines."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt.building import build
from dbnet_trt.building.build import build_engine
from fakes.tiny_model import make_model

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
