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


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = make_model(tmp_path / "a.onnx"), tmp_path / "g.onnx"
    assert main(["build", str(source), "--graph", str(path), "--precision", "fp32"]) == 0
    assert "--inputIOFormats=fp32:chw" in capsys.readouterr().out
    onnx.checker.check_model(onnx.load(path))
    assert main(["build", str(source), "--graph", str(path), "--triton", str(tmp_path)]) == 2
    assert "writes nothing else" in capsys.readouterr().err
