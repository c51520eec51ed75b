# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt.data.dataset import DataSet
from dbnet_trt.data.readers import READERS
from dbnet_trt.data.samples import load_sample_image
from photos import write_lines, write_photo
from scipy.io import savemat

ARC = [(10 + 10 * i, 40 - 4 * i) for i in range(7)] + [(70 - 10 * i, 60 - 2 * i) for i in range(7)]


def read(form: str, path: Path) -> DataSet:
    """Read a data set, and check that it has no problems."""
    found = READERS[form](path)
    assert [str(problem) for problem in found.problems] == []
    return found


def test_totaltext_txt(tmp_path: Path) -> None:
    write_photo(tmp_path / "Images" / "Train" / "img11.jpg")
    write_photo(tmp_path / "Images" / "Test" / "img1.jpg")
    write_lines(
        tmp_path / "txt_format" / "Train" / "poly_gt_img11.txt",
        "x: [[10 60 60 10]], y: [[20 20 40 40]], ornt: [u'c'], transcriptions: [u'PETRO, [S]']",
        "x: [[ 70  90 110",  # line breaks as NumPy prints a long array
        "   110 70]], y: [[20 22 20",
        " 40 40]], ornt: [u'h'], transcriptions: [u\"don't\"]",
        "x: [[10 60 60 10]], y: [[60 60 80 80]], ornt: [u'#'], transcriptions: [u'#']",
    )
    write_lines(
        tmp_path / "txt_format" / "Test" / "poly_gt_img1.txt",
        "x: [[1 9 9 1]], y: [[1 1 9 9]], ornt: [], transcriptions: []",
    )
    (sample,) = read("totaltext", tmp_path / "Images" / "Train").samples
    np.testing.assert_array_equal(sample.texts[0].polygon, [[10, 20], [60, 20], [60, 40], [10, 40]])
    assert [text.content for text in sample.texts] == ["PETRO, [S]", "don't", "#"]
    assert [text.ignore for text in sample.texts] == [False, False, True]
    assert len(sample.texts[1].polygon) == 5
    (test,) = read("totaltext", tmp_path / "Images" / "Test").samples
    assert (test.texts[0].content, test.texts[0].ignore) == ("", False)
    with pytest.raises(ValueError, match="several parts"):
        READERS["totaltext"](tmp_path)


@pytest.mark.parametrize("key", ["polygt", "gt"])
def test_totaltext_mat(tmp_path: Path, key: str) -> None:
    write_photo(tmp_path / "Images" / "Train" / "img11.jpg")
    write_photo(tmp_path / "Groundtruth" / "Pixel" / "Train" / "img11.jpg")  # a mask, not a photo
    rows = np.empty((2, 6), object)
    rows[0] = [
        "x:",
        np.array([[10, 60, 60, 10]], np.uint16),
        "y:",
        np.array([[20, 20, 40, 40]], np.uint16),
        "OPEN",
        "c",
    ]
    rows[1] = ["x:", np.array([[10, 60, 60, 10]]), "y:", np.array([[60, 60, 80, 80]]), "#", "#"]
    file = tmp_path / "Groundtruth" / "Polygon" / "Train" / "poly_gt_img11.mat"
    file.parent.mkdir(parents=True)
    savemat(file, {key: rows})
    (sample,) = read("totaltext", tmp_path).samples
    np.testing.assert_array_equal(sample.texts[0].polygon, [[10, 20], [60, 20], [60, 40], [10, 40]])
    assert [(text.content, text.ignore) for text in sample.texts] == [("OPEN", False), ("#", True)]


def test_totaltext_points_are_those_of_the_stored_pixels(tmp_path: Path) -> None:
    write_photo(tmp_path / "img651.jpg", 100, 300, orientation=6)
    write_lines(
        tmp_path / "gt_img651.txt",
        "x: [[200 290 290 200]], y: [[20 20 40 40]], ornt: [u'h'], transcriptions: [u'a']",
    )
    (sample,) = read("totaltext", tmp_path).samples
    assert load_sample_image(sample).shape == (100, 300, 3)
    assert sample.texts[0].polygon[:, 0].max() == 290


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("x: [[1 9 9]], y: [[1 1 9 9]], ornt: [u'c'], transcriptions: [u'a']", "got 3 and 4"),
        ("x: [[1 9 9 1]], ornt: [u'c'], transcriptions: [u'a']", "expected x: [[...]]"),
        ("x: [[1 9 q 1]], y: [[1 1 9 9]], ornt: [u'c'], transcriptions: [u'a']", "got 'q'"),
    ],
)
def test_broken_totaltext_record(tmp_path: Path, record: str, message: str) -> None:
    write_photo(tmp_path / "img1.jpg")
    good = "x: [[1 9 9 1]], y: [[1 1 9 9]], ornt: [u'c'], transcriptions: [u'a']"
    write_lines(tmp_path / "gt_img1.txt", good.replace("]], y", "\n]], y"), record)
    found = READERS["totaltext"](tmp_path)
    assert found.samples == []
    (problem,) = found.problems
    assert problem.line == 3
    assert message in problem.message


