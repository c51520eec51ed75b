# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import pytest
from dbnet_trt import ImageError
from dbnet_trt.cli.app import main
from dbnet_trt.cli.read import SUFFIXES
from dbnet_trt.images.pages import _TiffPages
from fakes.documents import make_pdf
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
    twice = ["read", photo, f"{tmp_path}/sub/../photo.png", *options]
    assert main([*twice, "--output", str(tmp_path / "once")]) == 0
    assert "1 image," in capsys.readouterr().err
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    assert main(["read", str(clip), *options]) == 2
    assert "takes images and documents" in capsys.readouterr().err


@pytest.fixture
def scan(tmp_path: Path) -> str:
    """A TIFF of three pages with 1 to 3 texts, in columns."""
    path = str(tmp_path / "scan.tif")
    cv2.imwritemulti(path, [scene(num_texts=count) for count in (1, 2, 3)])
    return path


def test_pages_are_printed_one_by_one(
    options: list[str], scan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", scan, *options, "--pages", "1,3"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{scan} page 1\naa\n\n{scan} page 3\naa\naa\naa\n\n"
    assert "2 images, 4 texts" in printed.err
    assert main(["read", scan, *options, "--pages", "4-"]) == 1
    assert "3 pages, none of which is in 4-" in " ".join(capsys.readouterr().err.split())


def test_pages_of_a_document_make_one_file(
    options: list[str], scan: str, photo: str, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    for name in SUFFIXES:
        command = ["read", scan, photo, *options, "--format", name, "--output", str(folder)]
        assert main(command) == 0
    assert (folder / "scan.tif.txt").read_text() == "aa\n\faa\naa\n\faa\naa\naa\n"
    assert (folder / "photo.png.txt").read_text() == "aa\naa\n"
    assert (folder / "scan.tif.md").read_text().count("\n\n---\n\n") == 2
    hocr = ElementTree.parse(folder / "scan.tif.hocr")
    pages = [each for each in hocr.iter() if each.get("class") == "ocr_page"]
    assert [each.get("title", "").rpartition(" ")[2] for each in pages] == ["0", "1", "2"]
    alto = ElementTree.parse(folder / "scan.tif.xml")
    pages = [each for each in alto.iter() if each.tag.endswith("}Page")]
    assert [each.get("PHYSICAL_IMG_NR") for each in pages] == ["1", "2", "3"]
    strings = [[each for each in page.iter() if each.tag.endswith("}String")] for page in pages]
    assert [len(each) for each in strings] == [1, 2, 3]
    ids = [each.get("ID") for each in alto.iter() if each.get("ID")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("damaged", [1, 2, 3])
def test_a_damaged_page_keeps_its_place(
    damaged: int, options: list[str], scan: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_page(self: Any, number: int) -> Any:
        if number == damaged:
            raise ImageError("a page is damaged")
        return whole(self, number)

    whole = _TiffPages.read
    monkeypatch.setattr(_TiffPages, "read", read_page)
    folder = tmp_path / "out"
    for name in SUFFIXES:
        assert main(["read", scan, *options, "--format", name, "--output", str(folder)]) == 1
    pages = (folder / "scan.tif.txt").read_text().split("\f")
    assert [page.count("aa") for page in pages] == [n * (n != damaged) for n in (1, 2, 3)]
    assert (folder / "scan.tif.md").read_text().count("---") == 2
    alto = ElementTree.parse(folder / "scan.tif.xml")
    numbers = [each.get("PHYSICAL_IMG_NR") for each in alto.iter() if each.tag.endswith("}Page")]
    assert numbers == [str(n) for n in (1, 2, 3) if n != damaged]


def test_files_are_not_replaced(
    options: list[str], photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["read", photo, *options, "--output", str(tmp_path / "out")]
    assert main(command) == 0
    written = tmp_path / "out" / "photo.png.txt"
    written.write_text("corrected")
    assert main(command) == 2
    assert "give --overwrite to replace it" in " ".join(capsys.readouterr().err.split())
    assert written.read_text() == "corrected"
    assert main([*command, "--overwrite"]) == 0
    assert written.read_text() == "aa\naa\n"


def test_one_document_is_printed_in_any_format(
    options: list[str], scan: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["read", scan, *options, "--format", "alto"]) == 0
    root = ElementTree.fromstring(capsys.readouterr().out)
    assert sum(each.tag.endswith("}Page") for each in root.iter()) == 3
    assert main(["read", scan, *options, "--format", "markdown", "--pages", "1-2"]) == 0
    assert capsys.readouterr().out == "aa\n\n---\n\naa\naa\n"


def test_pdf(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pypdfium2")
    path = make_pdf(tmp_path / "scan.pdf", [scene(num_texts=count) for count in (1, 2)])
    assert main(["read", str(path), *options, "--dpi", "72"]) == 0
    assert "2 images, 3 texts" in capsys.readouterr().err


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
