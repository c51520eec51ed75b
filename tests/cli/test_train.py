# SPDX-License-Identifier: Apache-2.0
"""Command line of training: presets, files, errors."""

import json
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.training import train as training
from dbnet_trt.training.config import OFFICIAL_LOSS, LossConfig, TrainConfig


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[TrainConfig]:
    """Record the configurations that `dbnet train` would train."""
    seen: list[TrainConfig] = []

    def record(config: TrainConfig, _: Any) -> Path:
        seen.append(config)
        return config.output / "last.safetensors"

    monkeypatch.setattr(training, "train", record)
    return seen


def test_the_default_is_the_papers_fine_tuning(configured: list[TrainConfig]) -> None:
    assert main(["train", "--data", "td500:x"]) == 0
    (config,) = configured
    assert (config.epochs, config.batch_size, config.learning_rate) == (1200, 16, 0.007)
    assert config.loss == LossConfig()
    assert config.model.backbone == "resnet18"


def test_the_command_line_overrides_the_preset(configured: list[TrainConfig]) -> None:
    options = ["--preset", "quick", "--steps", "7", "--model.inner-channels", "32"]
    assert main(["train", "--data", "a:b", "--data", "c:d*2", *options]) == 0
    (config,) = configured
    assert config.data == ("a:b", "c:d*2")
    assert config.steps == 7
    assert (config.model.backbone, config.model.inner_channels) == ("mobilenetv2", 32)
    assert config.augmentation.crop_size == 320
    assert config.loss == OFFICIAL_LOSS


def test_steps_override_the_epochs_of_the_preset(configured: list[TrainConfig]) -> None:
    assert main(["train", "--data", "a:b", "--steps", "7"]) == 0
    assert main(["train", "--data", "a:b", "--steps", "7", "--epochs", "2"]) == 0
    assert [(config.steps, config.epochs) for config in configured] == [(7, 0), (7, 2)]


def test_without_differentiable_binarization(configured: list[TrainConfig]) -> None:
    assert main(["train", "--data", "a:b", "--model.no-db"]) == 0
    assert not configured[0].model.db


@pytest.mark.parametrize(("name", "loss"), [("paper", LossConfig()), ("official", OFFICIAL_LOSS)])
def test_loss_presets(configured: list[TrainConfig], name: str, loss: LossConfig) -> None:
    assert main(["train", "--data", "a:b", "--preset", "quick", "--loss-preset", name]) == 0
    assert configured[0].loss == loss


def test_a_run_is_repeated_from_its_file(configured: list[TrainConfig], tmp_path: Path) -> None:
    first = TrainConfig(
        ("a:b",), tmp_path, ("c:d",), steps=9, init=tmp_path / "w", loss=OFFICIAL_LOSS
    )
    (tmp_path / "config.json").write_text(json.dumps(first.to_json()))
    assert main(["train", "--config", str(tmp_path / "config.json"), "--steps", "10"]) == 0
    assert configured[0].steps == 10
    assert configured[0].to_json() | {"steps": 9} == first.to_json()


@pytest.mark.parametrize("content", [None, "no json", "[1]"])
def test_a_file_that_is_not_a_configuration(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    assert main(["train", "--config", str(path)]) != 0
    assert "config.json" in capsys.readouterr().err.replace("\n", "")


def test_an_unknown_format_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["train", "--data", "nonsense:x", "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "nonsense" in error
    assert "Traceback" not in error


def test_a_deeply_nested_configuration_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "config.json"
    path.write_text("[" * 100_000)
    assert main(["train", "--config", str(path), "--data", "x"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"--config {path} cannot be read" in line
