# SPDX-License-Identifier: Apache-2.0
"""End-to-end test on the command line: scenes, training, export, detection, evaluation."""

import json
from pathlib import Path

import pytest
from dbnet_trt.cli.app import main

from .scenes import FONTS, SIZE

pytestmark = pytest.mark.slow

AS_THEY_ARE = [
    *("--augmentation.crop-size", str(SIZE), "--augmentation.scale", "1", "1"),
    *("--augmentation.max-rotation-deg", "0", "--augmentation.stretch", "1"),
    *("--augmentation.flip-prob", "0", "--augmentation.color-prob", "0"),
    *("--augmentation.degrade-prob", "0", "--short-side", str(SIZE)),
]


def test_scenes_training_export_detection_and_score(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = tmp_path / "scenes"
    drawn = ["--size", str(SIZE), "--text-height", "18", "30", "--max-blocks", "2", "--seed", "1"]
    drawn += ["--text-level", "line", "--chinese", "0", *(f"--fonts={font}" for font in FONTS)]
    assert main(["synth", str(scenes), "8", *drawn]) == 0
    data = f"jsonl:{scenes}/samples.jsonl"
    run = tmp_path / "run"
    length = ["--steps", "200", "--batch-size", "6", "--learning-rate", "0.003"]
    rest = ["--ema-decay", "0.9", "--num-threads", "1", "--workers", "0", "--device", "cpu"]
    shape = ["--targets.shrink-ratio", "0.7", "--unclip-ratio", "0.85"]
    arguments = ["--preset", "quick", "--data", data, "--output", str(run)]
    assert main(["train", *arguments, *length, *rest, *shape, *AS_THEY_ARE]) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["backbone"] == "mobilenetv2"  # set by the preset
    assert config["loss"]["binary_loss"] == "dice"  # set by the preset
    assert config["steps"] == 200  # set on the command line
    model = tmp_path / "model.onnx"
    assert main(["export", str(run / "last.safetensors"), str(model)]) == 0
    capsys.readouterr()
    assert main(["eval", str(model), "--data", data]) == 0
    printed = capsys.readouterr().out
    assert float(printed.split("F ")[1].split()[0]) > 0.9, printed
