# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import dataclasses
import hashlib
import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import EngineError, ModelCard
from dbnet_trt.cache import cache_folder
from dbnet_trt.engines.onnx_model import flush_denormals
from dbnet_trt.opening import load_onnx
from dbnet_trt.settings import CpuConfig
from fakes.tiny_model import CARD, make_model

BACKENDS = [
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
        ),
    ),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(1, 3, 32, 64), (3, 3, 64, 32), (2, 3, 32, 32)])
def test_engine_runs_the_network(
    backend: Any, shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig(backend))
    batch = rng.random(shape, np.float32)
    maps = engine(batch)
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps, 20 * batch.mean(axis=1), rtol=1e-5)
    assert engine.card == CARD
    assert "CPU" in engine.description


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_do_not_share_memory(
    backend: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig(backend))
    batch = rng.random((1, 3, 32, 32), np.float32)
    first = engine(batch)
    kept = first.copy()
    engine(batch * 2)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_do_not_disturb_each_other(
    backend: Any, tmp_path: Path, rng: np.random.Generator
) -> None:
    engine = load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig(backend))
    batches = [rng.random((1, 3, 32, 32 * (1 + i % 3)), np.float32) for i in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for batch, maps in zip(batches, pool.map(engine, batches), strict=True):
            np.testing.assert_allclose(maps, 20 * batch.mean(axis=1), rtol=1e-5)


def test_missing_cache_folder_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        assert cache_folder("openvino") is None
    assert "not kept" in caplog.text
    load_onnx(make_model(tmp_path / "a.onnx"))(np.zeros((1, 3, 32, 32), np.float32))


def test_flush_denormals(tmp_path: Path) -> None:
    model = onnx.load(make_model(tmp_path / "a.onnx"))
    assert flush_denormals(model) == 1
    assert flush_denormals(model) == 0
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(weights["denormal"], [0, 0, 1])
    np.testing.assert_array_equal(weights["weight"], [20])


def test_openvino_missing_is_an_error_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(EngineError, match="pip install openvino"):
        load_onnx(make_model(tmp_path / "a.onnx"), config=CpuConfig("openvino"))


def test_bf16_on_a_cpu_without_it(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    with pytest.raises(EngineError, match="no bf16 on the CPU"):
        load_onnx(path, config=CpuConfig("onnxruntime", "bf16"))
    ov = pytest.importorskip("openvino")
    if "BF16" not in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match="no bf16"):
            load_onnx(path, config=CpuConfig("openvino", "bf16"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"backend": "opnvino"}, 'did you mean "openvino"'),
        ({"precision": "int9"}, "precision must be one of"),
        ({"num_threads": -1}, "num_threads"),
    ],
)
def test_config_is_checked(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CpuConfig(**config)


# ---- wrong files and cards ---------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"not a network", bytes(500)])
def test_broken_files(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(data)
    with pytest.raises(EngineError, match="not an ONNX file, or a broken one"):
        load_onnx(path)


def test_cut_off_file(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(EngineError, match="broken"):
        load_onnx(path, CARD)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        load_onnx(tmp_path / "none.onnx")


def test_file_without_card_says_how_to_give_one(tmp_path: Path) -> None:
    path = make_model(tmp_path / "foreign.onnx", card=None)
    with pytest.raises(EngineError, match=r'no model card.*card="paddleocr".*foreign\.json'):
        load_onnx(path)
    assert load_onnx(path, CARD).card == CARD
    (tmp_path / "foreign.json").write_text(CARD.to_json(), encoding="utf-8")
    assert load_onnx(path).card == CARD


def test_broken_card_inside(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    model.metadata_props[0].value = "{"
    onnx.save(model, path)
    with pytest.raises(EngineError, match="broken model card"):
        load_onnx(path)


def test_card_of_another_file(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx", card=None)
    right = dataclasses.replace(CARD, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert load_onnx(path, right).card == right
    with pytest.raises(EngineError, match="SHA-256 differs"):
        load_onnx(path, dataclasses.replace(CARD, sha256="0" * 64))


def test_several_outputs_need_a_name(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx", num_outputs=2)
    with pytest.raises(EngineError, match='2 outputs .*"map".*"other".*output_name'):
        load_onnx(path)
    named = dataclasses.replace(CARD, input_name="image", output_name="other")
    assert load_onnx(path, named)(np.ones((1, 3, 32, 32), np.float32)).shape == (1, 32, 32)


@pytest.mark.parametrize("name", ["input_name", "output_name"])
def test_card_that_names_a_missing_output(name: str, tmp_path: Path) -> None:
    card = dataclasses.replace(CARD, **{name: "nothing"})  # type: ignore[arg-type]
    with pytest.raises(EngineError, match='"nothing", which its card names; it has: "'):
        load_onnx(make_model(tmp_path / "a.onnx"), card)


def test_outputs_that_are_not_maps(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is this a text detector"):
        load_onnx(make_model(tmp_path / "a.onnx", channels=5))


@pytest.mark.parametrize("backend", BACKENDS)
def test_map_of_another_size(backend: Any, tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    model.graph.node[-1].output[0] = "whole"
    pool = onnx.helper.make_node("MaxPool", ["whole"], ["map"], kernel_shape=[4, 4], strides=[4, 4])
    model.graph.node.append(pool)
    for dim in (2, 3):
        model.graph.output[0].type.tensor_type.shape.dim[dim].dim_param = f"quarter{dim}"
    onnx.save(model, path)
    engine = load_onnx(path, config=CpuConfig(backend))
    with pytest.raises(EngineError, match="map of the input's size"):
        engine(np.zeros((1, 3, 32, 32), np.float32))


def test_model_of_one_size(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx", sides=(64, 96))
    engine = load_onnx(path, config=CpuConfig("onnxruntime"))
    assert engine(np.zeros((1, 3, 64, 96), np.float32)).shape == (1, 64, 96)
    batch = np.zeros((1, 3, 96, 64), np.float32)
    with pytest.raises(EngineError, match=r"\(any, 3, 64, 96\), got \(1, 3, 96, 64\).*openvino"):
        engine(batch)


def test_embedded_card_survives(tmp_path: Path) -> None:
    card = ModelCard(name="mine", mean=(1, 2, 3), channel_order="rgb", license="Apache-2.0")
    assert load_onnx(make_model(tmp_path / "a.onnx", card)).card == card


def damaged(path: Path, how: str) -> Path:
    """A model that is broken in one place."""
    model = onnx.load(make_model(path))
    weight = model.graph.initializer[0]
    if how == "short weight":
        weight.raw_data = b"\0\0"
        weight.ClearField("float_data")
    elif how == "type of weight":
        weight.data_type = 99
    elif how == "unknown operator":
        model.graph.node[1].op_type = "Multiply"
    elif how == "missing input":
        model.graph.node[1].input[0] = "nowhere"
    elif how == "circle":
        model.graph.node[0].input[0] = "scaled"
    elif how == "opset":
        model.opset_import[0].version = 10**6
    elif how == "rank":
        model.graph.node[0].attribute[0].ints[0] = 9
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "how",
    [
        "short weight", "type of weight", "unknown operator", "missing input", "circle", "opset",
        "rank",
    ],
)  # fmt: skip
def test_damaged_models_are_one_error(how: str, backend: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineError) as raised:
        load_onnx(damaged(tmp_path / "a.onnx", how), config=CpuConfig(backend))(
            np.zeros((1, 3, 32, 32), np.float32)
        )
    assert "tiny" in str(raised.value) or "a.onnx" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("pads", [0, 0, -1, 0]),
        ("pads", [-(2**40), 0, 0, 0]),
        ("strides", [0, 1]),
        ("dilations", [1, -1]),
        ("kernel_shape", [0, 3]),
        ("group", 0),
        ("group", -1),
    ],
)
def test_attributes_out_of_range_do_not_reach_openvino(
    name: str, values: Any, tmp_path: Path
) -> None:
    attributes: dict[str, Any] = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3], name: values}
    node = onnx.helper.make_node("Conv", ["image", "kernel"], ["map"], **attributes)
    kernel = onnx.helper.make_tensor("kernel", onnx.TensorProto.FLOAT, [1, 3, 3, 3], [0.0] * 27)
    model = onnx.load(make_model(tmp_path / "a.onnx"))
    del model.graph.node[:]
    model.graph.node.append(node)
    model.graph.initializer.append(kernel)
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(EngineError, match="not valid ONNX"):
        load_onnx(tmp_path / "a.onnx", config=CpuConfig("openvino"))


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes().replace(b"height", b"h\xe1ight"))
    with pytest.raises(EngineError, match="is a broken ONNX file: a name in it is not UTF-8"):
        load_onnx(path, config=CpuConfig("onnxruntime"))
