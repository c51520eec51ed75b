# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest
from dbnet_trt.cli.app import main
from fakes.tiny_model import make_model, scene
from fakes.tiny_recogniser import make_recogniser


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    model = make_model(tmp_path / "tiny.onnx")
    reader = make_recogniser(tmp_path / "reader.onnx")
    return ["--model", str(model), "--reader", str(reader)]


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), scene())
    return str(path)


def test_print_the_text(options: list[str], photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["read", photo, *options]) == 0
    printed = capsys.readouterr()
    assert printed.out == "aa\naa\n"  # the dark ends of white bars
    assert "1 image, 2 texts" in printed.err


def test_files_of_each_format(options: list[str], photo: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    for name, suffix in (
        ("text", ".txt"),
        ("markdown", ".md"),
        ("hocr", ".hocr"),
        ("alto", ".xml"),
    ):
        assert main(["read", photo, *options, "--format", name, "--output", str(folder)]) == 0
        text = (folder / f"photo.png{suffix}").read_text(encoding="utf-8")
        assert "aa" in text
        if name in ("hocr", "alto"):
            ElementTree.fromstring(text)


def test_several_images(
    options: list[str], photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert main(["read", photo, str(broken), *options]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{photo}\naa\naa\n\n"
    assert "skipped" in printed.err
    assert main(["read", photo, str(broken), *options, "--format", "alto"]) == 2
    assert "name a folder by --output" in capsys.readouterr().err


def test_images_of_one_name_and_videos_are_refused(
    options: list[str], photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sub").mkdir()
    other = tmp_path / "sub" / "photo.png"
    cv2.imwrite(str(other), scene())
    assert main(["read", photo, str(other), *options, "--output", str(tmp_path / "out")]) == 2
    assert "two images are called photo.png" in capsys.readouterr().err
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    assert main(["read", str(clip), *options]) == 2
    assert "takes images" in capsys.readouterr().err


def test_detect_with_text(
    options: list[str], photo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from dbnet_trt.cli import detect
    from dbnet_trt.reading import open_reader

    reader = open_reader(options[-1])
    monkeypatch.setattr(detect, "open_reader", lambda cpu: reader)
    command = ["detect", photo, *options[:2], "--text"]
    assert main([*command, "--json", "-"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["texts"] == ["aa", "aa"]
    assert len(record["confidences"]) == 2
    assert main(command) == 0
    assert capsys.readouterr().out.count("  aa\n") == 2
