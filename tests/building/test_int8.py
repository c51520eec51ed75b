# SPDX-License-Identifier: Apache-2.0
"""ONNX files in int8 for CPUs, and the changes of graphs that they need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import BuildError, CpuConfig, Detector, ImageError
from dbnet_trt.building import int8
from dbnet_trt.building.compile import Target, compile_network
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.int8 import quantize_for_cpu
from dbnet_trt.building.lowering import read_network
from dbnet_trt.building.quantized_graph import (
    list_layers,
    make_signed,
    restore,
    suit_openvino,
    to_fp32,
)
from dbnet_trt.cli.app import main
from dbnet_trt.engines.openvino import OpenVinoEngine
from dbnet_trt.images.load import write_image
from fakes.tiny_model import make_conv_model, make_model, scene
from network.graphs import CARD, make_detector, quantize
from onnx import TensorProto, helper, numpy_helper


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])


def quantized(rng: np.random.Generator, dtype: Any = np.uint8) -> tuple[Any, Any]:
    """Make relu(x) * w as a graph in fp32, and with Q/DQ of relu(x) in `dtype` and of w in int8."""
    weight = rng.normal(size=(2, 2, 1, 1)).astype(np.float32)
    scale = np.float32(np.abs(weight).max() / 127)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 4, 4])
    output = helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 2, 4, 4])
    relu = helper.make_node("Relu", ["image"], ["positive"])
    conv = helper.make_node("Conv", ["positive", "weight"], ["map"], name="layer")
    given = numpy_helper.from_array(weight, "weight")
    graph = helper.make_graph([relu, conv], "fp32", [image], [output], [given])
    opset = [helper.make_opsetid("", 13)]
    fp32 = helper.make_model(graph, opset_imports=opset, ir_version=8)
    levels = np.rint(weight / scale).astype(np.int8)
    arrays = {
        "step": np.float32(4 / np.iinfo(dtype).max),
        "zero": np.zeros((), dtype),
        "levels": levels,
        "scale": scale,
        "none": np.int8(0),
    }
    nodes = [
        relu,
        helper.make_node("QuantizeLinear", ["positive", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["dq"]),
        helper.make_node("DequantizeLinear", ["levels", "scale", "none"], ["w"]),
        helper.make_node("Conv", ["dq", "w"], ["map"], name="layer"),
    ]
    weights = [numpy_helper.from_array(np.asarray(each), name) for name, each in arrays.items()]
    graph = helper.make_graph(nodes, "int8", [image], [output], weights)
    return fp32, helper.make_model(graph, opset_imports=opset, ir_version=8)


def test_signed_keeps_the_range(rng: np.random.Generator) -> None:
    """uint8 to 4 becomes int8 to 4: half the levels, the same network."""
    _, model = quantized(rng)
    batch = rng.uniform(0, 4, (1, 2, 4, 4)).astype(np.float32)
    before = run(model, batch)
    make_signed(model)
    zeros = [t for t in model.graph.initializer if t.name in ("zero", "none")]
    assert {tensor.data_type for tensor in zeros} == {TensorProto.INT8}
    np.testing.assert_allclose(run(model, batch), before, atol=0.1)
    assert np.abs(run(model, batch)).max() > 1


def test_restored_layer_is_exact(rng: np.random.Generator) -> None:
    fp32, model = quantized(rng)
    assert list_layers(model) == ["layer"]
    batch = rng.normal(size=(1, 2, 4, 4)).astype(np.float32)
    assert np.abs(run(model, batch) - run(fp32, batch)).max() > 1e-3
    np.testing.assert_allclose(
        run(restore(model, fp32, "layer"), batch), run(fp32, batch), atol=1e-6
    )
    assert np.abs(run(model, batch) - run(fp32, batch)).max() > 1e-3  # a copy was changed


def test_a_graph_for_openvino(rng: np.random.Generator) -> None:
    """Biases and a Max behind the Concat change nothing; in int8 OpenVINO gives the same map."""
    fp32 = to_fp32(make_detector())
    batch = rng.normal(size=(1, 3, 64, 96)).astype(np.float32)
    expected = run(fp32, batch)
    suit_openvino(fp32)
    kinds = {node.name: node.op_type for node in fp32.graph.node}
    assert [name for name in kinds if kinds[name] == "Max"] == ["Conv_13_limit_max"]
    convs = {n.input[1]: len(n.input) for n in fp32.graph.node if n.op_type == "Conv"}
    assert convs == {
        "stem.w": 3,
        "down.w": 2,
        "deep.w": 3,
        "head.w": 2,
    }
    np.testing.assert_allclose(run(fp32, batch), expected, atol=1e-5)
    int8_graph = quantize(fp32)
    cpu = CpuConfig("openvino", "int8", num_threads=1)
    engine = OpenVinoEngine(int8_graph.SerializeToString(), CARD, cpu, "x", "map")
    engine.keep_nothing()
    found = run(int8_graph, batch)
    np.testing.assert_allclose(engine(batch), found[:, 0], atol=1e-4)
    assert np.abs(found - expected).max() > 1e-4


def test_a_concat_under_another_name(rng: np.random.Generator) -> None:
    """Casts between fp16 and fp32 behind a Concat are an Identity by then."""
    model = make_detector()
    graph = model.graph
    (conv,) = (node for node in graph.node if "head.w" in node.input)
    for old, new in (("features", "near"), ("near", "same")):
        copy = helper.make_node("Identity", [old], [new])
        graph.node.insert(list(graph.node).index(conv), copy)
    conv.input[0] = "same"
    fp32 = to_fp32(model)
    suit_openvino(fp32)
    (between,) = (node for node in fp32.graph.node if node.op_type == "Max")
    assert between.input[0] == "same"
    batch = rng.normal(size=(1, 3, 64, 96)).astype(np.float32)
    np.testing.assert_allclose(run(fp32, batch), run(make_detector(), batch), atol=1e-5)


def test_graphs_in_fp16_and_of_old_operators(tmp_path: Path, rng: np.random.Generator) -> None:
    """Weights and constants become fp32 initializers, nodes get names, operators version 13."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(make_conv_model(tmp_path / "a.onnx", rng))
    weight = model.graph.initializer[-1]
    constant = helper.make_node("Constant", [], [weight.name], value=weight)
    model.graph.initializer.remove(weight)
    model.graph.node.insert(0, constant)
    for node in model.graph.node:
        node.name = ""
    model.opset_import[0].version = 11
    batch = rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    expected = run(model, batch)
    for keep_io_types in (True, False):
        half = convert_float_to_float16(model, keep_io_types=keep_io_types)
        wide = to_fp32(half)
        assert wide.opset_import[0].version == 13
        assert all(node.name and node.op_type != "Constant" for node in wide.graph.node)
        types = {tensor.data_type for tensor in wide.graph.initializer}
        assert TensorProto.FLOAT16 not in types
        np.testing.assert_allclose(run(wide, batch), expected, atol=2e-3)


