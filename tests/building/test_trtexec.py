# SPDX-License-Identifier: Apache-2.0
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest
from dbnet_trt import BuildError
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.trtexec import write_graph
from dbnet_trt.cli.app import main
from fakes.tiny_model import make_int8_model, make_model, scene
from onnxruntime import InferenceSession


def test_graph_and_command(tmp_path: Path) -> None:
    source, path = make_model(tmp_path / "a.onnx"), tmp_path / "new" / "my graph.onnx"
    config = BuildConfig("fp16", "32x64/64x96/128x160", batch=2)
    command = shlex.split(write_graph(source, path, config=config))
    model = onnx.load(path)
    onnx.checker.check_model(model)
    name = model.graph.input[0].name
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert command[:2] == ["trtexec", f"--onnx={path}"]
    for option in (
        f"--saveEngine={path.with_suffix('.plan')}",
        "--stronglyTyped",
        f"--minShapes={name}:1x3x32x64",
        f"--optShapes={name}:2x3x64x96",
        f"--maxShapes={name}:2x3x128x160",
        "--inputIOFormats=fp16:chw",
        "--outputIOFormats=fp16:chw",
    ):
        assert option in command


def test_model_itself_is_refused(tmp_path: Path) -> None:
    source = make_model(tmp_path / "a.onnx")
    before = source.read_bytes()
    with pytest.raises(BuildError, match="would be overwritten"):
        write_graph(source, source)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "config", "says"),
    [
        ("g.plan", BuildConfig(), "must name an .onnx file"),
        ("g.onnx", BuildConfig(rtx=True), "leave out --rtx"),
        ("g.onnx", BuildConfig(compute_capability="8.9"), "leave out --rtx"),
    ],
)
def test_what_trtexec_does_not_do(
    name: str, config: BuildConfig, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        write_graph(make_model(tmp_path / "a.onnx"), tmp_path / name, config=config)
    assert not (tmp_path / name).exists()


def test_a_file_in_int8_keeps_its_nodes_and_halves_the_rest(tmp_path: Path) -> None:
    path, graph = make_int8_model(tmp_path / "a.onnx"), tmp_path / "g.onnx"
    command = write_graph(path, graph, config=BuildConfig("int8"))
    model = onnx.load(graph)
    onnx.checker.check_model(model)
    assert "--inputIOFormats=fp16:chw" in command
    types = {each.name: each.data_type for each in model.graph.initializer}
    half = onnx.TensorProto.FLOAT16
    for kind in ("QuantizeLinear", "DequantizeLinear"):
        (node,) = (node for node in model.graph.node if node.op_type == kind)
        assert [types[name] for name in node.input[1:]] == [half, onnx.TensorProto.INT8]
    image = scene()[:64, :96].astype(np.float32).transpose(2, 0, 1)[None] / 255
    session = {name: InferenceSession(name) for name in (path, graph)}
    before, after = (
        each.run(None, {each.get_inputs()[0].name: image.astype(dtype)})[0]
        for each, dtype in zip(session.values(), (np.float32, np.float16), strict=True)
    )
    np.testing.assert_allclose(after.astype(np.float32), before, atol=0.01)
    assert np.ptp(before) > 0.5


def test_precision_of_a_file_in_int8(tmp_path: Path) -> None:
    quantized, path = make_int8_model(tmp_path / "a.onnx"), make_model(tmp_path / "b.onnx")
    with pytest.raises(BuildError, match="in int8 already: build it with --precision int8"):
        write_graph(quantized, tmp_path / "g.onnx")
    config = BuildConfig("int8", calibration=str(tmp_path))
    with pytest.raises(BuildError, match="in int8 already"):
        write_graph(quantized, tmp_path / "g.onnx", config=config)
    with pytest.raises(ValueError, match="is not in int8; to quantize it.*--calibration FOLDER"):
        write_graph(path, tmp_path / "g.onnx", config=BuildConfig("int8"))
    write_graph(quantized, tmp_path / "g.onnx", config=BuildConfig("fp32"))
    onnx.checker.check_model(onnx.load(tmp_path / "g.onnx"))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = make_model(tmp_path / "a.onnx"), tmp_path / "g.onnx"
    assert main(["build", str(source), "--graph", str(path), "--precision", "fp32"]) == 0
    assert "--inputIOFormats=fp32:chw" in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(path))
    assert main(["build", str(source), "--graph", str(path), "--triton", str(tmp_path)]) == 2
    assert "writes nothing else" in capsys.readouterr().err
