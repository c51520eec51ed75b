# SPDX-License-Identifier: Apache-2.0
import contextlib
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt.data.dataset import DataSet
from dbnet_trt.data.readers import READERS
from dbnet_trt.data.readers.annotated import write_jsonl
from dbnet_trt.data.samples import load_sample_image
from dbnet_trt.images.load import load_image
from photos import write_lines, write_photo

BOX = [[10, 20], [60, 20], [60, 40], [10, 40]]


def read(form: str, path: Path) -> DataSet:
    """Read a data set, and check that it has no problems."""
    found = READERS[form](path)
    assert [str(problem) for problem in found.problems] == []
    return found


def write_json(path: Path, contents: Any) -> Path:
    path.write_text(json.dumps(contents), encoding="utf-8")
    return path


def test_jsonl_round_trip(tmp_path: Path) -> None:
    write_photo(tmp_path / "images" / "a.png")
    texts = [{"polygon": BOX, "content": "Größe"}, {"polygon": BOX[:3], "ignore": True}]
    file = write_lines(
        tmp_path / "labels.jsonl",
        json.dumps({"image": "images/a.png", "texts": texts}),
        "",
        json.dumps({"image": "images/a.png", "texts": []}),
        encoding="utf-8-sig",
        newline="\r\n",
    )
    samples = read("jsonl", tmp_path).samples
    assert [len(sample.texts) for sample in samples] == [2, 0]
    assert [(text.content, text.ignore) for text in samples[0].texts] == [
        ("Größe", False),
        ("", True),
    ]
    write_jsonl(file, samples)
    again = read("jsonl", file).samples
    np.testing.assert_array_equal(again[0].texts[0].polygon, BOX)
    assert again[0].texts[0].content == "Größe"


def test_jsonl_with_prob_maps(tmp_path: Path) -> None:
    for name in ("a.png", "map.png"):
        write_photo(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    records: list[dict[str, Any]] = [
        {"image": "a.png", "texts": [], "prob_map": name}
        for name in ("map.png", "none.png", "broken.png")
    ]
    file = write_lines(tmp_path / "labels.jsonl", *map(json.dumps, records))
    found = READERS["jsonl"](file)
    assert [sample.prob_map for sample in found.samples] == [tmp_path / "map.png"]
    messages = [problem.message for problem in found.problems]
    assert len(messages) == 2
    assert "expected the map" in messages[0]
    assert "none.png" in messages[0]
    assert messages[1].startswith("expected an image; ")
    write_jsonl(file, found.samples)
    assert READERS["jsonl"](file).samples == found.samples


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "expected {"),
        ("[]", "expected {"),
        ('{"image": "a.png"}', "there is no 'texts'"),
        ('{"image": "a.png", "texts": {}}', "texts is not a list"),
        ('{"image": "b.png", "texts": []}', "b.png, found none"),
        ('{"image": "a.png", "texts": [{"outline": []}]}', 'expected {"polygon"'),
        (
            '{"image": "a.png", "texts": [{"polygon": [[1, 2], [3]]}]}',
            "points [[x, y], ...], got [[",
        ),
        ('{"image": "a.png", "texts": [{"polygon": [1, 2, 3, 4, 5, 6]}]}', "points [[x, y], ...]"),
        (
            '{"image": "a.png", "texts": [{"polygon": [], "ignore": "false"}]}',
            "\"ignore\" to be true or false, got 'false'",
        ),
        ('{"image": "a.png", "texts": [{"polygon": [[1, 2], [30, 40]]}]}', "3 or more points"),
    ],
)
def test_broken_jsonl(tmp_path: Path, line: str, message: str) -> None:
    write_photo(tmp_path / "a.png")
    file = write_lines(tmp_path / "labels.jsonl", '{"image": "a.png", "texts": []}', line)
    found = READERS["jsonl"](file)
    assert len(found.samples) == 1
    (problem,) = found.problems
    assert (problem.file, problem.line) == (file, 2)
    assert message in problem.message


