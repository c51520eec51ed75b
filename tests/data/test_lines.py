# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data.guess import guess_format
from dbnet_trt.data.lines import split_outline, split_quad
from dbnet_trt.data.open import read_as_is
from photos import write_lines, write_photo

QUAD = "10,10,100,10,100,40,10,40"
FAR = "210,110,300,110,300,140,210,140"
HEXAGON = "10,10,50,8,100,10,100,40,50,38,10,40"


@pytest.mark.parametrize(
    ("line", "count", "text"),
    [
        (QUAD, 8, None),
        (f"{QUAD},word", 8, "word"),
        (f"{QUAD},a, b,c", 8, "a, b,c"),
        (f"{QUAD},2019", 8, "2019"),
        (f"{FAR},1,000", 8, "1,000"),
        (f"{FAR},1,000,000", 8, "1,000,000"),
        (f"{QUAD},12,5 kg", 8, "12,5 kg"),
        (f"{QUAD},", 8, ""),
        (HEXAGON, 12, None),
        (f"{HEXAGON},word", 12, "word"),
        (f"{FAR},200,125", 10, None),  # a fifth point, beside the others
        (f"{HEXAGON},7", 12, "7"),
        (f"{HEXAGON},###", 12, "###"),
        ("1,2,3,4,5,6", 6, None),
        (" 10, 10.5, 1e2, 10, -3, 40, word", 6, " word"),
        ("1_0,2,3,4", 0, "1_0,2,3,4"),
        ("nan,2,3,4", 0, "nan,2,3,4"),
    ],
)
def test_outline_and_text(line: str, count: int, text: str | None) -> None:
    numbers, rest = split_outline(line)
    assert (len(numbers), rest) == (count, text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{HEXAGON},word", "an outline of 6 points .*the format polygons has such lines"),
        (QUAD, "the format polygons has lines without text"),
        (f'{QUAD},1,"HARD"', "the format rctw"),
        (f"{QUAD},0,EASY", "the format rctw"),
        (f"{QUAD},Latin,word", "the format mlt"),
    ],
)
def test_lines_of_other_formats_are_no_quads(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_quad(line)


@pytest.mark.parametrize("text", ["0,5", "1,2", "1", "Latin", "None", "a,1", '"x"', "1, 2"])
def test_texts_that_only_look_like_another_format(text: str) -> None:
    numbers, content = split_quad(f"{FAR},{text}")
    assert (len(numbers), content) == (8, text)


def test_points_are_all_learnt(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_lines(tmp_path / "a.txt", f"{HEXAGON},word", QUAD, f"{HEXAGON},###", "5,5,9,5,7,9,x,y")
    found = read_as_is(f"polygons:{tmp_path}")
    assert [(len(each.polygon), each.ignore) for each in found.samples[0].texts] == [
        (6, False),
        (4, False),
        (6, True),
        (3, False),
    ]
    assert found.samples[0].texts[-1].content == "x,y"
    refused = read_as_is(f"icdar2015:{tmp_path}")
    assert refused.samples == []
    assert [problem.line for problem in refused.problems] == [1, 2, 3, 4]


@pytest.mark.parametrize("suffix", [".tif", ".jfif", ".JPG", ".webp"])
def test_suffixes_of_images(tmp_path: Path, suffix: str) -> None:
    write_photo(tmp_path / "a.jpg").rename(tmp_path / f"a{suffix}")
    if suffix in (".tif", ".webp"):
        (tmp_path / f"a{suffix}").unlink()
        write_photo(tmp_path / f"a{suffix}")
    write_lines(tmp_path / "a.txt", f"{QUAD},word")
    assert [each.image.suffix for each in read_as_is(str(tmp_path)).samples] == [suffix]


def test_rare_lines_decide_between_formats(tmp_path: Path) -> None:
    for number in range(30):
        write_photo(tmp_path / f"{number}.jpg")
        write_lines(tmp_path / f"{number}.txt", *[f"{QUAD},word"] * 5)
    write_lines(tmp_path / "readme.txt", "about this set")
    assert guess_format(tmp_path) == "icdar2015"
    write_lines(tmp_path / "7.txt", *[f"{QUAD},word"] * 5, f"{HEXAGON},word")
    assert guess_format(tmp_path) == "polygons"


def test_formats_that_read_lines_otherwise_are_named(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_lines(tmp_path / "a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4")
    assert guess_format(tmp_path) == "yolo"
    write_lines(tmp_path / "b.gt", "0 0 1 2 3 4 0")
    with pytest.raises(ValueError, match="td500 and yolo fit"):
        guess_format(tmp_path)


def test_layout_of_the_original_repository(tmp_path: Path) -> None:
    for part, name in (("train", "a.jpg.txt"), ("test", "gt_b.txt")):
        image = name.removeprefix("gt_").partition(".")[0]
        write_photo(tmp_path / f"{part}_images" / f"{image}.jpg")
        write_lines(tmp_path / f"{part}_gts" / name, f"{HEXAGON},1", f"{QUAD},0")
    both = read_as_is(f"db:{tmp_path}")
    assert "train and test together" in both.notes[0]
    assert [sample.part for sample in both.samples] == ["train", "test"]
    assert [text.ignore for text in both.samples[0].texts] == [True, False]  # flags, all of them
    for name in (f"db:{tmp_path}#test", f"db:{tmp_path / 'test_images'}"):
        assert [sample.image.name for sample in read_as_is(name).samples] == ["b.jpg"]
    write_lines(tmp_path / "train_gts" / "a.jpg.txt", f"{HEXAGON},1", f"{QUAD},word")
    ignored = [text.ignore for text in read_as_is(f"db:{tmp_path}").samples[0].texts]
    assert ignored == [False, False]
    with pytest.raises(ValueError, match="expected train_images or test_images"):
        read_as_is(f"db:{tmp_path / 'train_gts'}")


def test_polygon_of_a_line_is_as_written(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_lines(tmp_path / "a.txt", f"{HEXAGON},word")
    (text,) = read_as_is(str(tmp_path)).samples[0].texts
    np.testing.assert_array_equal(text.polygon.ravel(), [float(x) for x in HEXAGON.split(",")])
