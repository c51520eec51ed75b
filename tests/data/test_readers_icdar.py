# SPDX-License-Identifier: Apache-2.0
import math
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data.dataset import DataSet
from dbnet_trt.data.readers import READERS
from photos import write_lines, write_photo

BOX = [[10, 20], [60, 20], [60, 40], [10, 40]]


def read(form: str, path: Path) -> DataSet:
    """Read a data set, and check that it has no problems."""
    found = READERS[form](path)
    assert [str(problem) for problem in found.problems] == []
    return found


def test_icdar2013_training_set(tmp_path: Path) -> None:
    write_photo(tmp_path / "Challenge2_Training_Task12_Images" / "100.jpg")
    write_lines(
        tmp_path / "Challenge2_Training_Task1_GT" / "gt_100.txt",
        '10 20 60 40 "say "hi", you"',
        '70 20 90 40 "###"',
    )
    write_photo(tmp_path / "Challenge2_Training_Task2_GT" / "100_GT.png")  # a mask, not a photo
    found = read("icdar2013", tmp_path)
    assert len(found.samples) == 1
    first, second = found.samples[0].texts
    np.testing.assert_array_equal(first.polygon, BOX)
    assert (first.content, first.ignore) == ('say "hi", you', False)
    assert second.ignore


def test_icdar2013_test_set(tmp_path: Path) -> None:
    write_photo(tmp_path / "Challenge2_Test_Task12_Images" / "img_1.jpg")
    write_lines(
        tmp_path / "Challenge2_Test_Task1_GT" / "gt_img_1.txt",
        '10, 20, 60, 40, "Tiredness"',
        encoding="utf-8-sig",
        newline="\r\n",
    )
    (text,) = read("icdar2013", tmp_path).samples[0].texts
    np.testing.assert_array_equal(text.polygon, BOX)
    assert text.content == "Tiredness"


@pytest.mark.parametrize(
    ("images", "annotations"),
    [
        ("images", "gts"),
        ("ch4_training_images", "ch4_training_localization_transcription_gt"),
        ("ch4_test_images", "Challenge4_Test_Task1_GT"),
        (".", "."),
    ],
)
def test_icdar2015_layouts(tmp_path: Path, images: str, annotations: str) -> None:
    write_photo(tmp_path / images / "img_1.jpg")
    write_lines(
        tmp_path / annotations / "gt_img_1.txt",
        "10,20,60,20,60,40,10,40,1,000 km, about",
        "10,50,60,50,60,70,10,70,###",
        encoding="utf-8-sig",
        newline="\r\n",
    )
    sample = read("icdar2015", tmp_path).samples[0]
    np.testing.assert_array_equal(sample.texts[0].polygon, BOX)
    assert [text.content for text in sample.texts] == ["1,000 km, about", "###"]
    assert [text.ignore for text in sample.texts] == [False, True]
    assert sample.stretch == (1.0, 1.0)


def test_icdar2015_parts_side_by_side(tmp_path: Path) -> None:
    for part, word in (("training", "train"), ("test", "test")):
        write_photo(tmp_path / f"ch4_{part}_images" / "img_1.jpg")
        write_lines(tmp_path / f"ch4_{part}_gt" / "gt_img_1.txt", f"1,1,9,1,9,9,1,9,{word}")
    with pytest.raises(ValueError, match="several parts") as error:
        READERS["icdar2015"](tmp_path)
    assert "ch4_training_images" in str(error.value)
    for part, word in (("training", "train"), ("test", "test")):
        (sample,) = read("icdar2015", tmp_path / f"ch4_{part}_images").samples
        assert sample.texts[0].content == word