def test_paddleocr(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos" / "a.jpg")
    write_photo(tmp_path / "photos" / "b.jpg")
    labels = [
        {"transcription": "a\tb, 木", "points": BOX},
        {"transcription": "###", "points": BOX},
        {"transcription": "*", "points": BOX},
        {"transcription": "hard", "points": BOX, "difficult": True},
    ]
    file = write_lines(
        tmp_path / "photos" / "Label.txt",
        "photos/a.jpg\t" + json.dumps(labels, ensure_ascii=False),  # found in the parent folder
        "b.jpg\t[]",
    )
    first, second = read("paddleocr", file).samples
    np.testing.assert_array_equal(first.texts[0].polygon, BOX)
    assert first.texts[0].content == "a\tb, 木"
    assert [text.ignore for text in first.texts] == [False, True, True, True]
    assert second.texts == ()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg []", "expected path<tab>[{...}]"),
        ("a.jpg\t[{", "expected path<tab>[{...}]"),
        ("c.jpg\t[]", "expected the image"),
        ('a.jpg\t[{"transcription": "a"}]', '"points"'),
    ],
)
def test_broken_paddleocr(tmp_path: Path, line: str, message: str) -> None:
    write_photo(tmp_path / "a.jpg")
    file = write_lines(tmp_path / "train_label.txt", "a.jpg\t[]", line)
    found = READERS["paddleocr"](tmp_path)
    assert len(found.samples) == 1
    (problem,) = found.problems
    assert (problem.file, problem.line) == (file, 2)
    assert message in problem.message


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["paddleocr", "jsonl"])
def test_labels_of_the_upright_image(tmp_path: Path, form: str, orientation: int) -> None:
    photo = write_photo(tmp_path / "a.jpg", 60, 100, orientation)
    shown = load_image(photo)
    points = [[5, 30], [55, 30], [55, shown.shape[0] - 1], [5, shown.shape[0] - 1]]
    line = {
        "paddleocr": "a.jpg\t" + json.dumps([{"transcription": "a", "points": points}]),
        "jsonl": json.dumps({"image": "a.jpg", "texts": [{"polygon": points}]}),
    }
    (sample,) = read(form, write_lines(tmp_path / "labels.txt", line[form])).samples
    assert sample.texts[0].polygon.tolist() == points
    np.testing.assert_array_equal(load_sample_image(sample), shown)


def region(kind: str, value: dict[str, Any], name: str = "r1", **more: Any) -> dict[str, Any]:
    """Make one result of a Label Studio annotation of a 200x120 image."""
    return {
        "id": name,
        "type": kind,
        "value": value,
        "original_width": 200,
        "original_height": 120,
        "image_rotation": 0,
        **more,
    }


def task(image: str, *results: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"ocr": image}, "annotations": [{"result": list(results)}], **more}


def test_labelstudio(tmp_path: Path) -> None:
    write_photo(tmp_path / "images" / "my photo.png")
    box = {"x": 5, "y": 50, "width": 25, "height": 10, "rotation": 0}
    triangle = {"points": [[5, 10], [30, 10], [30, 20]], "polygonlabels": ["Text"]}
    results = [
        region("rectangle", box),
        region("labels", {**box, "labels": ["Text"]}),
        region("textarea", {**box, "text": ["two", "words"]}),
        region("polygonlabels", triangle, "r2"),
        region("rectanglelabels", {**box, "rotation": 90, "rectanglelabels": ["Don't care"]}, "r3"),
        {"type": "choices", "id": "c", "value": {"choices": ["sharp"]}},  # of the whole image
    ]
    write_json(
        tmp_path / "project-1.json", [task("/data/upload/3/0a1b2c3d-my%20photo.png", *results)]
    )
    first, second, third = read("labelstudio", tmp_path).samples[0].texts
    np.testing.assert_allclose(first.polygon, [[10, 60], [60, 60], [60, 72], [10, 72]])
    assert (first.content, first.ignore) == ("two words", False)
    np.testing.assert_allclose(second.polygon, [[10, 12], [60, 12], [60, 24]])
    assert not second.ignore
    # Turned clockwise about the top left corner, in pixels, not in percent.
    np.testing.assert_allclose(third.polygon, [[10, 60], [10, 110], [-2, 110], [-2, 60]], atol=1e-9)
    assert third.ignore