def test_weights_that_only_the_file_has_in_fp16(tmp_path: Path, rng: np.random.Generator) -> None:
    """A Cast behind each weight, as `dbnet export --precision fp16` writes it."""
    model = onnx.load(make_conv_model(tmp_path / "a.onnx", rng))
    graph = model.graph
    for tensor in [each for each in graph.initializer if each.name.startswith("weight")]:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        cast = helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=1)
        tensor.CopyFrom(numpy_helper.from_array(half, f"{tensor.name}_half"))
        graph.node.insert(0, cast)
    batch = rng.uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)
    wide = to_fp32(model)
    assert [node.op_type for node in wide.graph.node] == ["Conv"] * 3
    assert not any(tensor.name.endswith("_half") for tensor in wide.graph.initializer)
    np.testing.assert_allclose(run(wide, batch), run(model, batch), atol=1e-5)


@pytest.fixture
def photos(tmp_path: Path) -> str:
    for i in range(10):
        write_image(tmp_path / "photos" / f"{i}.png", scene(120 + i, 200, num_texts=2))
    return str(tmp_path / "photos")


def config_of(photos: str, **options: Any) -> BuildConfig:
    return BuildConfig("int8", calibration=photos, target="cpu", **options)


@pytest.mark.slow
class TestWithNncf:
    """Quantization itself."""

    @pytest.fixture(autouse=True)
    def nncf(self) -> None:
        pytest.importorskip("nncf", reason="nncf is not installed")

    def test_file_finds_the_same_text_in_every_engine(
        self, photos: str, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        path = make_conv_model(tmp_path / "a.onnx", rng)
        made = quantize_for_cpu(path, config=config_of(photos))
        assert made.path == Path("a.int8.onnx")
        assert made.left_out == ()
        assert "100.0 % in onnxruntime" in made.checked
        assert "int8 by NNCF" in made.card.source
        assert made.card.training_data.endswith(f"on 8 photos of {tmp_path.name}/photos")
        assert made.path.stat().st_size < 0.5 * path.stat().st_size
        expected = Detector(path).detect(scene())
        for backend in int8._engines():
            cpu = CpuConfig(backend)  # type: ignore[arg-type]
            detector = Detector(made.path, cpu=cpu)
            assert "int8" in repr(detector)
            found = detector.detect(scene())
            np.testing.assert_allclose(found.quads, expected.quads, atol=2)
            assert len(found) == 2
        with pytest.raises(BuildError, match="quantized already"):
            quantize_for_cpu(made.path, config=config_of(photos))

    def test_tensorrt_reads_the_file(
        self, rtx: Any, photos: str, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        made = quantize_for_cpu(make_conv_model(tmp_path / "a.onnx", rng), config=config_of(photos))
        shapes = (1, 32, 32), (1, 64, 96), (1, 128, 160)
        target = Target("tensorrt_rtx", ("8.6",), shapes)
        layers = dict(compile_network(read_network(made.path), target).layers)
        assert layers["quantize int8"] >= 3

    def test_weights_are_distilled_from_fp32(
        self,
        photos: str,
        tmp_path: Path,
        rng: np.random.Generator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("dbnet_trt.building.distillation.CROP", 64)
        path, options = make_conv_model(tmp_path / "a.onnx", rng), {"check": False}
        plain = quantize_for_cpu(path, tmp_path / "0.onnx", config=config_of(photos, **options))
        config = config_of(photos, distill_steps=8, **options)
        taught = quantize_for_cpu(path, tmp_path / "8.onnx", config=config)
        assert "distilled" not in plain.card.source
        assert "distilled from fp32 in 8 steps" in taught.card.source
        assert "calibrated on 8 and distilled on 8 photos of" in taught.card.training_data
        assert plain.path.stat().st_size == pytest.approx(taught.path.stat().st_size, abs=200)
        levels = [numpy_helper.to_array(each) for each in onnx.load(taught.path).graph.initializer]
        assert max(np.abs(each).max() for each in levels if each.dtype == np.int8) < 65

    def test_a_broken_photo_is_named(
        self, photos: str, tmp_path: Path, rng: np.random.Generator
    ) -> None:
        broken = Path(photos) / "1.png"
        broken.write_bytes(broken.read_bytes()[:100])
        with pytest.raises(ImageError, match=r"^\S*1\.png"):
            quantize_for_cpu(
                make_conv_model(tmp_path / "a.onnx", rng), config=config_of(photos, check=False)
            )

    def test_layers_that_hurt_are_left_out_and_listed(
        self,
        photos: str,
        tmp_path: Path,
        rng: np.random.Generator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The layer "second" spoils the boxes as long as it is quantized, as engines may do."""

        def spoilt(graph: onnx.ModelProto) -> bool:
            return "second" in list_layers(graph)

        monkeypatch.setattr(
            int8._Check, "agreements", lambda self, graph: {"a": 0.5 if spoilt(graph) else 0.95}
        )
        monkeypatch.setattr(int8._Check, "map_error", lambda self, graph, name: spoilt(graph))
        made = quantize_for_cpu(make_conv_model(tmp_path / "a.onnx", rng), config=config_of(photos))
        assert made.left_out == ("second",)
        assert "1 layers in floating point (second)" in made.card.source
        assert set(list_layers(onnx.load(made.path))) == {"first", "map"}
        monkeypatch.setattr(int8._Check, "agreements", lambda self, graph: {"a": 0.5})
        with pytest.raises(BuildError, match=r"other text in int8 .* 50\.0 % in a; give more"):
            quantize_for_cpu(tmp_path / "a.onnx", config=config_of(photos))

    def test_layers_are_ranked_by_the_error_of_the_map(
        self,
        photos: str,
        tmp_path: Path,
        rng: np.random.Generator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The layer that is left out is the one whose int8 costs most, in the worst engine."""
        errors: dict[str, float] = {}
        measure = int8._Check.map_error

        def record(self: Any, graph: onnx.ModelProto, name: str) -> float:
            assert name == "onnxruntime"
            (layer,) = {"first", "second", "map"} - set(list_layers(graph))
            errors[layer] = measure(self, graph, name)
            return errors[layer]

        def agreements(self: Any, graph: onnx.ModelProto) -> dict[str, float]:
            return {"openvino": 0.95, "onnxruntime": 1.0 if len(list_layers(graph)) < 3 else 0.5}

        monkeypatch.setattr(int8._Check, "agreements", agreements)
        monkeypatch.setattr(int8._Check, "map_error", record)
        made = quantize_for_cpu(make_conv_model(tmp_path / "a.onnx", rng), config=config_of(photos))
        assert set(errors) == {"first", "second", "map"}
        assert min(errors.values()) > 0
        assert made.left_out == (min(errors, key=lambda layer: errors[layer]),)

    def test_command(
        self,
        photos: str,
        tmp_path: Path,
        rng: np.random.Generator,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        make_conv_model(tmp_path / "a.onnx", rng)
        arguments = ["build", "a.onnx", "--target", "cpu", "--precision", "int8"]
        assert main([*arguments, "--calibration", photos, "--no-check"]) == 0
        printed = capsys.readouterr().out
        assert printed.splitlines() == ["a.int8.onnx  0.0 MB", "checked: no"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8", "target": "cpu", "calibration": "x"}, "fp8 is for engines of GPUs"),
        (
            {"precision": "int8", "target": "cpu", "calibration": "x", "distill_steps": -1},
            "distill-steps must be 0 or more, got -1",
        ),
        ({"precision": "int8", "target": "cpu", "rtx": True}, "--rtx is for engines of GPUs"),
        ({"precision": "int8", "target": "cpu", "compute_capability": "86"}, "--compute-capab"),
    ],
)
def test_settings_of_gpus_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BuildConfig(**options)


def test_wrong_arguments(photos: str, tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="only int8 is built"):
        quantize_for_cpu(path, config=BuildConfig("fp16", target="cpu"))
    with pytest.raises(ValueError, match="needs calibration images"):
        quantize_for_cpu(path, config=BuildConfig("int8", target="cpu"))
    with pytest.raises(ValueError, match=r"another \.onnx file"):
        quantize_for_cpu(path, path, config=config_of(photos))
    with pytest.raises(ValueError, match=r"another \.onnx file"):
        quantize_for_cpu(path, tmp_path / "a.engine", config=config_of(photos))
    for i in range(6):
        (tmp_path / "photos" / f"{i}.png").unlink()
    with pytest.raises(ValueError, match="expected 5 calibration photos or more, got 4"):
        quantize_for_cpu(path, config=config_of(photos))
    row = json.dumps({"image": "photos/9.png", "texts": []})
    (tmp_path / "same.jsonl").write_text(f"{row}\n" * 10)
    with pytest.raises(ValueError, match="expected 5 calibration photos or more, got 1"):
        quantize_for_cpu(path, config=config_of(f"jsonl:{tmp_path / 'same.jsonl'}"))


def test_missing_extra(photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "nncf", None)
    with pytest.raises(BuildError, match=r"pip install 'dbnet-trt\[int8\]'"):
        quantize_for_cpu(make_model(tmp_path / "a.onnx"), config=config_of(photos))


def test_photos_without_text(
    photos: str, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(10):
        write_image(tmp_path / "photos" / f"{i}.png", np.zeros((40, 60, 3), np.uint8))
    monkeypatch.delattr(int8._Quantizer, "quantize")  # it is seen before any work
    with pytest.raises(BuildError, match="no text is found on the 2 photos"):
        quantize_for_cpu(make_conv_model(tmp_path / "a.onnx", rng), config=config_of(photos))
