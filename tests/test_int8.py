# SPDX-License-Identifier: Apache-2.0
"""Choice of a model's file in int8, by name, precision and CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from dbnet_trt import BuildError, CpuConfig, Detector, EngineError, zoo
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.trtexec import write_graph
from dbnet_trt.cli.app import main
from dbnet_trt.engines import cpu_features
from dbnet_trt.engines.cpu_features import INT8_FEATURES, int8_feature, int8_is_faster
from dbnet_trt.engines.onnx_model import is_quantized
from dbnet_trt.opening import choose_backend, load_onnx
from fakes.tiny_model import CARD, make_int8_model, make_model, scene

BACKENDS = ["openvino", "onnxruntime"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install the named model "tiny", whose package holds tiny.onnx only."""
    package = tmp_path / "tiny_weights"
    package.mkdir()
    (package / "__init__.py").touch()
    make_model(package / "tiny.onnx", card=None)
    monkeypatch.syspath_prepend(tmp_path)
    model = zoo.PackagedModel(CARD, "tiny_weights", "tiny.onnx", "pip install tiny")
    monkeypatch.setitem(zoo.MODELS, "tiny", model)
    return package


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let int8 be measured as faster on this CPU, in every library."""
    monkeypatch.setattr(cpu_features, "int8_feature", lambda: "avx2")
    gain = {("avx2", backend): 1.3 for backend in BACKENDS}
    monkeypatch.setattr(cpu_features, "INT8_GAIN", gain)


def precision_of(config: CpuConfig) -> str:
    detector = Detector("tiny", cpu=config)
    assert len(detector.detect(scene())) == 2
    return repr(detector)


def test_without_a_file_all_is_as_before(folder: Path, faster: None) -> None:
    assert "int8" not in precision_of(CpuConfig())
    with pytest.raises(EngineError, match=r'"tiny" does not come in int8.*dbnet-build tiny --targ'):
        Detector("tiny", cpu=CpuConfig(precision="int8"))


def test_auto_takes_the_file_where_it_is_faster(
    folder: Path, faster: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_int8_model(folder / "tiny.int8.onnx")
    assert "int8" in precision_of(CpuConfig())
    assert "int8" not in precision_of(CpuConfig(precision="fp32"))
    assert main(["models"]) == 0
    assert "tiny.int8.onnx  in int8" in capsys.readouterr().out.replace("\n", "")
    monkeypatch.setattr(cpu_features, "INT8_GAIN", {("avx2", "openvino"): 1.05})
    assert "int8" not in precision_of(CpuConfig())
    assert "int8" in precision_of(CpuConfig(precision="int8"))


def test_card_beside_the_file(folder: Path) -> None:
    make_int8_model(folder / "tiny.int8.onnx", card=None)
    (folder / "tiny.int8.json").write_text(CARD.to_json(), encoding="utf-8")
    assert "int8" in precision_of(CpuConfig(precision="int8"))


def test_engine_in_int8_is_built_from_the_file(folder: Path) -> None:
    """Without calibration; its card is the file's own."""
    with pytest.raises(ValueError, match='"tiny" in .* is not in int8'):
        write_graph("tiny", folder / "g.onnx", config=BuildConfig("int8"))
    make_int8_model(folder / "tiny.int8.onnx")
    write_graph("tiny", folder / "g.onnx", config=BuildConfig("int8"))
    assert is_quantized(onnx.load(folder / "g.onnx"))
    write_graph("tiny", folder / "g.onnx", config=BuildConfig("fp16"))
    assert not is_quantized(onnx.load(folder / "g.onnx"))


def test_engine_in_int8_is_compared_with_the_network_in_fp32(
    rtx: Any, no_gpu: None, folder: Path
) -> None:
    """A file in int8 that finds nothing does not become an engine."""
    path = make_int8_model(folder / "tiny.int8.onnx")
    config = BuildConfig(
        "int8", "32x32/320x416/640x640", rtx=True, compute_capability="86", cache=False
    )
    built = build_engine("tiny", folder / "good.engine", config=config)
    assert built.card.precision == "int8"
    model = onnx.load(path)
    (scale,) = (each for each in model.graph.initializer if each.name == "scale")
    scale.CopyFrom(onnx.helper.make_tensor("scale", onnx.TensorProto.FLOAT, [], [1e-4]))
    onnx.save(model, path)
    with pytest.raises(BuildError, match="finds other text than ONNX Runtime in fp32"):
        build_engine("tiny", folder / "bad.engine", config=config)
    assert not (folder / "bad.engine").exists()


@pytest.mark.parametrize("backend", BACKENDS)
def test_precision_of_a_file_is_checked(backend: Any, tmp_path: Path) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    path = make_int8_model(tmp_path / "q.onnx")
    for precision in ("auto", "int8"):
        assert "int8" in load_onnx(path, config=CpuConfig(backend, precision)).description
    with pytest.raises(EngineError, match=r"q\.onnx is quantized to int8, fp32 was requested"):
        load_onnx(path, config=CpuConfig(backend, "fp32"))
    with pytest.raises(EngineError, match=r"a\.onnx is not quantized, int8 was requested"):
        load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig(backend, "int8"))


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni\n", "avx512_vnni"),
        ("model name: x\nflags : avx2 avx512_vnni amx_int8", "amx_int8"),
        ("flags : avx_vnni avx2", "avx_vnni"),
        ("flags : sse4_2", ""),
        ("Features : neon", ""),
    ],
)
def test_instructions_of_the_cpu(
    text: str, feature: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(cpu_features, "CPU_INFO", tmp_path / "cpuinfo")
    int8_feature.cache_clear()
    assert int8_feature() == feature
    monkeypatch.setattr(cpu_features, "CPU_INFO", tmp_path / "none")
    int8_feature.cache_clear()
    assert int8_feature() == ""
    int8_feature.cache_clear()


def test_what_was_not_measured_is_not_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_features, "int8_feature", lambda: "")
    assert not int8_is_faster("openvino")
    assert all(feature in INT8_FEATURES for feature, _ in cpu_features.INT8_GAIN)
    assert choose_backend(CpuConfig("onnxruntime")) == "onnxruntime"
