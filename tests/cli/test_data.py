# SPDX-License-Identifier: Apache-2.0
import base64
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.data.damaged import check_images
from dbnet_trt.data.dataset import DataSet
from dbnet_trt.data.report import choose_samples, draw_sample
from dbnet_trt.data.samples import Problem, Sample, Text
from dbnet_trt.data.statistics import compute_statistics, ribbon_size, spread
from photos import write_lines, write_photo

BOX = np.array([[10, 20], [60, 20], [60, 40], [10, 40]], np.float64)
GOOD = "10,20,60,20,60,40,10,40,word"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a data set: a good image, one without text, a broken outline, a damaged image."""
    data = tmp_path / "data"
    for name in ("img_1.png", "img_2.png", "img_3.png", "img_4.jpg"):
        write_photo(data / "images" / name)
    write_lines(data / "gts" / "gt_img_1.txt", GOOD, GOOD.replace("word", "###"))
    write_lines(data / "gts" / "gt_img_2.txt")
    write_lines(data / "gts" / "gt_img_3.txt", GOOD, "10,20,[red]")
    write_lines(data / "gts" / "gt_img_4.txt", "10,20,60,40,60,20,10,40,bow")
    whole = (data / "images" / "img_4.jpg").read_bytes()
    (data / "images" / "img_4.jpg").write_bytes(whole[: len(whole) // 2])
    return data


def pictures(report: Path) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', report.read_text(encoding="utf-8"))
    raw = [np.frombuffer(base64.b64decode(each), np.uint8) for each in found]
    return [cv2.imdecode(each, cv2.IMREAD_COLOR) for each in raw]


def test_check_of_a_data_set_with_problems(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "out" / "check.html"
    assert main(["data", "check", f"icdar2015:{folder}", "--report", str(report)]) == 1
    printed = capsys.readouterr().out
    for row in (
        r"images\s+│\s+3 ",
        r"images without text\s+│\s+1 ",
        r"texts\s+│\s+3 ",
        r"ignored texts\s+│\s+2 \(66.7 %\)",
        r"problems: line not understood\s+│\s+1 ",
        r"problems: outline\s+│\s+1 ",
        r"problems: image unreadable\s+│\s+1 ",
        r"height in pixels 16 to 32\s+│\s+1 ",
    ):
        assert re.search(row, printed), row
    assert f"{folder / 'gts' / 'gt_img_3.txt'}:2: expected x1,y1" in printed
    assert "[red]" in printed  # not interpreted as markup
    assert f"{folder / 'images' / 'img_4.jpg'}: expected an image that decodes" in printed
    html = report.read_text(encoding="utf-8")
    assert "gt_img_4.txt:1: the outline of text &#x27;bow&#x27; crosses itself" in html
    assert len(pictures(report)) == 2  # not of the damaged one


def test_check_of_a_data_set_without_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "data" / "a.png")
    write_lines(tmp_path / "data" / "gt_a.txt", GOOD)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "check", "data"]) == 0
    assert "data-check.html" in capsys.readouterr().out
    assert len(pictures(tmp_path / "data-check.html")) == 1


@pytest.mark.parametrize(("texts", "code"), [("none", 1), ("ignored", 0)])
def test_check_of_an_empty_data_set(
    tmp_path: Path, texts: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photo(tmp_path / "a.png")
    text = {"polygon": BOX.tolist(), "ignore": True}
    lines = [json.dumps({"image": "a.png", "texts": [text]})] if texts == "ignored" else []
    file = write_lines(tmp_path / "labels.jsonl", *lines)
    assert main(["data", "check", str(file), "--report", str(tmp_path)]) == code
    assert "there is no text to learn or find" in capsys.readouterr().out


def test_options_of_check(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["data", "check", str(folder), "--format", "icdar2015", "--report", str(tmp_path)]
    assert main([*common, "--limit", "0", "--pictures", "2"]) == 1
    assert "image unreadable" not in capsys.readouterr().out
    assert len(pictures(tmp_path / "report.html")) == 1  # the other one is damaged
    assert main([*common, "--limit", "-1"]) == 2
    assert main(["data", "check", f"mlt:{folder}/none"]) == 2
    assert "there is no" in capsys.readouterr().err


def test_nothing_but_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [json.dumps({"image": f"{number}.png", "texts": []}) for number in range(25)]
    file = write_lines(tmp_path / "labels.jsonl", *lines)
    assert main(["data", "check", str(file), "--report", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "labels.jsonl:20: " in printed
    assert "labels.jsonl:21: " not in printed
    assert "and 5 more problems" in printed
    assert pictures(tmp_path / "report.html") == []


def test_report_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = folder / "gts" / "gt_img_1.txt" / "report.html"
    assert main(["data", "check", str(folder), "--report", str(report)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_statistics(tmp_path: Path) -> None:
    samples = [
        Sample(tmp_path / "a" / "x.jpg", (Text(BOX), Text(BOX, ignore=True)), (2.0, 0.5)),
        Sample(tmp_path / "b" / "x.jpg", (Text(BOX),)),
        Sample(tmp_path / "y.jpg", ()),
    ]
    problems = [Problem(tmp_path, 1, "", kind) for kind in ("outline", "encoding", "outline")]
    statistics = compute_statistics(DataSet(samples, problems))
    assert (statistics.num_images, statistics.num_texts, statistics.num_ignored) == (3, 3, 1)
    np.testing.assert_allclose(statistics.heights, [10, 20], rtol=1e-6)  # after stretching
    np.testing.assert_allclose(statistics.aspects, [10, 2.5], rtol=1e-6)
    assert statistics.empty == (tmp_path / "y.jpg",)
    assert statistics.same_name == {"x.jpg": [samples[0].image, samples[1].image]}
    assert statistics.kinds == [("outline", 2), ("encoding", 1)]
    table = dict(statistics.height_table)
    assert table["8 to 16"] == table["16 to 32"] == 1
    assert sum(table.values()) == 2
    assert compute_statistics(DataSet()).num_texts == 0


def test_height_of_curved_text(rng: np.random.Generator) -> None:
    angles = np.linspace(0, np.pi, 40)
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    height, length = ribbon_size(np.concatenate([arc * 110, arc[::-1] * 90]))
    assert height == pytest.approx(20, rel=0.01)
    assert length == pytest.approx(np.pi * 100, rel=0.01)
    width, depth = rng.uniform(10, 50, 2)
    box = np.array([[0, 0], [width, 0], [width, depth], [0, depth]])
    assert ribbon_size(box) == pytest.approx((min(width, depth), max(width, depth)), rel=1e-3)


def test_undecodable_images(folder: Path) -> None:
    samples = [Sample(path, ()) for path in sorted((folder / "images").iterdir())]
    (problem,) = filter(None, check_images(samples))
    assert problem.file.name == "img_4.jpg"


def test_pictures_are_of_problems_first(tmp_path: Path) -> None:
    samples = [Sample(tmp_path / f"{number}.jpg", ()) for number in range(20)]
    problems = [Problem(tmp_path, 1, "", image=samples[number].image) for number in (3, 7, 11, 13)]
    statistics = compute_statistics(DataSet(samples, problems))
    names = [int(sample.image.stem) for sample in choose_samples(statistics, samples, 6)]
    assert set(names[:3]) <= {3, 7, 11, 13}
    assert not set(names[3:]) & {3, 7, 11, 13}
    assert len(set(names)) == 6
    assert len(choose_samples(statistics, samples, 100)) == 20
    assert [int(sample.image.stem) for sample in spread(samples, 3)] == [0, 10, 19]


def test_outlines_are_drawn_where_the_text_is(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), np.zeros((100, 200, 3), np.uint8))
    texts = (Text(BOX), Text(BOX + np.array([100, 0]), ignore=True))
    picture = draw_sample(Sample(path, texts, (1.0, 2.0)), side=100)
    assert picture.shape == (100, 100, 3)
    green = (picture[..., 1] > 150) & (picture[..., 2] < 100)
    orange = picture[..., 2] > 200
    rows, columns = np.nonzero(green)
    assert (columns.min(), columns.max()) == pytest.approx((5, 30), abs=1.5)
    assert (rows.min(), rows.max()) == pytest.approx((20, 40), abs=1.5)
    assert np.nonzero(orange)[1].min() == pytest.approx(55, abs=1.5)


def test_names_and_problems_are_printed_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "[red]x\x1b[2J"
    write_photo(data / "a.png")
    write_lines(data / "gt_a.txt", "10,20,[blue]")
    report = tmp_path / "[bold]y\x1b]0;z.html"
    assert main(["data", "check", f"icdar2015:{data}", "--report", str(report)]) == 1
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    for shown in ("[red]x\\x1b[2J", "[blue]", "[bold]y\\x1b]0;z.html"):
        assert shown in printed
