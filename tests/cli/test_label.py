# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import cv2
import pytest
from dbnet_trt import Detector
from dbnet_trt.cli import label
from dbnet_trt.cli.app import main
from dbnet_trt.data.label_studio import CONFIG
from dbnet_trt.reading import open_reader
from fakes.tiny_model import make_model, scene
from fakes.tiny_recogniser import make_recogniser


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), scene(num_texts=2))
    cv2.imwrite(str(folder / "b" / "c.png"), scene(num_texts=1))
    return folder


def test_a_folder(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tasks.json"
    (photos / "broken.png").write_bytes(b"no picture")
    command = ["label", str(photos), "--model", model, "--output", str(output)]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert "2 tasks" in printed.out
    assert "broken.png" in printed.err
    tasks = json.loads(output.read_text())
    addresses = [task["data"]["image"] for task in tasks]
    names = [parse_qs(urlparse(address).query)["d"] for address in addresses]
    assert names == [["photos/a.png"], ["photos/b/c.png"]]
    assert [len(task["predictions"][0]["result"]) for task in tasks] == [2, 1]
    assert (tmp_path / "tasks.xml").read_text() == CONFIG
    points = tasks[0]["predictions"][0]["result"][0]["value"]["points"]
    expected = Detector(model).detect(scene(num_texts=2)).quads[0] / scene().shape[1::-1] * 100
    assert points == pytest.approx(expected, abs=1e-4)
    assert main(command) == 2
    assert "--overwrite to replace" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--overwrite"]) == 1
    output.unlink()
    assert main(command) == 2
    assert f"{tmp_path / 'tasks.xml'} exists" in " ".join(capsys.readouterr().err.split())


def test_text(model: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = open_reader(str(make_recogniser(tmp_path / "reader.onnx")))
    monkeypatch.setattr(label, "open_reader", lambda cpu: reader)
    output = tmp_path / "tasks.json"
    command = ["label", str(photos / "a.png"), "--model", model, "--output", str(output)]
    assert main([*command, "--text"]) == 0
    (task,) = json.loads(output.read_text())
    said = [each["value"].get("text") for each in task["predictions"][0]["result"]]
    assert said == [None, ["aa"], None, ["aa"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--output", "tasks.txt"], "expected a .json file"),
        (["a.png", "b/c.png", "--output", "t.json"], "name the folder that holds all by --root"),
        (["*.png", "--output", "t.json"], "name the folder that holds all by --root"),
        (["a.png", "--output", "t.json", "--root", "b"], "expected images below b"),
        (["clip.mp4", "--output", "t.json"], "takes images"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, model: str, photos: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(photos)
    assert main(["label", *arguments, "--model", model]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("t.json").exists()
