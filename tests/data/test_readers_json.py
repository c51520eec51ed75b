# SPDX-License-Identifier: Apache-2.0
"""COCO, LabelMe and the other JSON and XML formats: their odd cases, and hostile files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt.data.open import read_as_is, read_dataset
from dbnet_trt.files import parse_json, read_json
from photos import write_lines, write_photo

FLAT = [10, 20, 60, 20, 60, 40, 10, 40]
BOX = np.array(FLAT, float).reshape(4, 2)


def write_coco(folder: Path, *texts: dict[str, Any], **image: Any) -> Path:
    write_photo(folder / "images" / "a.jpg")
    contents = {
        "images": [{"id": 1, "file_name": "a.jpg"} | image],
        "annotations": [{"id": n, "image_id": 1} | text for n, text in enumerate(texts)],
        "categories": [{"id": 1, "name": "text"}, {"id": 2, "name": "don't care"}],
    }
    return write_lines(folder / "coco.json", json.dumps(contents))


def encode_counts(runs: list[int]) -> str:
    """COCO's compression of the runs of a mask, as its format describes it."""
    text = ""
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr(bits + 48 + 32 * more)
    return text


@pytest.mark.parametrize("compressed", [False, True])
def test_masks_of_coco(tmp_path: Path, compressed: bool) -> None:
    mask = np.zeros((120, 200), np.uint8)
    mask[20:41, 10:61] = 1
    mask[100:103, 150:153] = 1  # a crumb
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges.tolist(), flat.size]).tolist()
    counts = encode_counts(runs) if compressed else runs
    file = write_coco(tmp_path, {"segmentation": {"size": [120, 200], "counts": counts}})
    (text,) = read_as_is(f"coco:{file}").samples[0].texts
    np.testing.assert_array_equal([text.polygon.min(0), text.polygon.max(0)], BOX[[0, 2]])


def test_parts_categories_and_boxes_of_coco(tmp_path: Path) -> None:
    file = write_coco(
        tmp_path,
        {"segmentation": [[10, 20, 30, 20, 30, 40, 10, 40], [40, 20, 60, 20, 60, 40, 40, 40]]},
        {"segmentation": [], "bbox": [10, 20, 50, 20], "category_id": 2},
        {"segmentation": [FLAT], "ignore": "false", "utf8_string": "word"},
    )
    joined, box, plain = read_as_is(f"coco:{file}").samples[0].texts
    for text in (joined, box, plain):
        np.testing.assert_array_equal([text.polygon.min(0), text.polygon.max(0)], BOX[[0, 2]])
    assert [joined.ignore, box.ignore, plain.ignore] == [False, True, False]
    assert plain.content == "word"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"segmentation": [[1, 2, 3]]}, "pairs of numbers, got 3"),
        ({"bbox": [1, 2, 3]}, "not enough values"),
        ({}, "expected a field 'bbox'"),
        ({"bbox": [0, 0, 10**400, 5]}, "int too large"),
        ({"segmentation": [[1, 2, 1e308, 4, 5, -1e308]]}, "expected an outline in pixels"),
        ({"segmentation": {"size": [120, 200], "counts": [5, 3]}}, "expected runs of 24000"),
        ({"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}, "expected a mask of"),
        ({"segmentation": {"size": [9, 9], "counts": "\x01"}}, "expected a mask's counts"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "got an empty one"),
        ({"bbox": FLAT[:4], "iscrowd": "perhaps"}, 'expected "iscrowd" to be true or false'),
    ],
)
def test_broken_texts_of_coco_skip_their_image(
    tmp_path: Path, text: dict[str, Any], message: str
) -> None:
    found = read_as_is(f"coco:{write_coco(tmp_path, text)}")
    assert found.samples == []
    assert message in found.problems[0].message
    assert found.problems[0].file == tmp_path / "coco.json"


def test_annotation_of_no_image(tmp_path: Path) -> None:
    file = write_coco(tmp_path, {"image_id": 9, "bbox": FLAT[:4]})
    (problem,) = read_as_is(f"coco:{file}").problems
    assert "annotation 0: expected an image, got '9'" in problem.message


@pytest.mark.parametrize("kind", ["circle", "line", "point", "linestrip"])
def test_shapes_without_an_outline(tmp_path: Path, kind: str) -> None:
    write_photo(tmp_path / "a.jpg")
    shape = {"label": "text", "points": [[10, 20], [60, 40]], "shape_type": kind}
    write_lines(tmp_path / "a.json", json.dumps({"shapes": [shape], "imagePath": "a.jpg"}))
    found = read_as_is(f"labelme:{tmp_path}")
    assert found.samples == []
    assert f"expected a polygon or a rectangle, got a {kind}" in found.problems[0].message