def test_broken_mat(tmp_path: Path) -> None:
    for name in ("img1", "img2", "img3"):
        write_photo(tmp_path / f"{name}.jpg")
    (tmp_path / "poly_gt_img1.mat").write_bytes(b"no mat file")
    savemat(tmp_path / "poly_gt_img2.mat", {"other": np.zeros(3)})
    row = np.empty((1, 6), object)
    row[0] = ["x:", np.array([[1, 9, 9]]), "y:", np.array([[1, 1]]), "a", "c"]
    savemat(tmp_path / "poly_gt_img3.mat", {"polygt": row})
    found = READERS["totaltext"](tmp_path)
    assert found.samples == []
    kinds = [problem.kind for problem in found.problems]
    assert kinds == ["annotation unreadable", "annotation unreadable", "line not understood"]
    assert "row 1: expected as many x as y" in found.problems[2].message


CTW_XML = """<Annotations>
    <image file="0200.jpg">
        <box height="24" left="10" top="16" width="60">
            <label>SALT & PEPPER &amp; more</label>
            <segs>{segs}</segs>
            <pts x="1" y="2" />
        </box>
        <box height="24" left="10" top="16" width="60">
            <label>###</label>
            <segs>{other}</segs>
        </box>
    </image>
</Annotations>"""


def _flat(points: Any) -> str:
    return ",".join(str(value) for value in np.ravel(points))


def test_ctw1500_both_sets(tmp_path: Path) -> None:
    write_photo(tmp_path / "train_images" / "0200.jpg")
    write_lines(
        tmp_path / "ctw1500_train_labels" / "0200.xml",
        CTW_XML.format(segs=_flat(ARC), other=_flat(ARC)),
    )
    write_photo(tmp_path / "test_images" / "1001.jpg")
    write_lines(
        tmp_path / "gt_ctw1500" / "0001001.txt",
        f"{_flat(ARC)},####Fish, chips #1",
        f"{_flat(ARC)},#######",
    )
    for images, content in (
        ("train_images", "SALT & PEPPER & more"),
        ("test_images", "Fish, chips #1"),
    ):
        (sample,) = read("ctw1500", tmp_path / images).samples
        np.testing.assert_array_equal(sample.texts[0].polygon, ARC)
        assert sample.texts[0].content == content
        assert [text.ignore for text in sample.texts] == [False, True]


def test_ctw1500_first_edition(tmp_path: Path) -> None:
    write_photo(tmp_path / "train" / "text_image" / "0001.jpg")
    offsets = np.array(ARC) - (10, 16)
    write_lines(
        tmp_path / "train" / "text_label_curve" / "0001.txt", f"10,16,70,60,{_flat(offsets)}"
    )
    (sample,) = read("ctw1500", tmp_path / "train").samples
    np.testing.assert_array_equal(sample.texts[0].polygon, ARC)


@pytest.mark.parametrize(
    ("name", "contents", "line", "message"),
    [
        ("0001.txt", "1,2,3,4,####text", 1, "expected 28 numbers and ####text, or 32 numbers"),
        ("0001.txt", _flat(ARC), 1, "got 28 numbers"),
        ("0001.xml", CTW_XML.format(segs=_flat(ARC), other="1,2,3"), 8, "28 numbers in <segs>"),
        ("0001.xml", "<Annotations>\n<image>", 3, "expected XML"),
    ],
)
def test_broken_ctw1500(tmp_path: Path, name: str, contents: str, line: int, message: str) -> None:
    write_photo(tmp_path / "0001.jpg")
    write_lines(tmp_path / name, contents)
    found = READERS["ctw1500"](tmp_path)
    assert found.samples == []
    (problem,) = found.problems
    assert (problem.file, problem.line) == (tmp_path / name, line)
    assert message in problem.message
