# SPDX-License-Identifier: Apache-2.0
"""Training: steps that are not finite, several processes, validation, configuration."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from dbnet_trt import Detector, EngineError
from dbnet_trt.data.samples import load_sample_image
from dbnet_trt.errors import TrainingError
from dbnet_trt.network.checkpoints import load_model
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.dbnet import DBNet
from dbnet_trt.training import losses as losses_module
from dbnet_trt.training import train as training
from dbnet_trt.training.config import LOSS_PRESETS, PRESETS, TrainConfig
from dbnet_trt.training.distributed import ALONE
from dbnet_trt.training.loader import CropStream, Source, load_crops, read_sources
from dbnet_trt.training.train import learning_rate, train, train_step

from .runs import StopError, assert_same_weights, losses, stop_after, weights
from .scenes import draw_scenes, tiny_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def test_same_seed_same_weights(data: str, tmp_path: Path) -> None:
    first = train(tiny_run(data, tmp_path / "a"))
    second = train(tiny_run(data, tmp_path / "b"))
    other = train(tiny_run(data, tmp_path / "c", seed=1))
    assert_same_weights(first, second)
    with pytest.raises(AssertionError):
        assert_same_weights(first, other)


def test_a_skipped_step_changes_nothing(data: str, tmp_path: Path) -> None:
    config = tiny_run(data, tmp_path)
    state = training.begin(config, ALONE)
    crop = next(load_crops(_stream(config), (0, 1), 2, 0))
    assert train_step(config, state, state.model, crop) is not None
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    average = {name: value.clone() for name, value in state.average.state_dict().items()}
    broken = crop._replace(
        labels=crop.labels._replace(thresh_map=crop.labels.thresh_map * float("nan"))
    )
    assert train_step(config, state, state.model, broken) is None
    assert (state.step, state.skipped) == (2, 1)
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in state.average.state_dict().items():
        assert torch.equal(value, average[name]), name
    assert train_step(config, state, state.model, crop) is not None
    assert state.skipped_in_row == 0


def test_many_skipped_steps_stop_training(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StopError):
        train(tiny_run(data, tmp_path, steps=30, checkpoint_every=2), stop_after(4))
    step = losses_module.compute_loss
    monkeypatch.setattr(
        training,
        "compute_loss",
        lambda *a: losses_module.Losses(*(part * float("nan") for part in step(*a))),
    )
    with pytest.raises(TrainingError, match="20 steps in a row, up to step 24"):
        train(tiny_run(data, tmp_path, steps=30, checkpoint_every=50))
    model, card = load_model(tmp_path / "last.safetensors")
    assert card.source.startswith("step 4 of 30")
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def _stream(config: TrainConfig) -> Any:
    return CropStream(read_sources(config.data), config.augmentation, config.targets, config.seed)


def test_a_prob_map_replaces_the_shrink_map(data: str, tmp_path: Path) -> None:
    config = tiny_run(data, tmp_path)
    (source,) = read_sources(config.data)
    file = tmp_path / "map.png"
    height, width = load_sample_image(source.samples[0]).shape[:2]
    cv2.imwrite(str(file), np.full((height // 2, width // 2), 102, np.uint8))
    sample = dataclasses.replace(source.samples[0], prob_map=file)
    plain, learnt = (
        CropStream([Source([each], 1.0)], config.augmentation, config.targets, 0)
        for each in (source.samples[0], sample)
    )
    for position in range(5):
        expected, crop = plain[position], learnt[position]
        torch.testing.assert_close(crop.image, expected.image)
        torch.testing.assert_close(crop.labels.thresh_map, expected.labels.thresh_map)
        assert crop.labels.shrink_map.max() == pytest.approx(0.4)
        assert (crop.labels.shrink_mask == 1).all()


def test_several_processes_equal_one(data: str, tmp_path: Path) -> None:
    # SGD: AdamW's first steps turn rounding of the gradient into steps of full length.
    settings = {"batch_size": 4, "steps": 4, "optimizer": "sgd", "learning_rate": 1e-3}
    train(tiny_run(data, tmp_path / "one", **settings))
    program = tmp_path / "program.py"
    program.write_text(
        "import sys; from pathlib import Path; from tests.training.scenes import tiny_run\n"
        "from dbnet_trt.training.train import train\n"
        f"train(tiny_run(sys.argv[1], Path(sys.argv[2]), **{settings!r}))\n"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", str(program), data, str(tmp_path / "two")),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
        check=True,
        capture_output=True,
    )
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert two[0] == pytest.approx(one[0], rel=1e-4)
    # Rounding flips some ReLUs, and an untrained network amplifies this.
    np.testing.assert_allclose(two, one, rtol=0.04)


def test_learning_rate() -> None:
    config = TrainConfig(("jsonl:x",), steps=100, learning_rate=1.0, warmup_steps=10)
    assert learning_rate(config, 0) == pytest.approx(0.1)
    assert learning_rate(config, 50) == pytest.approx(0.5**0.9)
    assert learning_rate(config, 99) == pytest.approx(0.01**0.9)


def test_epochs_are_passes_over_the_samples(data: str, tmp_path: Path) -> None:
    config = tiny_run(data, tmp_path, epochs=1.5, batch_size=2)
    assert training._with_steps(config, 4).steps == 3


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(data: str, tmp_path: Path, precision: str) -> None:
    last = train(tiny_run(data, tmp_path, precision=precision, steps=3))
    assert all(torch.isfinite(value).all() for value in weights(last).values())
    assert np.isfinite(losses(tmp_path)).all()


def test_validation_keeps_the_best(data: str, tmp_path: Path) -> None:
    train(tiny_run(data, tmp_path, validation=(data,), validate_every=3))
    best = tmp_path / "best.safetensors"
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records if "validation" in record] == [3, 6]
    card = Detector(best).card
    assert card.name == "dbnet-mobilenetv2"
    assert card.source.startswith("step 6 of 6")  # neither model found a text
    assert list((tmp_path / "tensorboard").iterdir())
    assert json.loads((tmp_path / "config.json").read_text())["batch_size"] == 2


def test_presets_are_configurations() -> None:
    for preset in PRESETS.values():
        for name in preset:
            assert name in TrainConfig.__dataclass_fields__
    assert LOSS_PRESETS["official"]["binary_loss"] == "dice"
    assert LOSS_PRESETS["paper"]["thresh_weight"] == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be 1 or more"),
        ({"learning_rate": -1}, "learning_rate must be 0 or more"),
        ({"data": ()}, "data must name a data set"),
        ({"ema_decay": 1.0}, "ema_decay must be less than 1"),
        ({"learning_rate": float("inf")}, "learning_rate must be 0 or more, got inf"),
        ({"power": -1}, "power must be 0 or more"),
        ({"short_side": 0}, "short_side must be"),
        ({"unclip_ratio": -1}, "unclip_ratio must lie between"),
        ({"data": "jsonl:x"}, "data must be a tuple of data sets, got 'jsonl:x' alone"),
    ],
)
def test_bad_configuration(changes: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        TrainConfig(**{"data": ("jsonl:x",), **changes})


def test_paths_may_be_strings() -> None:
    config = TrainConfig(["jsonl:x"], "runs/a", init="weights.pth")  # type: ignore[arg-type]
    assert (config.data, config.output) == (("jsonl:x",), Path("runs/a"))
    assert config.init == Path("weights.pth")


@pytest.mark.parametrize(
    ("device", "message"),
    [("gpu", 'must be "auto", "cpu", "cuda" or "cuda:0"'), ("cuda:99", "CUDA devices; install")],
)
def test_missing_device(data: str, tmp_path: Path, device: str, message: str) -> None:
    with pytest.raises((ValueError, EngineError), match=message):
        train(tiny_run(data, tmp_path, device=device))


def test_initial_weights_of_another_network(
    data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = DBNet(ModelConfig("resnet18", 16))
    torch.save(other.state_dict(), tmp_path / "resnet18.pth")
    config = tiny_run(data, tmp_path, init=tmp_path / "resnet18.pth")
    with pytest.raises(EngineError, match="no weight of the backbone mobilenetv2; set model"):
        training.begin(config, ALONE)
    caplog.clear()
    training.begin(dataclasses.replace(config, model=other.config), ALONE)
    assert "WARNING" not in caplog.text

    training.begin(dataclasses.replace(config, model=ModelConfig("resnet18", 32)), ALONE)
    assert "weights of another shape" in caplog.text
    assert "neck.lateral.0.weight: (16, 64, 1, 1) in the file, (32, 64, 1, 1)" in caplog.text
    caplog.clear()

    training.begin(dataclasses.replace(config, model=ModelConfig("resnet50", 16)), ALONE)
    assert "weights of the backbone resnet50; the others stay random" in caplog.text


def test_wrong_initial_weights_are_told_before_images_are_read(data: str, tmp_path: Path) -> None:
    config = tiny_run(f"{data}-missing", tmp_path, init=tmp_path / "missing.pth")
    with pytest.raises(EngineError, match=r"missing\.pth"):
        train(config)


def test_out_of_gpu_memory(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(training, "train_step", fail)
    with pytest.raises(TrainingError, match="batches of 2 crops of 128x128; lower batch_size"):
        train(tiny_run(data, tmp_path))


def test_a_second_run_in_the_same_process(data: str, tmp_path: Path) -> None:
    """Workers forked after a validation would hang."""
    for name in ("first", "second"):
        train(tiny_run(data, tmp_path / name, steps=2, workers=1, validation=(data,)))
    assert_same_weights(
        tmp_path / "first/last.safetensors", train(tiny_run(data, tmp_path / "third", steps=2))
    )
