# SPDX-License-Identifier: Apache-2.0
import shlex
from pathlib import Path

import onnx
import pytest
from dbnet_trt import BuildError
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.trtexec import write_graph
from dbnet_trt.cli.app import main
from fakes.tiny_model import make_model


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


def test_int8_is_not_converted_to_half(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    (scale,) = (each for each in model.graph.initializer if each.name == "weight")
    model.graph.initializer.remove(scale)
    model.graph.initializer.extend(
        [
            onnx.helper.make_tensor("stored", onnx.TensorProto.INT8, [1], [20]),
            onnx.helper.make_tensor("step", onnx.TensorProto.FLOAT, [], [1.0]),
        ]
    )
    dequantize = onnx.helper.make_node("DequantizeLinear", ["stored", "step"], ["weight"])
    model.graph.node.insert(0, dequantize)
    onnx.save(model, path)
    with pytest.raises(BuildError, match="in int8 already"):
        write_graph(path, tmp_path / "g.onnx")
    write_graph(path, tmp_path / "g.onnx", config=BuildConfig("fp32"))
    onnx.checker.check_model(onnx.load(tmp_path / "g.onnx"))


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = make_model(tmp_path / "a.onnx"), tmp_path / "g.onnx"
    assert main(["build", str(source), "--graph", str(path), "--precision", "fp32"]) == 0
    assert "--inputIOFormats=fp32:chw" in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(path))
    assert main(["build", str(source), "--graph", str(path), "--triton", str(tmp_path)]) == 2
    assert "writes nothing else" in capsys.readouterr().err