def test_mlt2017(tmp_path: Path) -> None:
    gt = tmp_path / "ch8_training_localization_transcription_gt_v2"
    write_photo(tmp_path / "ch8_training_images_1" / "img_1.jpg")
    write_photo(tmp_path / "ch8_training_images_2" / "img_1001.png")
    write_lines(gt / "gt_img_1.txt", "10,20,60,20,60,40,10,40,Arabic,مرحبا")
    write_lines(gt / "gt_img_1001.txt", "10,20,60,20,60,40,10,40,None,###")
    first, second = read("mlt", tmp_path).samples
    np.testing.assert_array_equal(first.texts[0].polygon, BOX)
    assert first.texts[0].content == "مرحبا"
    assert second.image.name == "img_1001.png"
    assert second.texts[0].ignore


def test_mlt2019(tmp_path: Path) -> None:
    write_photo(tmp_path / "ImagesPart1" / "tr_img_00001.jpg")
    write_lines(
        tmp_path / "train_gt_t13" / "tr_img_00001.txt", "10,20,60,20,60,40,10,40,Latin,a, b"
    )
    (sample,) = read("mlt", tmp_path).samples
    assert sample.texts[0].content == "a, b"


def test_td500(tmp_path: Path) -> None:
    write_photo(tmp_path / "IMG_0030.JPG")
    write_lines(tmp_path / "IMG_0030.gt", "1 0 10 20 50 20 0.0", f"0 1 40 50 60 20 {math.pi / 2}")
    upright, turned = read("td500", tmp_path).samples[0].texts
    np.testing.assert_array_equal(upright.polygon, BOX)
    assert (upright.ignore, turned.ignore) == (False, True)
    np.testing.assert_allclose(turned.polygon, [[80, 30], [80, 90], [60, 90], [60, 30]], atol=1e-9)


@pytest.mark.parametrize(
    ("form", "name", "line", "message"),
    [
        ("icdar2013", "gt_a.txt", "10 20 60 word", "expected x1 y1 x2 y2"),
        ("icdar2015", "gt_a.txt", "10,20,60,20,60,40,10,40", "got 8 fields"),
        ("icdar2015", "gt_a.txt", "10,20,60,20,60,4o,10,40,word", "expected a number, got '4o'"),
        ("icdar2015", "gt_a.txt", "10,20,60,20,60,9e9,10,40,word", "expected an outline in pixels"),
        ("icdar2015", "gt_a.txt", "10,20,60,20,60,nan,10,40,word", "expected a number, got 'nan'"),
        ("mlt", "gt_a.txt", "10,20,60,20,60,40,10,40,word", "script,text, got 9 fields"),
        ("mlt", "gt_a.txt", "10,20,60,20,60,40,10,40,Klingon,word", "got script 'Klingon'"),
        ("td500", "a.gt", "0 0 10 20 50 20", "got 6 fields"),
    ],
)
def test_line_that_cannot_be_placed_skips_its_image(
    tmp_path: Path, form: str, name: str, line: str, message: str
) -> None:
    write_photo(tmp_path / "a.jpg")
    good = {
        "icdar2013": '10 20 60 40 "word"',
        "icdar2015": "10,20,60,20,60,40,10,40,word",
        "mlt": "10,20,60,20,60,40,10,40,Latin,word",
        "td500": "0 0 10 20 50 20 0",
    }
    write_lines(tmp_path / name, good[form], "", line)
    found = READERS[form](tmp_path)
    assert found.samples == []
    (problem,) = found.problems
    assert (problem.file, problem.line) == (tmp_path / name, 3)
    assert message in problem.message
    assert str(problem).startswith(f"{tmp_path / name}:3: ")


def test_real_photos(shared_data: Path) -> None:
    train = read("icdar2015", shared_data / "icdar2015" / "train")
    assert len(train.samples) == 1000
    assert {sample.stretch for sample in train.samples} == {(1.0, 1.0)}
    assert len(read("icdar2015", shared_data / "icdar2015" / "test_open").samples) == 200
    lines = read("td500", shared_data / "msra_td500" / "train")
    assert len(lines.samples) == 300
    assert sum(text.ignore for sample in lines.samples for text in sample.texts) == 101
