# SPDX-License-Identifier: Apache-2.0
"""A sample set of every data format: a photo of 200x120 with an outline that counts and one that
does not."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from photos import write_lines, write_photo

BOX = [[10, 20], [60, 20], [60, 40], [10, 40]]
OFF = [[100, 60], [180, 60], [180, 100], [100, 100]]
FLAT, FLAT_OFF = ([value for point in each for value in point] for each in (BOX, OFF))
TEXT, TEXT_OFF = (",".join(map(str, each)) for each in (FLAT, FLAT_OFF))


def dump(folder: Path, name: str, contents: object) -> None:
    write_photo(folder / "a.jpg")
    (folder / name).write_text(json.dumps(contents), encoding="utf-8")


def lines(folder: Path, *content: str, name: str = "a.txt") -> None:
    write_photo(folder / "a.jpg")
    write_lines(folder / name, *content)


def icdar2013(folder: Path) -> None:
    lines(folder, '10 20 60 40 "word"', '100 60 180 100 "###"', name="gt_a.txt")


def icdar2015(folder: Path) -> None:
    lines(folder, f"{TEXT},word", f"{TEXT_OFF},###")


def mlt(folder: Path) -> None:
    lines(folder, f"{TEXT},Latin,word", f"{TEXT_OFF},Arabic,###")


def rctw(folder: Path) -> None:
    lines(folder, f'{TEXT},0,"word"', f'{TEXT_OFF},1,"hard"')


def totaltext(folder: Path) -> None:
    rows = []
    for outline, word in ((BOX, "word"), (OFF, "#")):
        x, y = (" ".join(map(str, axis)) for axis in np.array(outline).T)
        rows.append(f"x: [[{x}]], y: [[{y}]], ornt: [u'h'], transcriptions: [u'{word}']")
    lines(folder, *rows, name="poly_gt_a.txt")


def along(outline: list[list[int]]) -> str:
    """14 points on the outline of a box."""
    (left, top), _, (right, bottom), _ = outline
    x = np.linspace(left, right, 7)
    points = [(each, top) for each in x] + [(each, bottom) for each in x[::-1]]
    return ",".join(f"{value:g}" for point in points for value in point)


def ctw1500(folder: Path) -> None:
    lines(folder, f"{along(BOX)},####word", f"{along(OFF)},#######")


def td500(folder: Path) -> None:
    lines(folder, "0 0 10 20 50 20 0", "1 1 100 60 80 40 0", name="a.gt")


def polygons(folder: Path) -> None:
    lines(folder, f"{along(BOX)},word", f"{along(OFF)},###")


def db(folder: Path) -> None:
    write_photo(folder / "train_images" / "a.jpg")
    write_photo(folder / "train_images" / "not_listed.jpg")
    write_lines(folder / "train_gts" / "a.jpg.txt", f"{along(BOX)},word", f"{TEXT_OFF},###")
    write_lines(folder / "train_list.txt", "a.jpg")


def synthtext(folder: Path) -> None:
    savemat = pytest.importorskip("scipy.io").savemat
    write_photo(folder / "1" / "a.jpg")
    names, boxes, texts = (np.empty((1, 1), object) for _ in range(3))
    names[0, 0], texts[0, 0] = np.array(["1/a.jpg"]), np.array(["word"])
    boxes[0, 0] = np.array(BOX, np.float32).T[:, :, None]
    savemat(folder / "gt.mat", {"imnames": names, "wordBB": boxes, "txt": texts})


def cocotext(folder: Path) -> None:
    texts = {
        "1": {"image_id": 1, "mask": FLAT, "utf8_string": "word", "legibility": "legible"},
        "2": {"image_id": 1, "mask": FLAT_OFF, "legibility": "illegible"},
    }
    dump(folder, "c.json", {"imgs": {"1": {"file_name": "a.jpg"}}, "anns": texts})


def lsvt(folder: Path) -> None:
    texts = [
        {"transcription": "word", "points": BOX, "illegibility": False},
        {"transcription": "###", "points": OFF, "illegibility": True},
    ]
    dump(folder, "train_full_labels.json", {"a": texts})


def coco(folder: Path) -> None:
    texts = [
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [FLAT], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 1, "bbox": [100, 60, 80, 40], "iscrowd": 1},
    ]
    image = {"id": 7, "file_name": "a.jpg", "width": 200, "height": 120}
    categories = [{"id": 1, "name": "text"}]
    dump(folder, "c.json", {"images": [image], "annotations": texts, "categories": categories})


def labelme(folder: Path) -> None:
    shapes = [
        {"label": "word", "points": BOX, "shape_type": "polygon", "flags": {}},
        {"label": "ignore", "points": [OFF[0], OFF[2]], "shape_type": "rectangle"},
    ]
    contents = {"version": "5.4.1", "shapes": shapes, "imagePath": "..\\images\\a.jpg"}
    dump(folder, "a.json", contents | {"imageHeight": 120, "imageWidth": 200})


def cvat(folder: Path) -> None:
    write_photo(folder / "images" / "a.jpg")
    points = ";".join(f"{x},{y}" for x, y in BOX)
    write_lines(
        folder / "annotations.xml",
        '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version>',
        '<image id="0" name="a.jpg" width="200" height="120"><tag label="day"></tag>',
        f'<polygon label="text" points="{points}"><attribute name="text">word</attribute>',
        '</polygon><box label="text" xtl="100" ytl="60" xbr="180" ybr="100">',
        '<attribute name="ignore">true</attribute></box></image></annotations>',
    )


def via(folder: Path) -> None:
    x, y = np.array(BOX).T.tolist()
    shape = {"name": "polygon", "all_points_x": x, "all_points_y": y}
    off = {"name": "rect", "x": 100, "y": 60, "width": 80, "height": 40}
    regions = [
        {"shape_attributes": shape, "region_attributes": {"text": "word"}},
        {"shape_attributes": off, "region_attributes": {"legibility": "illegible"}},
    ]
    dump(folder, "via.json", {"a.jpg99": {"filename": "a.jpg", "size": 99, "regions": regions}})


def yolo(folder: Path) -> None:
    write_photo(folder / "images" / "a.jpg")
    shares = " ".join(f"{x / 200:.6f} {y / 120:.6f}" for x, y in BOX)
    write_lines(folder / "labels" / "a.txt", f"0 {shares}")


def dota(folder: Path) -> None:
    write_photo(folder / "images" / "a.jpg")
    write_lines(
        folder / "labelTxt" / "a.txt",
        "imagesource:GoogleEarth",
        "gsd:0.15",
        f"{' '.join(map(str, FLAT))} text 0",
        f"{' '.join(map(str, FLAT_OFF))} text 1",
    )


def mmocr(folder: Path) -> None:
    texts = [
        {"polygon": FLAT, "bbox": [10, 20, 60, 40], "bbox_label": 0, "ignore": False},
        {"bbox": [100, 60, 180, 100], "bbox_label": 0, "ignore": True},
    ]
    entry = {"img_path": "a.jpg", "height": 120, "width": 200, "instances": texts}
    dump(folder, "t.json", {"metainfo": {"task_name": "textdet"}, "data_list": [entry]})


def doctr(folder: Path) -> None:
    write_photo(folder / "images" / "a.jpg")
    entry = {"img_dimensions": [120, 200], "img_hash": "0", "polygons": {"words": [BOX]}}
    write_lines(folder / "labels.json", json.dumps({"a.jpg": entry}))


def paddleocr(folder: Path) -> None:
    texts = [
        {"transcription": "word", "points": BOX, "difficult": "false"},
        {"transcription": "hard", "points": OFF, "difficult": True},
    ]
    write_photo(folder / "a.jpg")
    write_lines(folder / "Label.txt", f"a.jpg\t{json.dumps(texts)}")


def labelstudio(folder: Path) -> None:
    size = {"original_width": 200, "original_height": 120}
    results = []
    for name, outline, label in (("1", BOX, "Text"), ("2", OFF, "Illegible")):
        share = [[x / 2, y / 1.2] for x, y in outline]
        value = {"points": share, "polygonlabels": [label]}
        results.append(size | {"id": name, "type": "polygonlabels", "value": value})
    task = {"id": 1, "data": {"ocr": "/data/upload/1/0123abcd-a.jpg"}}
    dump(folder, "export.json", [task | {"annotations": [{"result": results}]}])


def jsonl(folder: Path) -> None:
    texts = [{"polygon": BOX, "content": "word"}, {"polygon": OFF, "ignore": True}]
    dump(folder, "labels.jsonl", {"image": "a.jpg", "texts": texts})


WRITERS: dict[str, Callable[[Path], None]] = {
    each.__name__: each
    for each in (
        icdar2013, icdar2015, mlt, rctw, totaltext, ctw1500, td500, polygons, db, synthtext,
        cocotext, lsvt, coco, labelme, cvat, via, yolo, dota, mmocr, doctr, paddleocr, labelstudio,
        jsonl,
    )
}  # fmt: skip
WRITERS.update(textocr=cocotext, art=lsvt)
"""Writers of the sample sets, by format."""


def annotation_file(folder: Path) -> Path:
    """Find the file with the outlines of a sample set."""
    (file,) = (
        each
        for each in folder.rglob("*")
        if each.is_file() and each.suffix != ".jpg" and "list" not in each.name
    )
    return file
