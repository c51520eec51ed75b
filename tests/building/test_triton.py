# SPDX-License-Identifier: Apache-2.0
"""Triton model, tested with a fake of Triton's Python module."""

import dataclasses
import json
import re
import runpy
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import CpuConfig, Detections, Detector
from dbnet_trt.building.triton import (
    TritonPythonModel,
    pack,
    write_cpu_repository,
    write_repository,
)
from dbnet_trt.cli.app import main
from dbnet_trt.engines.engine_card import read_engine_card
from dbnet_trt.engines.onnx_model import is_quantized
from dbnet_trt.engines.tensorrt import HostEngine, open_engine
from dbnet_trt.images.load import write_image
from dbnet_trt.zoo import FAMILIES
from fakes.tensorrt import install, write_engine
from fakes.tiny_model import CARD, make_model, scene


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        self.name, self.values = name, values

    def as_numpy(self) -> np.ndarray:
        return self.values


class Response:
    def __init__(self, output_tensors: Any = (), error: Any = None) -> None:
        self.tensors = {tensor.name: tensor.values for tensor in output_tensors}
        self.error = error


class Error:
    INVALID_ARG = "invalid argument"

    def __init__(self, message: str, code: str = "internal") -> None:
        self.message, self.code = message, code


@pytest.fixture
def fake_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    triton = types.ModuleType("triton_python_backend_utils")
    triton.__dict__.update(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=Error,
        get_input_tensor_by_name=lambda request, name: request[name],
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)


