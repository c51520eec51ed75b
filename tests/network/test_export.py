# SPDX-License-Identifier: Apache-2.0
"""ONNX export gives the same results as PyTorch."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from dbnet_trt import BuildError, CpuConfig, Detections, Detector, EngineError, ModelCard
from dbnet_trt.card import METADATA_KEY
from dbnet_trt.network import export as exporting
from dbnet_trt.network.checkpoints import load_model, save_model
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.dbnet import DBNet
from dbnet_trt.network.export import export_checkpoint, export_onnx

from .test_dbnet import SWITCHES

pytestmark = pytest.mark.slow

CARD = ModelCard("tiny", channel_order="rgb", output="logit", short_side=64, score_threshold=0.4)


def lively(config: ModelConfig) -> DBNet:
    """Make a network whose statistics and offsets differ from their initial values."""
    torch.manual_seed(0)
    model = DBNet(config)
    for name, parameter in model.named_parameters():
        if ".offset." in name:
            torch.nn.init.normal_(parameter, std=0.02)
    for _ in range(3):
        model(torch.randn(2, 3, 64, 64))
    return model.eval()


def run(path: Path, images: torch.Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": images.numpy()})
    return np.asarray(logits)


def assert_agrees(config: ModelConfig, path: Path, precision: str, tolerance: float) -> None:
    model = lively(config)
    images = torch.randn(2, 3, 64, 128)
    with torch.inference_mode():
        expected = model(images).numpy()
    export_onnx(model, CARD, path, precision=precision)  # type: ignore[arg-type]
    scale = max(1.0, float(np.abs(expected).max()) / 10)
    assert np.abs(run(path, images) - expected).max() <= tolerance * scale


# ResNet-50 differs from ResNet-18 in its blocks only: two combinations are enough.
@pytest.mark.parametrize(
    "config",
    [
        config
        for config in SWITCHES
        if config.backbone != "resnet50" or config.deformable == config.adaptive_scale_fusion
        if config.backbone != "resnet50" or config.db
    ],
    ids=str,
)
def test_every_combination_exports_and_agrees(config: ModelConfig, tmp_path: Path) -> None:
    assert_agrees(config, tmp_path / "m.onnx", "fp32", 1e-4)


@pytest.mark.parametrize(
    "config",
    [ModelConfig("mobilenetv2", 16), ModelConfig("resnet18", 16, True, True, True)],
    ids=str,
)
def test_half_precision_is_close_and_small(config: ModelConfig, tmp_path: Path) -> None:
    assert_agrees(config, tmp_path / "m.onnx", "fp32", 1e-4)
    assert_agrees(config, tmp_path / "half.onnx", "fp16", 0.1)
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * (tmp_path / "m.onnx").stat().st_size


def test_deformable_convolutions_as_one_node(tmp_path: Path) -> None:
    """The node is for TensorRT's plugin; ONNX Runtime also has the operator, and must agree."""
    config = ModelConfig("resnet18", 16, deformable=True)
    path = tmp_path / "m.onnx"
    export_onnx(lively(config), CARD, path, precision="fp16", dcn="plugin")
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("DeformConv") == 6
    assert "GridSample" not in operators


def assert_same_map(found: Detections, expected: Detections, tolerance: float) -> None:
    assert found.prob_map is not None
    assert expected.prob_map is not None
    np.testing.assert_allclose(found.prob_map, expected.prob_map, atol=tolerance)


def test_detector_runs_checkpoint_and_export_alike(tmp_path: Path) -> None:
    model = lively(ModelConfig("mobilenetv2", 16))
    save_model(tmp_path / "m.safetensors", model, CARD)
    onnx_file = export_checkpoint(tmp_path / "m.safetensors")
    assert onnx_file == tmp_path / "m.onnx"
    image = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    first = Detector(tmp_path / "m.safetensors").detect(image, prob_map=True)
    for backend in ("onnxruntime", "openvino"):
        detector = Detector(onnx_file, cpu=CpuConfig(backend=backend, precision="fp32"))
        assert detector.card.score_threshold == 0.4
        assert detector.card.output == "logit"
        second = detector.detect(image, prob_map=True)
        assert_same_map(second, first, 1e-3)


@pytest.mark.parametrize("name", ["m.safetensors", "folder"])
def test_output_must_be_an_onnx_file(tmp_path: Path, name: str) -> None:
    checkpoint = tmp_path / "m.safetensors"
    save_model(checkpoint, DBNet(ModelConfig("mobilenetv2", 16)), CARD)
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match=r"expected an \.onnx file to write"):
        export_checkpoint(checkpoint, tmp_path / name)
    assert checkpoint.read_bytes() == before


def test_openvino_runs_deformable_convolutions(tmp_path: Path) -> None:
    model = lively(ModelConfig("resnet18", 16, deformable=True, adaptive_scale_fusion=True))
    save_model(tmp_path / "m.safetensors", model, CARD)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    first = Detector(tmp_path / "m.safetensors").detect(image, prob_map=True)
    detector = Detector(
        export_checkpoint(tmp_path / "m.safetensors"), cpu=CpuConfig(precision="fp32")
    )
    assert_same_map(detector.detect(image, prob_map=True), first, 2e-3)


def test_export_has_the_card_and_no_denormals(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = lively(ModelConfig("mobilenetv2", 16))
    with torch.no_grad():
        model.state_dict()["neck.lateral.0.weight"].fill_(1e-41)
    export_onnx(model, CARD, tmp_path / "m.onnx")
    graph = onnx.load(tmp_path / "m.onnx")
    assert METADATA_KEY in {entry.key for entry in graph.metadata_props}
    for tensor in graph.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            assert not ((values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)).any()


def test_a_broken_export_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = lively(ModelConfig("mobilenetv2", 16))
    trace = exporting._trace
    other = lively(ModelConfig("mobilenetv2", 16))
    for parameter in other.prob_head.parameters():
        torch.nn.init.constant_(parameter, 0.3)
    monkeypatch.setattr(exporting, "_trace", lambda _, opset: trace(other, opset))
    with pytest.raises(BuildError, match="differs from PyTorch's by"):
        export_onnx(model, CARD, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_round_trip_of_a_checkpoint(tmp_path: Path) -> None:
    model = lively(ModelConfig("resnet18", 16, adaptive_scale_fusion=True))
    save_model(tmp_path / "m.safetensors", model, CARD)
    loaded, card = load_model(tmp_path / "m.safetensors")
    assert card == CARD
    assert loaded.config == model.config
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_missing_or_wrong_checkpoint(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(EngineError, match="is not a checkpoint of this package|there is no file"):
        Detector(path)
