# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt.data.guess import guess_format
from dbnet_trt.data.readers import READERS
from dbnet_trt.data.readers.files import ImageFinder
from photos import write_lines, write_photo

GOOD = "10,20,60,20,60,40,10,40,word"


def test_image_without_annotation_and_the_reverse(tmp_path: Path) -> None:
    for number in (1, 2):
        write_photo(tmp_path / "images" / f"img_{number}.jpg")
    for number in (2, 3):
        write_lines(tmp_path / "gts" / f"gt_img_{number}.txt", GOOD)
    write_lines(tmp_path / "readme.txt", "not an annotation")
    found = READERS["icdar2015"](tmp_path)
    assert [sample.image.name for sample in found.samples] == ["img_2.jpg"]
    first, second = found.problems
    assert (first.file.name, first.kind) == ("img_1.jpg", "annotation missing")
    assert (second.file.name, second.kind) == ("gt_img_3.txt", "image missing")


def test_two_annotations_of_an_image(tmp_path: Path) -> None:
    write_photo(tmp_path / "img_1.jpg")
    write_lines(tmp_path / "a" / "gt_img_1.txt", GOOD)
    write_lines(tmp_path / "b" / "gt_img_1.txt", GOOD)
    found = READERS["icdar2015"](tmp_path)
    assert found.samples == []
    assert "got 2" in found.problems[0].message


def test_empty_annotation_is_an_image_without_text(tmp_path: Path) -> None:
    write_photo(tmp_path / "img_1.jpg")
    (tmp_path / "gt_img_1.txt").write_bytes(b"\r\n")
    found = READERS["icdar2015"](tmp_path)
    assert found.samples[0].texts == ()
    assert found.problems == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    write_photo(tmp_path / "img_1.jpg")
    content = "é\u2028\x0c木"  # with characters that splitlines() treats as line breaks
    line = GOOD.replace("word", content)
    write_lines(tmp_path / "gt_img_1.txt", line, encoding=encoding, newline="\r\n")
    found = READERS["icdar2015"](tmp_path)
    assert found.problems == []
    assert found.samples[0].texts[0].content == content


def test_bytes_that_are_not_utf8_are_reported_and_the_outlines_used(tmp_path: Path) -> None:
    write_photo(tmp_path / "img_1.jpg")
    raw = f"{GOOD}\n{GOOD}".encode().replace(b"word", b"w\xe9rd") + b"\n" + GOOD.encode()
    (tmp_path / "gt_img_1.txt").write_bytes(raw)
    found = READERS["icdar2015"](tmp_path)
    contents = [text.content for text in found.samples[0].texts]
    assert contents == ["w\ufffdrd", "w\ufffdrd", "word"]
    (problem,) = found.problems
    assert (problem.line, problem.kind) == (1, "encoding")
    assert "0xe9" in problem.message


def test_annotation_that_cannot_be_read_skips_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        write_photo(tmp_path / f"img_{number}.jpg")
        write_lines(tmp_path / f"gt_img_{number}.txt", GOOD)
    open_file = Path.open

    def deny(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "gt_img_1.txt":
            raise PermissionError(13, "Permission denied")
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", deny)
    found = READERS["icdar2015"](tmp_path)
    assert [sample.image.name for sample in found.samples] == ["img_2.jpg"]
    (problem,) = found.problems
    assert (problem.file.name, problem.kind) == ("gt_img_1.txt", "annotation unreadable")
    assert "Permission denied" in problem.message


def test_readme_is_not_an_annotation(tmp_path: Path) -> None:
    write_photo(tmp_path / "Images" / "img1.jpg")
    write_lines(tmp_path / "readme.txt", "about the data set")
    with pytest.raises(ValueError, match="named like the images"):
        READERS["totaltext"](tmp_path)
    (tmp_path / "gt_img1.mat").write_bytes(b"broken")
    assert READERS["totaltext"](tmp_path).problems[0].file.name == "gt_img1.mat"
    write_lines(tmp_path / "gt_img1.txt")  # if both exist, the text file is used
    assert READERS["totaltext"](tmp_path).problems == []


def test_search_for_annotations_stays_in_the_data_set(tmp_path: Path) -> None:
    write_photo(tmp_path / "mine" / "img_1.jpg")
    write_lines(tmp_path / "other" / "gt_img_1.txt", GOOD)
    with pytest.raises(ValueError, match=r"expected annotations \(.txt\)"):
        READERS["icdar2015"](tmp_path / "mine")
    write_photo(tmp_path / "images" / "img_1.jpg")
    assert len(READERS["icdar2015"](tmp_path / "images").samples) == 1


def test_image_finder(tmp_path: Path) -> None:
    image = write_photo(tmp_path / "labels" / "deep" / "a.png")
    for folder in ("one", "two"):
        write_photo(tmp_path / "labels" / folder / "twice.png")
    above = write_photo(tmp_path / "set" / "b.png")
    finder = ImageFinder(tmp_path / "labels")
    assert finder.find("deep/a.png") == image
    assert finder.find("elsewhere/a.png") == image
    assert finder.find("set/b.png") == above
    assert finder.find("twice.png") is None
    assert finder.find("one/twice.png") is not None
    assert finder.find("none.png") is None
    assert finder.find("") is None


POINTS = ",".join(["1"] * 28)
RELATIVE = "100,50,300,90," + ",".join(f"{x},{y}" for y in (0, 40) for x in range(0, 210, 33))


@pytest.mark.parametrize(
    ("name", "line", "form"),
    [
        ("gt/gt_1.txt", '10 20 60 40 "word"', "icdar2013"),
        ("gt/gt_1.txt", '10, 20, 60, 40, "word"', "icdar2013"),
        ("gt/gt_1.txt", "10,20,60,20,60,40,10,40,a, b", "icdar2015"),
        ("gt/gt_1.txt", "10,20,60,20,60,40,10,40,Latin,a, b", "mlt"),
        ("gt/poly_gt_1.txt", "x: [[1 2 3", "totaltext"),
        ("gt/poly_gt_1.mat", "MATLAB 5.0", "totaltext"),
        ("0001001.txt", f"{POINTS},####word", "ctw1500"),
        ("0001.txt", RELATIVE, "ctw1500"),
        ("0001.xml", "<segs>", "ctw1500"),
        ("IMG_1.gt", "0 0 1 2 3 4 0", "td500"),
        ("gt.mat", "MATLAB 5.0", "synthtext"),
        ("cocotext.v2.json", '{"anns": {}, "imgs": {}}', "cocotext"),
        ("Label.txt", 'a.jpg\t[{"points": []}]', "paddleocr"),
        ("export.json", "[{", "labelstudio"),
        ("labels.jsonl", "{", "jsonl"),
    ],
)
def test_format_is_guessed_from_the_files(tmp_path: Path, name: str, line: str, form: str) -> None:
    write_photo(tmp_path / "1.jpg")
    file = write_lines(tmp_path / name, line, encoding="utf-8-sig", newline="\r\n")
    assert guess_format(tmp_path) == form
    if form in ("synthtext", "cocotext", "paddleocr", "labelstudio", "jsonl"):
        assert guess_format(file) == form


def test_format_that_cannot_be_guessed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no annotation in it is recognised; name it, as FORMAT:"):
        guess_format(tmp_path)
    write_lines(tmp_path / "gt_1.txt", GOOD)
    write_lines(tmp_path / "1.gt", "0 0 1 2 3 4 0")
    with pytest.raises(ValueError, match="icdar2015 and td500 fit"):
        guess_format(tmp_path)
