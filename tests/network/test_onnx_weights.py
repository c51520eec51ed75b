# SPDX-License-Identifier: Apache-2.0
"""Recovery of trainable weights from an exported model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from dbnet_trt import EngineError
from dbnet_trt.cli.app import main
from dbnet_trt.network.checkpoints import find_weights, load_model, load_weights
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.dbnet import DBNet
from dbnet_trt.network.export import export_onnx
from dbnet_trt.network.onnx_weights import rebase_norms
from dbnet_trt.zoo import find_model
from fakes.tiny_model import make_model
from training.scenes import draw_scenes

from .test_export import CARD, lively

pytestmark = pytest.mark.slow

R18 = ModelConfig("resnet18", 128)
"""Network of dbnet-r18."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def exported(model: DBNet, folder: Path, **options: Any) -> Path:
    export_onnx(model, CARD, folder / "m.onnx", **options)
    return folder / "m.onnx"


def assert_only_thresh_head_is_missing(missing: tuple[str, ...]) -> None:
    counters = ("num_batches_tracked",)
    assert [
        n for n in missing if not n.startswith("thresh_head.") and not n.endswith(counters)
    ] == []


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig("mobilenetv2", 16),
        ModelConfig("resnet18", 16, adaptive_scale_fusion=True),
        ModelConfig("resnet50", 16, db=False),
    ],
    ids=str,
)
def test_round_trip_of_weights(config: ModelConfig, tmp_path: Path) -> None:
    model = lively(config)
    again = DBNet(config).eval()
    report = load_weights(again, exported(model, tmp_path))
    assert_only_thresh_head_is_missing(report.missing)
    assert report.unused == ()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert_close(again(images), model(images), 1e-4)


def test_fp16_weights_are_read_as_fp32(tmp_path: Path) -> None:
    model = lively(ModelConfig("mobilenetv2", 16))
    again = DBNet(model.config).eval()
    load_weights(again, exported(model, tmp_path, precision="fp16"))
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert again(images).dtype == torch.float32
        assert_close(again(images), model(images), 0.02)


def test_training_mode_equals_the_exported_network() -> None:
    """Without `rebase_norms` it would use other statistics, and so be another network."""
    path, _ = find_model("dbnet-r18")
    model = DBNet(R18).eval()
    load_weights(model, path)
    images = torch.randn(4, 3, 96, 96)
    with torch.inference_mode():
        expected = model(images)
        assert (model.train()(images).prob_logits - expected).abs().max() > 1
    load_weights(model.eval(), path)
    rebase_norms(model, images)
    with torch.inference_mode():
        assert_close(model(images), expected, 1e-3)
        assert_close(model.train()(images).prob_logits, expected, 1e-3)


def test_initial_weights_of_a_named_model(data: str, tmp_path: Path) -> None:
    """At learning rate 0 the network stays the same, except for rounding."""
    run = tmp_path / "run"
    options = ["--preset", "quick", "--steps", "1", "--batch-size", "4", "--workers", "0"]
    more = ["--augmentation.crop-size", "128", "--device", "cpu", "--learning-rate", "0"]
    start = ["--data", data, "--output", str(run), "--init", "dbnet-r18"]
    network = ["--model.backbone", R18.backbone, "--model.inner-channels", str(R18.inner_channels)]
    assert main(["train", *options, *more, *start, *network]) == 0
    assert json.loads((run / "config.json").read_text())["init"] == "dbnet-r18"
    trained, card = load_model(run / "last.safetensors")
    path, own_card = find_model("dbnet-r18")
    assert card.postprocess_params == own_card.postprocess_params
    assert card.size_policy == own_card.size_policy
    assert (card.name, card.text_level) == ("dbnet-r18-tuned", "line")
    shipped = DBNet(trained.config).eval()
    load_weights(shipped, path)
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert_close(trained(images), shipped(images), 0.1)


def test_a_file_takes_precedence_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dbnet-lines").mkdir()  # as the folder of a run
    assert find_weights(Path("dbnet-lines")).name == "dbnet-lines.onnx"
    Path("dbnet-lines").rmdir()
    Path("dbnet-lines").touch()
    assert find_weights(Path("dbnet-lines")) == Path("dbnet-lines")


def test_a_name_or_file_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r'no model "dbnet-line"; did you mean "?dbnet-lines'):
        find_weights(Path("dbnet-line"))
    for name in ("none.onnx", "folder/none"):
        with pytest.raises(EngineError, match=f"there is no file {name}"):
            find_weights(Path(name))


def test_weights_that_cannot_be_recovered(tmp_path: Path) -> None:
    model = DBNet(ModelConfig("resnet18", 16, deformable=True))
    with pytest.raises(EngineError, match=r"deformable convolutions .*m\.onnx.*\.safetensors"):
        load_weights(model, tmp_path / "m.onnx")
    (tmp_path / "text.onnx").write_text("hello, this is text")
    plain = DBNet(ModelConfig("mobilenetv2", 16))
    with pytest.raises(EngineError, match=r"text\.onnx cannot be read as weights"):
        load_weights(plain, tmp_path / "text.onnx")
    with pytest.raises(
        EngineError, match=r"missing\.onnx cannot be read as weights .*No such file"
    ):
        load_weights(plain, tmp_path / "missing.onnx")
    with pytest.raises(EngineError, match=r"no weight in .*other\.onnx fits the model, .*; the "):
        load_weights(plain, make_model(tmp_path / "other.onnx"))