@pytest.fixture
def repository(tmp_path: Path, fake_triton: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    install(monkeypatch)
    engine = write_engine(tmp_path / "a.engine", CARD)
    write_repository(tmp_path / "models", engine, read_engine_card(engine))
    return tmp_path / "models"


def open_without_kernels(path: Path, device: str) -> Detector:
    """Open detectors without the GPU pipeline: the fake GPU runs engines, but no kernels."""
    return Detector(HostEngine(open_engine(path, device)))


def start(folder: Path, kind: str) -> TritonPythonModel:
    """Start a model as Triton does: the class from model.py, arguments from config.pbtxt."""
    text = (folder / "config.pbtxt").read_text()
    (file,) = re.findall(r'string_value: "(.*?)"', text)
    (max_batch,) = re.findall(r"max_batch_size: (\d+)", text)
    assert f"kind: KIND_{kind}," in text
    config = {
        "max_batch_size": int(max_batch),
        "parameters": {"model": {"string_value": file}},
    }
    loaded: TritonPythonModel = runpy.run_path(str(folder / "1" / "model.py"))[
        "TritonPythonModel"
    ]()
    loaded.initialize(
        {
            "model_config": json.dumps(config),
            "model_repository": str(folder),
            "model_version": "1",
            "model_instance_kind": kind,
            "model_instance_device_id": "0",
        }
    )
    return loaded


@pytest.fixture
def model(repository: Path, monkeypatch: pytest.MonkeyPatch) -> TritonPythonModel:
    monkeypatch.setattr("dbnet_trt.building.triton.Detector", open_without_kernels)
    return start(repository / "tiny", "GPU")


def request(*images: bytes) -> dict[str, Tensor]:
    return {"IMAGE": Tensor("IMAGE", np.array([[image] for image in images], np.object_))}


def encode(folder: Path, image: np.ndarray) -> bytes:
    write_image(folder / "x.png", image)
    return (folder / "x.png").read_bytes()


def test_repository(repository: Path) -> None:
    folder = repository / "tiny"
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["1/a.engine", "1/a.engine.json", "1/model.py", "config.pbtxt"]
    text = (folder / "config.pbtxt").read_text()
    assert 'name: "tiny"' in text
    assert "max_batch_size: 4" in text  # the engine's largest batch
    assert "dynamic_batching" in text
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")


def test_every_request_gets_its_own_response(model: TritonPythonModel, tmp_path: Path) -> None:
    images = [scene(120, 200, 2), scene(120, 200, 1), scene(160, 120, 0)]
    one, two, none = (encode(tmp_path, image) for image in images)
    responses = model.execute([request(one), request(two, one, none), request(none)])
    assert [response.error for response in responses] == [None] * 3
    counts = [response.tensors["COUNT"].tolist() for response in responses]
    assert counts == [[[2]], [[1], [2], [0]], [[0]]]
    detector = Detector(make_model(tmp_path / "a.onnx"), cpu=CpuConfig(backend="onnxruntime"))
    expected = detector.detect(images[0])
    for values in (responses[0].tensors, {k: v[1:2] for k, v in responses[1].tensors.items()}):
        np.testing.assert_allclose(values["QUADS"][0], expected.quads, atol=1e-3)
        np.testing.assert_allclose(values["SCORES"][0], expected.scores, atol=1e-3)


def test_broken_image_fails_only_its_request(model: TritonPythonModel, tmp_path: Path) -> None:
    good = encode(tmp_path, scene())
    responses = model.execute([request(good), request(good, b"no image"), request(good)])
    assert [response.error is None for response in responses] == [True, False, True]
    assert [len(response.tensors) for response in responses] == [3, 0, 3]
    assert responses[2].tensors["COUNT"].tolist() == [[2]]
    assert responses[1].error.code == Error.INVALID_ARG  # the client's fault, not the server's


@pytest.mark.usefixtures("fake_triton")
def test_onnx_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_model(tmp_path / "a.onnx")
    models = tmp_path / "models"
    assert main(["build", str(source), "--target", "cpu", "--triton", str(models)]) == 0
    assert "model a" in capsys.readouterr().out
    files = sorted(str(path.relative_to(models)) for path in models.rglob("*") if path.is_file())
    assert files == ["a/1/a.onnx", "a/1/model.py", "a/config.pbtxt"]
    served = start(models / "a", "CPU")
    (response,) = served.execute([request(encode(tmp_path, scene(120, 200, 2)))])
    expected = Detector(source).detect(scene(120, 200, 2))
    assert response.tensors["QUADS"][0].tolist() == expected.quads.tolist()


@pytest.mark.usefixtures("fake_triton")
def test_models_that_come_in_int8_need_no_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    command = ["build", "dbnet-lines", "--target", "cpu", "--precision", "int8"]
    assert main([*command, "--triton", str(models)]) == 0
    (file,) = models.rglob("*.onnx")
    assert is_quantized(onnx.load(file))
    assert start(file.parents[1], "CPU") is not None
    capsys.readouterr()
    for options in ([], ["--triton", str(models), "--output", "a.onnx"]):
        assert main([*command, *options]) == 2
    errors = capsys.readouterr().err
    assert "a model that comes in int8 (`dbnet models`) runs on CPUs as it is" in errors
    assert "--output is for a file in int8 that is made" in errors


def test_cards_of_other_projects_go_along(tmp_path: Path) -> None:
    card = dataclasses.replace(FAMILIES["mmocr"], output="logit")
    model = make_model(tmp_path / "a.onnx", card=None)
    folder = write_cpu_repository(tmp_path / "models", model, card)
    served = Detector(folder / "1" / "a.onnx").card
    assert (served.mean, served.output) == (card.mean, "logit")


def test_output_is_for_int8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", str(make_model(tmp_path / "a.onnx")), "--target", "cpu"]
    assert main([*command, "--triton", "models", "--output", "b.onnx"]) == 2
    assert "--output is for a file in int8" in capsys.readouterr().err
    assert main(command) == 2
    assert "only int8 is built" in capsys.readouterr().err


def test_pack_pads_with_zeros() -> None:
    few = Detections(np.ones((1, 4, 2), np.float32), np.ones(1, np.float32))
    many = Detections(np.full((3, 4, 2), 2, np.float32), np.full(3, 0.5, np.float32))
    packed = pack([few, many])
    assert {name: value.shape for name, value in packed.items()} == {
        "QUADS": (2, 3, 4, 2),
        "SCORES": (2, 3),
        "COUNT": (2, 1),
    }
    assert packed["QUADS"][0].sum() == 8
    assert packed["SCORES"].tolist() == [[1, 0, 0], [0.5, 0.5, 0.5]]
    assert packed["COUNT"].dtype == np.int32