def test_labelme_tells_its_files_from_others(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    shape = {"label": "text", "points": BOX.tolist(), "flags": {"illegible": True, "x": False}}
    write_lines(tmp_path / "a.json", json.dumps({"shapes": [shape], "imagePath": "a.jpg"}))
    write_lines(tmp_path / "settings.json", "{}")
    write_lines(tmp_path / "broken.json", "{")
    found = read_as_is(f"labelme:{tmp_path}")
    assert [text.ignore for text in found.samples[0].texts] == [True]
    assert [problem.file.name for problem in found.problems] == ["broken.json"]


@pytest.mark.parametrize(
    ("flag", "ignored"),
    [("false", False), ("False", False), ("0", False), ("true", True), (True, True), (0, False)],
)
def test_difficult_of_paddleocr(tmp_path: Path, flag: Any, ignored: bool) -> None:
    write_photo(tmp_path / "a.jpg")
    texts = [{"transcription": "a", "points": BOX.tolist(), "difficult": flag}] * 2
    write_lines(tmp_path / "Label.txt", f"a.jpg\t{json.dumps(texts)}")
    found = read_as_is(f"paddleocr:{tmp_path}")
    assert [text.ignore for text in found.samples[0].texts] == [ignored] * 2
    assert len(found.notes) == ignored  # most are difficult


def test_difficult_that_is_no_flag_is_a_problem(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    texts = [{"transcription": "a", "points": BOX.tolist(), "difficult": "maybe"}]
    write_lines(tmp_path / "Label.txt", f"a.jpg\t{json.dumps(texts)}")
    (problem,) = read_as_is(f"paddleocr:{tmp_path}").problems
    assert "expected \"difficult\" to be true or false, got 'maybe'" in problem.message


def test_notes_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_photo(tmp_path / "a.jpg")
    texts = [{"transcription": "a", "points": BOX.tolist(), "difficult": True}]
    write_lines(tmp_path / "Label.txt", f"a.jpg\t{json.dumps(texts)}")
    read_dataset(f"paddleocr:{tmp_path}")
    assert "1 of 1 texts are marked difficult" in caplog.text


HOSTILE = {
    "deep": "[" * 200_000,
    "deep objects": '{"a":' * 200_000,
    "not a number": '{"images": [NaN], "annotations": []}',
    "infinite": '{"images": [1e999], "annotations": [-Infinity]}',
    "long number": '{"images": [' + "9" * 10_000 + "]}",
    "cut off": '{"images": [',
    "bytes": "\x00\x01",
    "another": "[1, 2, 3]",
    "table of lists": '{"images": [[]], "annotations": [[]]}',
    "null": "null",
}
JSON_FORMATS = ("coco", "cocotext", "lsvt", "labelme", "via", "mmocr", "doctr", "labelstudio")


@pytest.mark.parametrize("form", [*JSON_FORMATS, "jsonl", "paddleocr"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_errors_with_their_path(tmp_path: Path, form: str, kind: str) -> None:
    content = f"a.jpg\t{HOSTILE[kind]}" if form == "paddleocr" else HOSTILE[kind]
    file = write_lines(tmp_path / "x.json", content)
    with pytest.raises(ValueError, match="x.json"):
        read_dataset(f"{form}:{file}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations>", "expected XML, got"),
        ("<html></html>", "to hold <annotations>, got <html>"),
        ("<annotations><track></track></annotations>", 'export as "CVAT for images 1.1"'),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "entities of its own"),
    ],
)
def test_broken_xml(tmp_path: Path, content: str, message: str) -> None:
    file = write_lines(tmp_path / "annotations.xml", content)
    with pytest.raises(ValueError, match=r"annotations\.xml") as error:
        read_as_is(f"cvat:{file}")
    assert message in str(error.value)


def test_json_has_limits(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.json", '{"a": [1, 2]}', encoding="utf-8-sig")
    assert read_json(file) == {"a": [1, 2]}
    with pytest.raises(ValueError, match=r"a\.json to have at most 10 bytes"):
        read_json(file, max_bytes=10)
    with pytest.raises(ValueError, match=r"none\.json cannot be read: No such file"):
        read_json(tmp_path / "none.json")
    file.write_bytes(b'"\xff"')
    with pytest.raises(ValueError, match=r"expected .*a\.json to be a card; got .*utf-8"):
        read_json(file, expected="a card")
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 100_000)