@pytest.mark.parametrize(
    "image", ["/data/local-files/?d=set/a.png", "s3://bucket/set/a.png", "https://x.org/a.png"]
)
def test_labelstudio_finds_images(tmp_path: Path, image: str) -> None:
    path = write_photo(tmp_path / "set" / "a.png")
    write_json(tmp_path / "export.json", [task(image)])
    (sample,) = read("labelstudio", tmp_path).samples
    assert sample.image == path


@pytest.mark.parametrize("labelled", [(60, 100), (100, 60)])
def test_labelstudio_follows_exif_as_the_browser_did(
    tmp_path: Path, labelled: tuple[int, int]
) -> None:
    write_photo(tmp_path / "a.jpg", 60, 100, orientation=6)
    value = {"points": [[10, 50], [60, 50], [60, 95], [10, 95]]}
    size: dict[str, Any] = {"original_width": labelled[0], "original_height": labelled[1]}
    write_json(tmp_path / "export.json", [task("a.jpg", region("polygon", value, **size))])
    (sample,) = read("labelstudio", tmp_path).samples
    width, height = labelled
    assert sample.texts[0].polygon.max(axis=0) == pytest.approx([0.6 * width, 0.95 * height])
    assert load_sample_image(sample).shape == (height, width, 3)


def test_labelstudio_last_annotation_that_was_not_cancelled(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png")
    box = {"x": 5, "y": 50, "width": 25, "height": 10}
    results = [region("rectangle", {**box, "x": x}) for x in (10, 20, 30)]
    annotations: list[dict[str, Any]] = [{"result": [result]} for result in results]
    annotations[2]["was_cancelled"] = True
    write_json(tmp_path / "export.json", [task("a.png", annotations=annotations)])
    (sample,) = read("labelstudio", tmp_path).samples
    assert sample.texts[0].polygon[0, 0] == 40


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (task("b.png"), "expected its image below"),
        (task("a.png", annotations=[]), "expected an annotation"),
        (task("a.png", region("brushlabels", {"rle": [1]})), "expected a polygon or a rectangle"),
        (task("a.png", region("polygon", {"points": [[1, 2], [9, 9]]})), "3 or more points"),
        (task("a.png", region("polygon", {"points": BOX}, image_rotation=90)), "image_rotation 0"),
    ],
)
def test_broken_labelstudio_task(tmp_path: Path, broken: dict[str, Any], message: str) -> None:
    write_photo(tmp_path / "a.png")
    file = write_json(tmp_path / "export.json", [task("a.png"), broken])
    found = READERS["labelstudio"](file)
    assert len(found.samples) == 1
    (problem,) = found.problems
    assert problem.file == file
    assert message in problem.message


