# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from dbnet_trt import Detector
from dbnet_trt.cli.app import main
from dbnet_trt.engines.onnx_model import is_quantized
from fakes.tiny_model import make_model, scene

pytest.importorskip("shapely")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "tiny.onnx")


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Three pictures of a bar that is text and a paler one that is none."""
    (tmp_path / "photos").mkdir()
    lines = []
    for index in range(3):
        image = scene()
        image[60:] = np.where(image[60:] > 0, 133, 0)
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), image)
        text = {"polygon": [[20, 15], [180, 15], [180, 45], [20, 45]]}
        lines.append(json.dumps({"image": f"{index}.png", "texts": [text]}))
    (tmp_path / "photos" / "samples.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return f"jsonl:{tmp_path}/photos/samples.jsonl"


def test_a_copy_gets_the_thresholds(
    model: Path, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tuned = tmp_path / "tuned.onnx"
    options = ["--unclip-ratio", "0", "--score-threshold", "0.3", "--short-side", "160"]
    options += ["--max-candidates", "7"]
    assert main(["tune", str(model), "--data", data, "--output", str(tuned), *options]) == 0
    printed = capsys.readouterr()
    assert "F before: 66.7" in printed.err
    assert "F: 100.0, on the images that chose" in printed.err
    card = Detector(tuned).card
    assert printed.out == (
        f"--binary-threshold {card.binary_threshold:g} --score-threshold "
        f"{card.score_threshold:g} --unclip-ratio 0\n"
    )
    assert card.score_threshold > 0.3
    assert (card.short_side, card.max_candidates) == (160, 7)
    assert card.scores == (
        "F 100.0 on jsonl:photos/samples.jsonl, which chose the thresholds (dbnet tune)"
    )
    assert len(Detector(tuned).detect(scene())) == len(Detector(model).detect(scene()))


def test_a_copy_of_the_file_in_int8(data: str, tmp_path: Path) -> None:
    """Copy of what was measured, not of the file in floating point beside it."""
    tuned = tmp_path / "tuned.onnx"
    command = ["tune", "dbnet-lines", "--data", data, "--short-side", "64"]
    assert main([*command, "--precision", "int8", "--output", str(tuned)]) == 0
    assert is_quantized(onnx.load(tuned))
    assert main([*command, "--precision", "fp32", "--output", str(tuned)]) == 0
    assert not is_quantized(onnx.load(tuned))


@pytest.mark.parametrize("command", ["eval", "tune"])
def test_damaged_photos_are_named_before_the_first_detection(
    command: str,
    model: Path,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Detector, "detect", None)
    for name in ("1.png", "2.png"):
        photo = tmp_path / "photos" / name
        photo.write_bytes(photo.read_bytes()[:60])
    assert main([command, str(model), "--data", data]) == 2
    printed = capsys.readouterr().err.replace("\n", "")
    assert "1.png: expected an image that decodes" in printed
    assert "2.png: expected an image that decodes" in printed
    assert "mend or remove them; nothing was" in printed


def test_nothing_to_gain_is_said(model: Path, data: str, caplog: pytest.LogCaptureFixture) -> None:
    options = ["--unclip-ratio", "0", "--score-threshold", "0.9"]
    assert main(["tune", str(model), "--data", data, *options]) == 0
    assert "nothing to gain; keep its own" in caplog.text


def test_what_was_chosen_is_printed_if_it_cannot_be_written(
    model: Path,
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dbnet_trt.building.lowering.write_atomically", fill_disk)
    output = str(tmp_path / "tuned.onnx")
    assert main(["tune", str(model), "--data", data, "--output", output]) != 0
    printed = capsys.readouterr()
    assert printed.out.startswith("--binary-threshold ")
    assert "tuned.onnx cannot be written: No space left on device" in printed.err


@pytest.mark.parametrize("name", ["tuned.json", "tiny.onnx", "tuned.safetensors"])
def test_output_of_another_kind(
    name: str, model: Path, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = model.read_bytes()
    assert main(["tune", str(model), "--data", data, "--output", str(tmp_path / name)]) == 2
    assert "expected --output of another .onnx file than" in capsys.readouterr().err
    assert model.read_bytes() == before


def test_a_checkpoint_gets_the_thresholds(data: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from dbnet_trt.card import ModelCard
    from dbnet_trt.network.checkpoints import load_model, save_model
    from dbnet_trt.network.config import ModelConfig
    from dbnet_trt.network.dbnet import DBNet

    first, tuned = tmp_path / "first.safetensors", tmp_path / "tuned.safetensors"
    save_model(
        first, DBNet(ModelConfig("mobilenetv2", 16)), ModelCard(name="first", output="logit")
    )
    options = ["--device", "cpu", "--binary-threshold", "0.01", "--short-side", "64"]
    assert main(["tune", str(first), "--data", data, "--output", str(tuned), *options]) == 0
    assert load_model(tuned)[1].scores.startswith("F 0.0 on jsonl:photos/samples.jsonl")
