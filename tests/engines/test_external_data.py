# SPDX-License-Identifier: Apache-2.0
"""Weights beside an ONNX file come from the file's folder, and count in its digest."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import EngineError
from dbnet_trt.building.lowering import read_network
from dbnet_trt.engines.onnx_model import digest_file
from dbnet_trt.opening import load_onnx
from dbnet_trt.settings import CpuConfig
from fakes.tiny_model import CARD, make_model
from onnx import numpy_helper

BATCH = np.ones((1, 3, 32, 64), np.float32)


def make_split(folder: Path, weight: float = 20.0, location: str = "a.onnx.data") -> Path:
    """A model whose weights lie beside it."""
    folder.mkdir(exist_ok=True)
    model = onnx.load(make_model(folder / "whole.onnx", weight=weight))
    for tensor in model.graph.initializer:  # only raw data is written beside
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save_model(
        model, folder / "a.onnx", save_as_external_data=True, location=location, size_threshold=0
    )
    (folder / "whole.onnx").unlink()
    return folder / "a.onnx"


def relocate(path: Path, **changes: str) -> None:
    """Change where the weights are said to lie."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = changes.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())


@pytest.fixture(params=["onnxruntime", "openvino"])
def backend(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(request.param)
    return request.param


def test_weights_come_from_the_files_folder(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_split(tmp_path / "model")
    for name, weight in (("empty", None), ("other", 7.0)):
        where = tmp_path / name
        where.mkdir()
        if weight is not None:
            make_split(where, weight)
        monkeypatch.chdir(where)
        maps = load_onnx(path, config=CpuConfig(backend))(BATCH)
        np.testing.assert_allclose(maps, 20, rtol=1e-5)
    monkeypatch.chdir(path.parent)
    np.testing.assert_allclose(load_onnx(Path("a.onnx"))(BATCH), 20, rtol=1e-5)


def test_missing_weights_are_named(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_split(tmp_path / "model")
    make_split(tmp_path / "other")
    (tmp_path / "model" / "a.onnx.data").unlink()
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(EngineError, match=r"there is no file .*model/a\.onnx\.data"):
        load_onnx(path, config=CpuConfig(backend))


@pytest.mark.parametrize("location", ["/etc/hostname", "../a.data", "x/../../a.data", "C:\\a", ""])
def test_weights_elsewhere_are_refused(location: str, tmp_path: Path) -> None:
    path = make_split(tmp_path / "model")
    relocate(path, location=location)
    with pytest.raises(EngineError, match="not a file beside it"):
        load_onnx(path)


@pytest.mark.parametrize("changes", [{"offset": "100000"}, {"offset": "-4"}, {"length": "99999"}])
def test_weights_that_are_cut_off(changes: dict[str, str], tmp_path: Path) -> None:
    path = make_split(tmp_path / "model")
    relocate(path, **changes)
    with pytest.raises(EngineError, match="cut off, or another model's"):
        load_onnx(path)
    relocate(path, offset="many")
    with pytest.raises(EngineError, match="damaged offset or length"):
        load_onnx(path)


def test_digest_covers_the_weights(tmp_path: Path) -> None:
    path = make_split(tmp_path / "model")
    data = path.with_name("a.onnx.data")
    digest = hashlib.sha256(path.read_bytes() + data.read_bytes()).hexdigest()
    assert digest_file(path) == digest
    card = dataclasses.replace(CARD, sha256=digest)
    load_onnx(path, card)
    values = np.fromfile(data, np.float32)
    (values * 2).tofile(data)
    assert digest_file(path) != digest
    with pytest.raises(EngineError, match="SHA-256 differs"):
        load_onnx(path, card)


def test_whole_files_have_the_digest_of_their_bytes(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    assert digest_file(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_engines_are_built_with_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_split(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    maps = read_network(path).on_cpu()(BATCH)
    np.testing.assert_allclose(maps, 20, rtol=1e-5)
