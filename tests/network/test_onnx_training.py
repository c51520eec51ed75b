# SPDX-License-Identifier: Apache-2.0
"""A network of another project is trained, resumed, exported and run as our own is."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from dbnet_trt import CpuConfig, Detector, EngineError
from dbnet_trt.building.lowering import lower, read_network
from dbnet_trt.card import ModelCard
from dbnet_trt.cli.app import main
from dbnet_trt.engines.onnx_model import read_model
from dbnet_trt.network.checkpoints import load_model
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.export import export_checkpoint
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from dbnet_trt.training.config import TrainConfig
from dbnet_trt.training.initial import make_network
from dbnet_trt.training.train import train
from onnx import TensorProto
from training.runs import StopError, assert_same_weights, losses, stop_after
from training.scenes import draw_scenes, tiny_run

from .graphs import CARD, make_detector, quantize, run_onnx

FULL, BARE = ModelConfig(), ModelConfig(db=False)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """An ONNX file with its card beside it."""
    make_detector(tmp_path / "foreign.onnx")
    (tmp_path / "foreign.json").write_text(CARD.to_json())
    return tmp_path / "foreign.onnx"


def run_from(init: Path, data: str, output: Path, **changes: Any) -> TrainConfig:
    settings: dict[str, Any] = {"init": init, "model": FULL, "short_side": None}
    return tiny_run(data, output, **settings | changes)


@pytest.mark.parametrize("model", [FULL, BARE], ids=["with T", "without T"])
def test_the_loss_falls(data: str, foreign: Path, tmp_path: Path, model: ModelConfig) -> None:
    run = tmp_path / "run"
    train(run_from(foreign, data, run, model=model, steps=40, learning_rate=0.01))
    first, last = np.mean(losses(run)[:3]), np.mean(losses(run)[-3:])
    assert last < 0.97 * first


def test_a_resumed_run_is_the_same(data: str, foreign: Path, tmp_path: Path) -> None:
    whole = train(run_from(foreign, data, tmp_path / "whole"))
    config = run_from(foreign, data, tmp_path / "halves")
    with pytest.raises(StopError):
        train(config, stop_after(3))
    foreign.unlink()  # it is not needed any more
    assert_same_weights(whole, train(config))
    assert load_model(whole)[1] == load_model(tmp_path / "halves/last.safetensors")[1]


def test_a_run_without_its_last_checkpoint(data: str, foreign: Path, tmp_path: Path) -> None:
    """The graph is in that checkpoint only."""
    config = run_from(foreign, data, tmp_path / "run", steps=2)
    last = train(config)
    last.unlink()
    with pytest.raises(EngineError, match=r"last\.safetensors beside it, which is missing"):
        train(config)


def test_export_is_the_same_graph(data: str, foreign: Path, tmp_path: Path) -> None:
    before = onnx.load(foreign)
    last = train(run_from(foreign, data, tmp_path / "run"))
    exported = export_checkpoint(last)
    after = onnx.load(exported)
    assert after.graph.node == before.graph.node
    assert (after.graph.input, after.graph.output) == (before.graph.input, before.graph.output)
    assert [(t.name, t.dims) for t in after.graph.initializer] == [
        (t.name, t.dims) for t in before.graph.initializer
    ]
    network, _ = load_model(last)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network(x).sigmoid().numpy()
    np.testing.assert_allclose(run_onnx(after, x.numpy())[:, 0], expected, rtol=0, atol=1e-5)
    assert np.abs(run_onnx(before, x.numpy())[:, 0] - expected).max() > 1e-3


def test_the_card_is_kept(data: str, foreign: Path, tmp_path: Path) -> None:
    last = train(run_from(foreign, data, tmp_path / "run"))
    _, card, _, _ = read_model(export_checkpoint(last))
    assert (card.channel_order, card.short_side, card.score_threshold) == ("bgr", 128, 0.5)
    assert (card.name, card.output) == ("small-tuned", "probability")
    assert card.training_data == f"jsonl:{'/'.join(Path(data).parts[-2:])}"
    assert str(tmp_path.parent) not in card.to_json()  # folders of a machine are not for others
    assert card.source == "step 6 of 6, batch size 2, seed 0; begun with foreign.onnx"


def test_the_card_can_be_changed(data: str, foreign: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "text_level": "word", "short_side": 96, "binary_threshold": 0.2, "score_threshold": 0.4,
        "unclip_ratio": 1.2,
    }  # fmt: skip
    last = train(run_from(foreign, data, tmp_path / "run", **changes))
    card = load_model(last)[1]
    assert {name: getattr(card, name) for name in changes} == changes


def test_a_detector_of_the_checkpoint(data: str, foreign: Path, tmp_path: Path) -> None:
    """The checkpoint and what is exported from it find the same."""
    run, low = tmp_path / "run", {"binary_threshold": 0.25, "score_threshold": 0.1}
    train(run_from(foreign, data, run, validation=(data,), **low))
    best = run / "best.safetensors"
    asked: tuple[dict[str, Any], ...] = (
        {"precision": "int8"}, {"precision": "bf16"}, {"backend": "openvino"},
    )  # fmt: skip
    for settings in asked:
        (name,) = settings.values()
        with pytest.raises(EngineError, match=f"in fp32; {name} was requested: .*export"):
            Detector(best, device="cpu", cpu=CpuConfig(**settings))
    photo = next(Path(data.removeprefix("jsonl:")).parent.glob("images/*"))
    ours = Detector(best, device="cpu").detect(photo)
    theirs = Detector(export_checkpoint(best)).detect(photo)
    assert len(ours) > 0
    np.testing.assert_allclose(ours.quads, theirs.quads, atol=0.5)


def test_training_goes_on_from_a_checkpoint(data: str, foreign: Path, tmp_path: Path) -> None:
    first = train(run_from(foreign, data, tmp_path / "first"))
    config = run_from(first, data, tmp_path / "second", learning_rate=0.0)
    again, _ = load_model(train(config))
    before, _ = load_model(first)
    assert isinstance(again, OnnxDBNet)
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), before(x), rtol=0, atol=1e-4)
    for ours, theirs in zip(again.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)  # the threshold branch's, too


def test_a_card_is_needed(data: str, tmp_path: Path) -> None:
    make_detector(tmp_path / "bare.onnx")
    with pytest.raises(EngineError, match=r"bare\.onnx has no model card"):
        make_network(run_from(tmp_path / "bare.onnx", data, tmp_path / "run"))
    config = run_from(tmp_path / "bare.onnx", data, tmp_path / "run", init_card="paddleocr")
    assert make_network(config)[1] == ModelCard("bare")
    with pytest.raises(EngineError, match="has a sigmoid .* is a logit; correct the card"):
        make_network(run_from(tmp_path / "bare.onnx", data, tmp_path / "run", init_card="doctr"))


def test_which_of_two_outputs_is_the_map(data: str, tmp_path: Path) -> None:
    """A card of a family does not say it; the first one is not taken without a word."""
    model = make_detector()
    model.graph.output.insert(0, onnx.helper.make_tensor_value_info("h6", TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "two.onnx")
    config = run_from(tmp_path / "two.onnx", data, tmp_path / "run", init_card="paddleocr")
    with pytest.raises(EngineError, match=r"has 2 outputs .*set output_name in the card"):
        make_network(config)
    card = dataclasses.replace(CARD, output_name="map")
    (tmp_path / "card.json").write_text(card.to_json())
    config = dataclasses.replace(config, init_card=str(tmp_path / "card.json"))
    network, _ = make_network(config)
    assert isinstance(network, OnnxDBNet)
    assert network.output_name == "map"


def test_a_map_of_logits(data: str, tmp_path: Path) -> None:
    make_detector(tmp_path / "logits.onnx", sigmoid=False)
    config = run_from(tmp_path / "logits.onnx", data, tmp_path / "run", init_card="doctr")
    exported = export_checkpoint(train(config))
    assert read_model(exported)[1].output == "logit"


def test_half_precision(data: str, foreign: Path, tmp_path: Path) -> None:
    last = train(run_from(foreign, data, tmp_path / "run", steps=1))
    whole = export_checkpoint(last)
    half = export_checkpoint(last, tmp_path / "half.onnx", precision="fp16")
    large = {t.data_type for t in onnx.load(half).graph.initializer if np.prod(t.dims) >= 64}
    assert large == {TensorProto.FLOAT16}
    images = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    np.testing.assert_allclose(
        run_onnx(onnx.load(half), images), run_onnx(onnx.load(whole), images), atol=5e-3
    )
    again, _ = load_model(train(run_from(half, data, tmp_path / "again", steps=1)))
    assert {weight.dtype for weight in again.parameters()} == {torch.float32}
    network = lower(read_network(last, half=True), half=True)  # for an engine
    assert network.model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT16


def test_a_file_in_int8(data: str, foreign: Path, tmp_path: Path) -> None:
    """Quantization-aware training: the same nodes and scales come back, with other int8 weights."""
    before = quantize(onnx.load(foreign))
    onnx.save(before, foreign)
    last = train(run_from(foreign, data, tmp_path / "run", steps=20, learning_rate=0.01))
    exported = export_checkpoint(last)
    after = onnx.load(exported)
    assert after.graph.node == before.graph.node
    old, new = ({t.name: t for t in model.graph.initializer} for model in (before, after))
    assert {name: t.data_type for name, t in old.items()} == {
        name: t.data_type for name, t in new.items()
    }
    fixed = ("head.scale", "head.zero", "step", "zero_point")
    assert all(old[name] == new[name] for name in fixed)
    assert old["head.q"] != new["head.q"]
    network, card = load_model(last)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = network(x).sigmoid().numpy()
    np.testing.assert_allclose(run_onnx(after, x.numpy())[:, 0], expected, rtol=0, atol=0.01)
    assert card.name == "small-tuned"
    cpu = CpuConfig("onnxruntime", "int8")
    assert "int8" in repr(Detector(exported, cpu=cpu))
    half = onnx.load(export_checkpoint(last, tmp_path / "half.onnx", precision="fp16"))
    types = {t.name: t.data_type for t in half.graph.initializer}
    assert types["head.q"] == TensorProto.INT8
    assert types["head.scale"] == TensorProto.FLOAT


def test_the_command(
    data: str, foreign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    options = ["--preset", "quick", "--steps", "2", "--batch-size", "2", "--workers", "0"]
    start = ["--data", data, "--output", str(run), "--init", str(foreign)]
    more = ["--augmentation.crop-size", "64", "--device", "cpu", "--model.no-db"]
    assert main(["train", *options, *start, *more]) == 0
    assert main(["export", str(run / "last.safetensors")]) == 0
    assert json.loads((run / "config.json").read_text())["short_side"] is None
    assert read_model(run / "last.onnx")[1].short_side == 128
