# SPDX-License-Identifier: Apache-2.0
import logging
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.evaluation.evaluate import Evaluation, score_image
from dbnet_trt.evaluation.protocols import PROTOCOLS
from dbnet_trt.evaluation.submissions import (
    image_number,
    read_results,
    read_truths,
    score_submission,
    write_results,
)

pytest.importorskip("shapely")

SQUARE = "0,0,10,0,10,10,0,10"
FAR = "50,50,60,50,60,60,50,60"


def write(folder: Path, **files: str | bytes) -> Path:
    """Write files, whose names without suffix are the keywords."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / f"{name}.txt").write_bytes(data)
    return folder


def pack(folder: Path, prefix: str = "") -> Path:
    path = folder.parent / f"{folder.name}{len(prefix)}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, prefix + file.name)
        archive.writestr("__MACOSX/._" + file.name, b"\x00")
        archive.writestr(prefix + ".DS_Store", b"\x00")
    return path


@pytest.fixture
def gt(tmp_path: Path) -> Path:
    second = f"{SQUARE},###\n{FAR},1,234\n"
    return write(tmp_path / "gt", gt_img_1=f"{SQUARE},word\n", gt_img_2=second)


@pytest.fixture
def pred(tmp_path: Path) -> Path:
    return write(tmp_path / "pred", res_img_1=f"{SQUARE}\n", res_img_2=f"{SQUARE}\n{FAR}\n")


def sums(evaluation: object) -> tuple[float, ...]:
    score = evaluation.score  # type: ignore[attr-defined]
    return score.recall_hits, score.num_truths, score.precision_hits, score.num_detections


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_ends_of_lines_change_nothing(
    gt: Path, pred: Path, encoding: str, end: str
) -> None:
    expected = sums(score_submission(gt, pred, "icdar2015", "icdar2015"))
    for file in (*gt.iterdir(), *pred.iterdir()):
        file.write_bytes(file.read_text().replace("\n", end).encode(encoding))
    assert sums(score_submission(gt, pred, "icdar2015", "icdar2015")) == expected


def test_folders_and_archives_give_the_same(gt: Path, pred: Path) -> None:
    for truths in (gt, pack(gt), pack(gt, "inner/")):
        for results in (pred, pack(pred), pack(pred, "inner/")):
            found = score_submission(truths, results, "icdar2015", "icdar2015")
            assert sums(found) == (2, 2, 2, 2)
            assert [image.name for image in found.images] == ["1", "2"]


def test_byte_order_marks_and_windows_line_breaks(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + f'{SQUARE},###\r\n{FAR},"###"\r\n{FAR}, ###\r\n\r\n'.encode()
    _, texts = read_truths(write(tmp_path / "gt", gt_img_1=text), "icdar2015")["1"]
    assert [text.ignore for text in texts] == [True, True, False]
    np.testing.assert_array_equal(texts[0].polygon, [[0, 0], [10, 0], [10, 10], [0, 10]])


def test_texts_that_are_not_utf8_and_odd_line_breaks(tmp_path: Path) -> None:
    text = f"{SQUARE},caf".encode() + b"\xe9\n" + f"{SQUARE},a\u2028b\n".encode()
    _, texts = read_truths(write(tmp_path / "gt", gt_img_1=text), "icdar2015")["1"]
    assert len(texts) == 2


def test_missing_results_file_means_no_detections(
    gt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pred = write(tmp_path / "some", res_img_2=f"{FAR}\n")
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        assert sums(score_submission(gt, pred, "icdar2015", "icdar2015")) == (1, 2, 1, 1)
    assert "1 of 2 images have no results file" in caplog.text


def test_empty_files(gt: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "empty", res_img_1="", res_img_2="\ufeff\r\n")
    assert sums(score_submission(gt, pred, "icdar2015", "icdar2015")) == (0, 2, 0, 0)
    nothing = write(tmp_path / "nothing", gt_img_1="", gt_img_2="")
    full = write(tmp_path / "full", res_img_1=SQUARE)
    assert sums(score_submission(nothing, full, "icdar2015", "icdar2015")) == (0, 0, 0, 1)


def test_confidences_give_the_order(tmp_path: Path) -> None:
    lines = [f"{SQUARE},0.2", f"{FAR},0.9,text", f"{SQUARE},.5"]
    _, found = read_results(write(tmp_path / "a", res_img_1="\n".join(lines)), "icdar2015")["1"]
    assert [each.confidence for each in found] == [0.2, 0.9, 0.5]
    gt = write(tmp_path / "gt", gt_img_1=f"{SQUARE},x")
    scored = score_submission(gt, tmp_path / "a", "icdar2015", "icdar2015", curve=True)
    assert scored.images[0].confidences == (0.9, 0.5, 0.2)
    np.testing.assert_array_equal(scored.images[0].detections[0][0], [50, 50])
    assert scored.images[0].result.detection_hits == (1,)
    assert dict(scored.curve)[0.3].num_detections == 2


def test_texts_that_look_like_confidences_keep_the_order(tmp_path: Path) -> None:
    pred = write(tmp_path / "a", res_img_1=f"{FAR},text\n{SQUARE},1\n{SQUARE},42")
    gt = write(tmp_path / "gt", gt_img_1=f"{SQUARE},x")
    scored = score_submission(gt, pred, "icdar2015", "icdar2015", curve=True)
    assert scored.curve == ()
    image = scored.images[0]
    assert image.confidences is None
    np.testing.assert_array_equal(image.detections[0][0], [50, 50])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", r"res_img_1\.txt:2: expected x1,y1,.*got 3 fields"),
        ("0,0,10,0,10,10,0,ten", r"res_img_1\.txt:2: expected .*got '0,0,10,0,10,10,0,ten'"),
        ("0,0,10,0,10,10,0,nan", "not finite"),
    ],
)
def test_broken_results_name_file_and_line(
    line: str, message: str, gt: Path, tmp_path: Path
) -> None:
    pred = write(tmp_path / "a", res_img_1=f"{SQUARE}\n{line}\n")
    with pytest.raises(ValueError, match=message):
        score_submission(gt, pred, "icdar2015", "icdar2015")


def test_ground_truth_without_texts(tmp_path: Path, pred: Path) -> None:
    gt = write(tmp_path / "bad", gt_img_1=SQUARE)
    with pytest.raises(ValueError, match=r"gt_img_1\.txt:1: .*write ### for one to ignore"):
        score_submission(gt, pred, "icdar2015", "icdar2015")


def test_results_of_an_unknown_image(gt: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "a", res_img_3=SQUARE)
    with pytest.raises(ValueError, match=r"res_img_3\.txt belongs to no image of .*gt_img_1"):
        score_submission(gt, pred, "icdar2015", "icdar2015")


def test_two_files_of_one_image(gt: Path, tmp_path: Path) -> None:
    pred = write(tmp_path / "a", res_img_1=SQUARE, img_1=SQUARE)
    with pytest.raises(ValueError, match="are both of image 1"):
        score_submission(gt, pred, "icdar2015", "icdar2015")


def test_paths_without_files(gt: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    for name, message in (
        ("none", "there is no .*none"),
        ("empty", r"holds no \.txt or \.mat file"),
        ("text.zip", "neither a folder nor a zip archive"),
    ):
        with pytest.raises(ValueError, match=message):
            score_submission(gt, tmp_path / name, "icdar2015", "icdar2015")
    with pytest.raises(ValueError, match="format must be one of icdar2015"):
        read_truths(gt, "coco")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("gt_img_10.txt", "10"),
        ("res_img_10.txt", "10"),
        ("img_10.txt", "10"),
        ("poly_gt_img10.mat", "10"),
        ("0000010.txt", "10"),
        ("res_street.v2.txt", "street.v2"),
        ("img_0.txt", "0"),
    ],
)
def test_files_of_one_image_share_a_number(name: str, number: str) -> None:
    assert image_number(name) == number


WRAPPED = """x: [[ 0 10
 10 0]], y: [[0 0 10 10]], ornt: [u'c'], transcriptions: [u'it's [so]']
x: [[50 60 60 50]], y: [[50 50 60 60]], ornt: [u'#'], transcriptions: [u'#']
x: [[5]], y: [[5]], ornt: [u'#'], transcriptions: [u'#']
"""


def test_totaltext_text_files(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", poly_gt_img7=WRAPPED)
    _, texts = read_truths(gt, "totaltext")["7"]
    assert [text.ignore for text in texts] == [False, True]
    np.testing.assert_array_equal(texts[0].polygon, [[0, 0], [10, 0], [10, 10], [0, 10]])


def test_totaltext_broken_files_name_the_line(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", poly_gt_img7=WRAPPED + "nonsense")
    with pytest.raises(ValueError, match=r"poly_gt_img7\.txt:5: expected x: .*'nonsense'"):
        read_truths(gt, "totaltext")
    uneven = WRAPPED.replace("[[50 50 60 60]]", "[[50 50 60]]")
    with pytest.raises(ValueError, match=r":3: expected as many x as y, 3 or more, got 4 and 3"):
        read_truths(write(tmp_path / "gt", poly_gt_img7=uneven), "totaltext")


def test_totaltext_matlab_files(tmp_path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    square_x, square_y = np.array([[0, 10, 10, 0]], np.int16), np.array([[0, 0, 10, 10]], np.int16)
    rows = np.empty((3, 6), object)
    rows[0] = ["x:", square_x, "y:", square_y, "word", "c"]
    rows[1] = ["x:", square_x + 50, "y:", square_y, "#", "#"]
    rows[2] = ["x:", np.array([[5]]), "y:", np.array([[5]]), "#", "#"]
    (tmp_path / "gt").mkdir()
    io.savemat(tmp_path / "gt" / "poly_gt_img7.mat", {"polygt": rows})
    _, texts = read_truths(tmp_path / "gt", "totaltext")["7"]
    assert [text.ignore for text in texts] == [False, True]
    np.testing.assert_array_equal(texts[1].polygon, [[50, 0], [60, 0], [60, 10], [50, 10]])
    io.savemat(tmp_path / "gt" / "poly_gt_img7.mat", {"other": rows})
    with pytest.raises(ValueError, match="expected a MATLAB file with polygt"):
        read_truths(tmp_path / "gt", "totaltext")


def test_totaltext_results_have_y_first(tmp_path: Path) -> None:
    pred = write(tmp_path / "pred", img7="0,1,0,11,10,11,10,1\n")
    _, (found,) = read_results(pred, "totaltext")["7"]
    np.testing.assert_array_equal(found.polygon, [[1, 0], [11, 0], [11, 10], [1, 10]])
    with pytest.raises(ValueError, match=r"img7\.txt:1: expected y1,x1,.*got 7 numbers"):
        read_results(write(tmp_path / "pred", img7="0,1,0,11,10,11,10"), "totaltext")


def test_totaltext_by_iou_too(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", poly_gt_img7=WRAPPED)
    pred = write(tmp_path / "pred", img7="0,0,0,6,10,6,10,0\n50,50,50,60,60,60,60,50\n")
    assert sums(score_submission(gt, pred, "icdar2015", "totaltext")) == (1, 1, 1, 1)
    assert sums(score_submission(gt, pred, "totaltext", "totaltext")) == (0, 1, 0, 1)


def test_ctw1500_boxes_with_offsets_and_texts(tmp_path: Path) -> None:
    offsets = [(i, 0) for i in range(7)] + [(6 - i, 5) for i in range(7)]
    numbers = [100, 200, 106, 205] + [value for point in offsets for value in point]
    lines = [
        ",".join(map(str, numbers)),
        "0,0,10,0,10,10,####a, b",
        "0,0,10,0,10,10,0,10,#######",
    ]
    gt = write(tmp_path / "gt", **{"0001001": "\n".join(lines)})
    _, texts = read_truths(gt, "ctw1500")["1001"]
    assert [(len(text.polygon), text.ignore) for text in texts] == [
        (14, False),
        (3, False),
        (4, True),
    ]
    np.testing.assert_array_equal(texts[0].polygon[[0, 6, 7]], [[100, 200], [106, 200], [106, 205]])


def test_ctw1500_results(tmp_path: Path) -> None:
    pred = write(tmp_path / "pred", **{"1001": f"{SQUARE}\n0,0,10,0,10,10,0.75\n"})
    _, found = read_results(pred, "ctw1500")["1001"]
    assert [(len(each.polygon), each.confidence) for each in found] == [(4, None), (3, 0.75)]
    with pytest.raises(ValueError, match=r"1001\.txt:1: expected x1,y1.*got 4 numbers"):
        read_results(write(tmp_path / "pred", **{"1001": "1,2,3,4,0.5"}), "ctw1500")


def test_deteval_boxes(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", gt_img_1='0, 0, 9, 19, "###"\n30,0,39,9,x,y\n')
    _, texts = read_truths(gt, "deteval")["1"]
    assert [text.ignore for text in texts] == [True, False]
    np.testing.assert_array_equal(texts[0].polygon, [[0, 0], [9, 0], [9, 19], [0, 19]])
    pred = write(tmp_path / "pred", res_img_1="30,0,39,9\n")
    assert sums(score_submission(gt, pred, "deteval", "deteval")) == (1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"res_img_1\.txt:1: expected left,.* from 9,0 to 0,9"):
        read_results(write(tmp_path / "pred", res_img_1="9,0,0,9"), "deteval")


@pytest.mark.parametrize(
    "line",
    ["0,0,0,10,10,10,10,0", "0,0,10.5,0,10,10,0,10"],
    ids=["counter-clockwise", "fractions"],
)
def test_errors_of_the_official_script(
    line: str, gt: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pred = write(tmp_path / "a", res_img_1=SQUARE, res_img_2=line)
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        assert sums(score_submission(gt, pred, "icdar2015", "icdar2015")) == (1, 2, 1, 1)
        assert caplog.text.count("res_img_2.txt: the official script refuses") == 1
    caplog.clear()
    write(tmp_path / "a", res_img_2=FAR)
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        score_submission(gt, pred, "icdar2015", "icdar2015")
    assert not caplog.records


@pytest.mark.parametrize("form", PROTOCOLS)
def test_written_results_are_read_again(form: str, tmp_path: Path) -> None:
    quads = [np.array([[i, 0], [i + 10, 0], [i + 10, 7], [i, 7]], float) for i in (1, 40)]
    image = score_image(form, "img_7.jpg", quads, [False] * 2, quads, [0.75, 0.5])
    write_results(tmp_path / "x.zip", Evaluation(form, (image,)))
    name, found = read_results(tmp_path / "x.zip", form)["7"]
    assert name == ("img_7.txt" if form in ("totaltext", "ctw1500") else "res_img_7.txt")
    for each, quad in zip(found, quads, strict=True):
        np.testing.assert_array_equal(each.polygon, quad)
    assert [each.confidence for each in found] == (
        [0.75, 0.5] if form == "ctw1500" else [None, None]
    )


def test_icdar2015_files_hold_no_polygons(tmp_path: Path) -> None:
    triangle = np.array([[0, 0], [9, 0], [9, 9]], float)
    image = score_image("icdar2015", "img_7.jpg", [], [], [triangle])
    with pytest.raises(ValueError, match="takes outlines of 4 corners, got one of 3"):
        write_results(tmp_path / "x.zip", Evaluation("icdar2015", (image,)))
