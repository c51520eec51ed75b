# SPDX-License-Identifier: Apache-2.0
"""Documents and folders in, lines and pictures out."""

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt.cli.app import main
from fakes.documents import make_pdf
from fakes.tiny_model import make_model, scene


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A TIFF of four pages with 1 to 4 texts."""
    path = tmp_path / "in" / "scan.tif"
    path.parent.mkdir()
    cv2.imwritemulti(str(path), [scene(num_texts=count) for count in (1, 2, 3, 4)])
    return path


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def numbers(found: list[dict[str, Any]]) -> list[tuple[int | None, int]]:
    return [(record.get("page"), len(record["scores"])) for record in found]


def test_pages_are_records(model: str, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", str(scan), "--model", model, "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert numbers(records(printed.out)) == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert "4 images, 10 texts" in printed.err
    assert list(records(printed.out)[0])[:4] == ["image", "page", "height", "width"]
    assert main(["detect", str(scan), "--model", model, "--json", "-", "--pages", "2-3"]) == 0
    assert numbers(records(capsys.readouterr().out)) == [(2, 2), (3, 3)]
    assert main(["detect", str(scan), "--model", model, "--pages", "4-"]) == 0
    assert f"{scan} page 4: 4 texts" in capsys.readouterr().out


def test_pdf(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pypdfium2")
    path = make_pdf(tmp_path / "scan.pdf", [scene(num_texts=count) for count in (1, 2, 3)])
    arguments = ["detect", str(path), "--model", model, "--dpi", "72"]
    pictures = tmp_path / "out"
    assert main([*arguments, "--json", "-", "--save", str(pictures)]) == 0
    found = records(capsys.readouterr().out)
    assert numbers(found) == [(1, 1), (2, 2), (3, 3)]
    assert [record["height"] for record in found] == [120] * 3
    names = [str(pictures / f"scan_page000{page}.jpg") for page in (1, 2, 3)]
    assert [record["picture"] for record in found] == names
    assert all(Path(name).is_file() for name in names)
    picture = str(tmp_path / "one.png")
    assert main([*arguments, "--save", picture]) == 2
    assert "names one picture, but there are several" in capsys.readouterr().err
    assert main([*arguments, "--save", picture, "--pages", "3"]) == 0
    assert cv2.imread(picture).shape == (120, 200, 3)


def test_files_that_are_damaged_or_encrypted_are_one_line(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pypdfium2")
    make_pdf(tmp_path / "a.pdf", [scene()], encrypted=True)
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7\n...")
    cv2.imwrite(str(tmp_path / "c.png"), scene())
    make_pdf(tmp_path / "d.pdf", [scene(), scene(), scene()])
    data = (tmp_path / "d.pdf").read_bytes()
    (tmp_path / "d.pdf").write_bytes(data.replace(b"/Kids[3 0 R 6 0 R", b"/Kids[3 0 R 5 0 R"))
    assert main(["detect", str(tmp_path), "--model", model, "--json", "-"]) == 1
    printed = capsys.readouterr()
    # Pages after a damaged one are read.
    assert [(Path(r["image"]).name, r.get("page")) for r in records(printed.out)] == [
        *(("c.png", None), ("d.pdf", 1), ("d.pdf", 3))
    ]
    lines = printed.err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["skipped"] * 3 + [
        "3 images, 6 texts, 3 skipped"
    ]
    for line, words in zip(lines, ("encrypted", "is damaged", "page 2 is damaged"), strict=False):
        assert words in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pages", "0"], "pages must be numbers from 1"),
        (["--dpi", "0"], "dpi must be a whole number between 1 and 2400"),
    ],
)
def test_wrong_options(
    arguments: list[str], message: str, model: str, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", str(scan), "--model", model, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_no_such_page(model: str, scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(scan.parent / "photo.png"), scene())
    arguments = ["detect", str(scan.parent), "--model", model, "--json", "-", "--pages", "4"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert numbers(records(printed.out)) == [(4, 4)]
    assert "photo.png has one page, none of which is in 4" in printed.err


def test_output_inside_the_input_is_left_out(
    model: str, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = scan.parent
    outputs = ["--save", str(folder / "drawn"), "--json", str(folder / "found.jsonl")]
    for _ in range(2):
        arguments = ["detect", str(folder), "--model", model, *outputs, "--overwrite"]
        assert main(arguments) == 0
        assert "4 images" in capsys.readouterr().err
    assert main(["detect", str(folder / "*"), "--model", model, *outputs, "--overwrite"]) == 0
    assert "4 images" in capsys.readouterr().err
    there = sorted(path.name for path in folder.iterdir())
    assert there == ["drawn", "found.jsonl", "found.jsonl.run.json", "scan.tif"]


def test_pages_and_pictures_of_one_name_have_their_own_pictures(
    model: str, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("scan.jpg", "scan.pgm", "scan_page0002.jpg"):
        cv2.imwrite(str(scan.parent / name), np.zeros((40, 50), np.uint8))
    arguments = ["detect", str(scan.parent), "--model", model, "--json", "-"]
    assert main([*arguments, "--save", str(tmp_path / "out")]) == 0
    pictures = [Path(record["picture"]).name for record in records(capsys.readouterr().out)]
    assert pictures == [
        *("scan.jpg", "scan_2.jpg"),
        *(f"scan_page000{page}.tif" for page in (1, 2, 3, 4)),
        "scan_page0002.jpg",
    ]
    assert len(os.listdir(tmp_path / "out")) == 7


def test_results_do_not_depend_on_the_number_of_streams(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for i in range(30):
        height, width = rng.integers(60, 300, 2).tolist()
        cv2.imwrite(str(tmp_path / f"{i}.png"), scene(height, width, 1 + i % 4))
    arguments = ["detect", str(tmp_path), "--model", model, "--json", "-"]
    outputs = []
    for options in ([], ["--num-streams", "3"], ["--num-streams", "2", "--backend", "onnxruntime"]):
        assert main([*arguments, *options]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0].count("\n") == 30
    assert outputs[0] == outputs[1]
    assert [r["image"] for r in records(outputs[2])] == [r["image"] for r in records(outputs[0])]