@pytest.mark.parametrize(
    ("contents", "message"),
    [({}, "a list of tasks"), ([{"image": "a.png", "label": []}], "not JSON-MIN")],
)
def test_file_that_is_not_a_labelstudio_export(tmp_path: Path, contents: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        READERS["labelstudio"](write_json(tmp_path / "export.json", contents))


def coco(images: list[dict[str, Any]], *texts: dict[str, Any]) -> dict[str, Any]:
    return {
        "imgs": {str(image["id"]): image for image in images},
        "anns": {str(number): {"id": number, **text} for number, text in enumerate(texts, 1)},
    }


def test_cocotext(tmp_path: Path) -> None:
    for name in ("COCO_train2014_000000000036.jpg", "COCO_train2014_000000000049.jpg"):
        write_photo(tmp_path / "train2014" / name)
    images = [
        {"id": 36, "file_name": "COCO_train2014_000000000036.jpg", "set": "train"},
        {"id": 49, "file_name": "COCO_train2014_000000000049.jpg", "set": "val"},
        {"id": 50, "file_name": "COCO_train2014_000000000050.jpg", "set": "test"},
    ]
    texts = [
        {
            "image_id": 36,
            "mask": np.ravel(BOX).tolist(),
            "utf8_string": "Go",
            "legibility": "legible",
        },
        {"image_id": 36, "bbox": [10, 20, 50, 20], "legibility": "illegible"},
    ]
    write_json(tmp_path / "cocotext.v2.json", coco(images, *texts))
    train, val = read("cocotext", tmp_path).samples
    assert [sample.part for sample in (train, val)] == ["train", "val"]
    for text, content, ignore in zip(train.texts, ("Go", ""), (False, True), strict=True):
        np.testing.assert_array_equal(text.polygon, BOX)
        assert (text.content, text.ignore) == (content, ignore)
    assert val.texts == ()


def test_textocr(tmp_path: Path) -> None:
    write_photo(tmp_path / "train_images" / "a4ea.jpg")
    images = [{"id": "a4ea", "file_name": "train/a4ea.jpg", "set": "train"}]
    points = [10.5, 20, 60, 20, 60, 40, 10, 40, 5, 30]
    texts = [
        {"image_id": "a4ea", "points": points, "utf8_string": word} for word in ("Performance", ".")
    ]
    write_json(tmp_path / "TextOCR_0.1_train.json", coco(images, *texts))
    (sample,) = read("textocr", tmp_path / "TextOCR_0.1_train.json").samples
    assert sample.texts[0].polygon.shape == (5, 2)
    assert [text.ignore for text in sample.texts] == [False, True]


def test_broken_cocotext(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.jpg")
    images = [{"id": name, "file_name": f"{name}.jpg", "set": "train"} for name in "abc"]
    texts: list[dict[str, Any]] = [
        {"image_id": "a", "mask": [1, 2, 3]},
        {"image_id": "b", "bbox": [10, 20, 50, 20]},
        {"image_id": "z", "bbox": [10, 20, 50, 20]},
        {"image_id": "a", "utf8_string": "nowhere"},
    ]
    file = write_json(tmp_path / "cocotext.json", coco(images, *texts))
    found = READERS["cocotext"](file)
    assert [sample.image.name for sample in found.samples] == ["b.jpg"]
    messages = [problem.message for problem in found.problems]
    for expected in (
        "annotation 3: expected an image",
        "image a, annotation 1: expected pairs",
        "image a, annotation 4: expected a field 'bbox'",
        "c.jpg, found none",
    ):
        assert sum(expected in message for message in messages) == 1
    assert len(messages) == 4
    wrong: list[Any] = [{"images": []}, {"imgs": [], "anns": {}}, {"imgs": {"1": 2}, "anns": {}}]
    for contents in wrong:
        with pytest.raises(ValueError, match='to hold "imgs" and "anns"'):
            READERS["cocotext"](write_json(file, contents))


JUNK: tuple[Any, ...] = (None, [], {}, "", -1, 1e300, True, [[]], [None], float("nan"))


def nodes(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the paths to all values inside a JSON value."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, child in list(items):
        yield (*path, key)
        yield from nodes(child, (*path, key))


@pytest.mark.parametrize("form", ["cocotext", "paddleocr", "labelstudio", "jsonl"])
def test_any_wrong_json_value_is_reported(tmp_path: Path, form: str) -> None:
    write_photo(tmp_path / "1.png")
    box = {"x": 5, "y": 50, "width": 25, "height": 10, "rotation": 0}
    trees: dict[str, Any] = {
        "cocotext": coco(
            [{"id": 1, "file_name": "1.png", "set": "train"}],
            {"image_id": 1, "mask": np.ravel(BOX).tolist(), "utf8_string": "Go"},
        ),
        "paddleocr": [{"transcription": "a", "points": BOX}],
        "labelstudio": [
            task("1.png", region("rectangle", box), region("textarea", {"text": ["a"]}))
        ],
        "jsonl": {"image": "1.png", "texts": [{"polygon": BOX, "content": "a"}]},
    }
    head = "1.png\t" if form == "paddleocr" else ""
    file = tmp_path / "labels"
    for path in nodes(trees[form]):
        for junk in JUNK:
            broken = copy.deepcopy(trees[form])
            parent = broken
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = junk
            file.write_text(head + json.dumps(broken), encoding="utf-8")
            with contextlib.suppress(ValueError):
                found = READERS[form](file)
                assert len(found.samples) + len(found.problems) > 0
