# SPDX-License-Identifier: Apache-2.0
"""Ground truth and results of any number of points, and what is refused as another format's."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data.samples import Sample, Text
from dbnet_trt.evaluation.evaluate import Scoring, choose_scoring
from dbnet_trt.evaluation.formats import BrokenLine, parse_results, parse_truths
from dbnet_trt.evaluation.submissions import score_submission

pytest.importorskip("shapely")

CURVE = "48,84,75,73,102,74,130,84,135,73,104,60,74,61,45,73"
QUAD = "115,404,494,426,503,346,115,322"
SMALL = "200,10,240,10,240,30,200,30"


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("protocol", "form"),
    [("icdar2015", "polygons"), ("ctw1500", "ctw1500"), ("totaltext", "polygons")],
)
def test_curved_ground_truth_of_the_tiou_scripts(tmp_path: Path, protocol: str, form: str) -> None:
    gt = write(tmp_path / "gt", poly_gt_img7=f"{CURVE},CARE\n{QUAD},na\n{SMALL},###\n")
    found = write(tmp_path / "found", img7=f"{CURVE}\n{QUAD}\n{SMALL}\n")
    score = score_submission(gt, found, protocol, form).score
    assert (score.num_truths, score.num_detections, score.f) == (2, 2, 1.0)


@pytest.mark.parametrize(
    ("form", "line", "message"),
    [
        ("icdar2015", f"{CURVE},CARE", "an outline of 8 points .*format polygons has such"),
        ("icdar2015", f"{CURVE},####CARE", "an outline of 8 points .*format ctw1500 has such"),
        ("icdar2015", f"{SMALL},Latin,###", "format mlt has such"),
        ("icdar2015", f'{SMALL},1,"###"', "format rctw has such"),
        ("icdar2015", SMALL, "format polygons has lines without text"),
        ("deteval", f"{SMALL},text", "formats icdar2015, polygons and ctw1500 have such"),
        ("totaltext", f"{CURVE},CARE", "--format polygons"),
        ("polygons", f"{CURVE},####CARE", "format ctw1500 has such"),
        ("polygons", "1,2,3,4,word", "3 points or more"),
        ("icdar2015", "1e308,0,-1e308,0,1e308,1e308,0,1e308,a", "beyond 1e.06 pixels"),
    ],
)
def test_truths_of_another_format_are_refused(form: str, line: str, message: str) -> None:
    with pytest.raises(BrokenLine, match=message):
        parse_truths(line.encode(), form)


@pytest.mark.parametrize(
    ("form", "line", "message"),
    [
        ("icdar2015", CURVE, "an outline of 8 points; the formats polygons"),
        ("deteval", SMALL, "an outline of 4 points; the formats icdar2015"),
        ("icdar2015", "1e308,0,-1e308,0,1e308,1e308,0,1e308", "beyond 1e.06 pixels"),
        ("ctw1500", "1e308,0,-1e308,0,1e308,1e308", "beyond 1e.06 pixels"),
    ],
)
def test_results_of_another_format_are_refused(form: str, line: str, message: str) -> None:
    with pytest.raises(BrokenLine, match=message):
        parse_results(line.encode(), form)


def test_results_with_confidence_and_text_are_of_four_points() -> None:
    for rest in ("0.9", "0.9,123", ".5,a, b", "7", "word"):
        (found,) = parse_results(f"{SMALL},{rest}".encode(), "icdar2015")
        assert found.polygon.shape == (4, 2)


def test_deteval_refuses_curved_texts(tmp_path: Path) -> None:
    gt = write(tmp_path / "gt", gt_1=f"{CURVE},word\n")
    found = write(tmp_path / "found", res_1=f"{CURVE}\n")
    with pytest.raises(ValueError, match="deteval scores upright boxes, 1 has a text of 8 points"):
        score_submission(gt, found, "deteval", "polygons")


def points(line: str) -> list[list[int]]:
    return np.array(line.split(","), int).reshape(-1, 2).tolist()


def test_files_of_paddleocr(tmp_path: Path) -> None:
    labels = [
        {"transcription": "a", "points": points(QUAD), "difficult": "false"},
        {"transcription": "###", "points": points(SMALL)},
    ]
    gt, system, detector = (tmp_path / name for name in ("Label.txt", "system.txt", "det.txt"))
    gt.write_text(f"train/img_1.jpg\t{json.dumps(labels)}\nimg_2.jpg\t[]\n", "utf-8")
    found = [{"transcription": "a", "points": points(QUAD), "score": 0.9}]
    system.write_text(f"img_1.jpg\t{json.dumps(found)}\n", "utf-8")
    detector.write_text(f"img_1.jpg\t{json.dumps([points(QUAD), points(SMALL)])}\n", "utf-8")
    for results in (system, detector):
        score = score_submission(gt, results, "icdar2015", "icdar2015").score
        assert (score.num_truths, score.num_detections, score.f) == (1, 1, 1.0)
    folder = write(tmp_path / "gt", gt_img_1=f"{QUAD},a\n", gt_img_2=f"{SMALL},###\n")
    assert score_submission(folder, system, "icdar2015", "icdar2015").score.f == 1.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("img_1.jpg\t" + "[" * 100_000, ":2: expected path<tab>.*nested too deeply"),
        ('img_1.jpg\t[{"points": [[1, 2]]}]', ":2: .*3 points or more"),
        ('img_1.jpg\t[{"points": [[1, 2], [3, 4], [5, 1e308]]}]', ":2: .*an outline in pixels"),
        ("img_1.jpg\t[NaN]", ":2: .*NaN, which is no JSON number"),
        ("img_2.jpg\t[]", ":2: image 2 stands in .*:1 already"),
    ],
)
def test_broken_files_of_paddleocr(tmp_path: Path, line: str, message: str) -> None:
    gt = write(tmp_path / "gt", gt_img_1=f"{QUAD},a\n", gt_img_2="")
    results = tmp_path / "results.txt"
    results.write_text(f"img_2.jpg\t[]\n{line}\n", "utf-8")
    with pytest.raises(ValueError, match=message):
        score_submission(gt, results, "icdar2015", "icdar2015")


LINES = {
    "icdar2015": (f"{SMALL},word\n{QUAD},###\n", f"{SMALL},0.9\n{QUAD}\n"),
    "polygons": (f"{CURVE},word\n{QUAD}\n", f"{CURVE}\n{QUAD},0.5\n"),
    "ctw1500": (f"{CURVE},####word\n{QUAD},CARE\n", f"{CURVE},0.7\n{QUAD}\n"),
    "deteval": ("10,10,90,40,word\n20,50,90,80,###\n", "10,10,90,40\n20,50,90,80\n"),
    "totaltext": (
        "x: [[10 90 90 10]], y: [[10 10 40 40]], ornt: [u'h'], transcriptions: [u'a']\n",
        "10,10,10,90,40,90,40,10\n",
    ),
}


@pytest.mark.parametrize("form", LINES)
def test_mutated_files_are_scored_or_refused(tmp_path: Path, form: str) -> None:
    rng = random.Random(form)
    pieces = (
        b"",
        b"1e308",
        b"nan",
        b"-1e5",
        b",",
        b",,",
        b"#",
        b"\xff\x00",
        b"[[",
        b"\n",
        b"9" * 400,
    )
    gt, res = (write(tmp_path / name, **{f"{name}_1": ""}) for name in ("gt", "res"))
    num_scored, messages = 0, []
    for _ in range(150):
        for folder, line in zip((gt, res), LINES[form], strict=True):
            data = bytearray(line.encode())
            for _ in range(rng.randint(0, 2)):
                at = rng.randrange(len(data) + 1)
                data[at : at + rng.randint(0, 4)] = rng.choice(pieces)
            (folder / f"{folder.name}_1.txt").write_bytes(data)
        try:
            protocol = "icdar2015" if form == "polygons" else form
            score = score_submission(gt, res, protocol, form).score
        except ValueError as error:
            messages.append(str(error))
            continue
        num_scored += 1
        assert 0 <= score.f <= 1
    assert num_scored > 10
    assert all("_1.txt" in message or "upright boxes" in message for message in messages)


def sample(*counts: int) -> Sample:
    return Sample(Path("a.jpg"), tuple(Text(np.zeros((count, 2))) for count in counts))


def test_scoring_goes_by_format_and_outlines() -> None:
    assert choose_scoring(["totaltext"], [sample(8)]) == Scoring("totaltext", True)
    assert choose_scoring(["ctw1500"], []) == Scoring("ctw1500", True)
    assert choose_scoring(["icdar2013"], [sample(4)]) == Scoring("deteval", False)
    assert choose_scoring(["icdar2015"], [sample(4, 4)]) == Scoring("icdar2015", False)
    assert choose_scoring(["art"], [sample(4, 4), sample(10)]) == Scoring("icdar2015", True)
    assert choose_scoring(["coco"], [sample(*[4] * 20, 7)]) == Scoring("icdar2015", False)
    assert choose_scoring(["totaltext", "td500"], [sample(4)]) == Scoring("icdar2015", False)
    assert choose_scoring(["icdar2015"], [sample(4)], "ctw1500") == Scoring("ctw1500", True)
