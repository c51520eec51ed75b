# SPDX-License-Identifier: Apache-2.0
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector
from dbnet_trt.data.samples import Sample, Text
from dbnet_trt.evaluation.evaluate import (
    Evaluation,
    evaluate_samples,
    score_curve,
    score_image,
    stretched,
    write_jsonl,
)
from dbnet_trt.evaluation.report import render_report
from fakes.tiny_model import make_model, scene

from .test_protocols import box, sums

pytest.importorskip("shapely")

BARS = (box(20, 15, 180, 45), box(20, 75, 170, 105))
"""Outlines of the two bars of `tiny_model.scene`."""


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return Detector(make_model(tmp_path / "tiny.onnx"), unclip_ratio=0)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "bars.png"
    cv2.imwrite(str(path), scene())
    missed = Text(box(0, 110, 60, 119))
    ignored = Text(box(15, 70, 180, 110), ignore=True)
    return Sample(path, (Text(BARS[0]), ignored, missed))


def test_a_detector_is_scored(detector: Detector, sample: Sample) -> None:
    found = evaluate_samples(detector, [sample])
    (image,) = found.images
    assert sums(image.result) == (1, 2, 1, 1)
    assert image.result.truth_hits == (0,)
    assert (image.num_missed, image.num_false) == (1, 0)
    assert found.score.recall == 0.5
    assert image.name == "bars.png"
    assert found.curve == ()
    for polygon in image.detections:
        np.testing.assert_array_equal(polygon, np.rint(polygon))


def test_the_curve_leaves_the_score_as_it_is(detector: Detector, sample: Sample) -> None:
    unsure = cv2.imread(str(sample.image))
    unsure[50:120] = np.where(unsure[50:120] > 0, 129, 0)  # score 0.56, below the threshold 0.6
    cv2.imwrite(str(sample.image), unsure)
    sample = Sample(sample.image, sample.texts[:1])
    plain = evaluate_samples(detector, [sample])
    with_curve = evaluate_samples(detector, [sample], curve=True)
    assert with_curve.score == plain.score
    assert [image.to_json() for image in with_curve.images] == [
        image.to_json() for image in plain.images
    ]
    assert len(with_curve.curve) == 18
    assert [(at, score.num_detections) for at, score in with_curve.curve if at in (0.1, 0.6)] == [
        (0.1, 2),
        (0.6, 1),
    ]
    assert plain.score.num_detections == 1
    assert with_curve.images[0].confidences == plain.images[0].confidences


def test_stretched_samples(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "narrow.png"
    cv2.imwrite(str(path), cv2.resize(scene(), (100, 120)))
    texts = tuple(Text(bar * [0.5, 1]) for bar in BARS)
    found = evaluate_samples(detector, [Sample(path, texts, (2.0, 1.0))])
    assert sums(found.images[0].result) == (2, 2, 2, 2)
    np.testing.assert_array_equal(found.images[0].truths[0], BARS[0])
    assert stretched(np.zeros((120, 100, 3), np.uint8), (2.0, 1.0)).shape == (120, 200, 3)


def test_exif_rotation_is_ignored(detector: Detector, tmp_path: Path) -> None:
    """Ground truth is in pixels of the stored image, regardless of its EXIF rotation."""
    from PIL import Image

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be displayed rotated by 90 degrees
    Image.fromarray(scene()).save(path, exif=exif, quality=95)
    found = evaluate_samples(detector, [Sample(path, tuple(Text(bar) for bar in BARS))])
    assert sums(found.images[0].result) == (2, 2, 2, 2)


def test_the_detector_may_follow_curves(tmp_path: Path, sample: Sample) -> None:
    detector = Detector(make_model(tmp_path / "tiny.onnx"), unclip_ratio=0, polygons=True)
    found = evaluate_samples(detector, [sample], "totaltext")
    assert sums(found.images[0].result) == (1, 2, 1, 1)


def test_unknown_protocols(detector: Detector, sample: Sample) -> None:
    with pytest.raises(ValueError, match="protocol must be one of icdar2015, totaltext"):
        evaluate_samples(detector, [sample], "coco")


def test_curves_count_detections_above_each_score() -> None:
    far = box(500, 0, 510, 10)
    image = score_image("icdar2015", "a", [BARS[0]], [False], [BARS[0], far], [0.8, 0.5])
    curve = dict(score_curve([image, image], "icdar2015"))
    assert (curve[0.5].precision, curve[0.5].recall) == (0.5, 1)
    assert (curve[0.55].precision, curve[0.55].recall) == (1, 1)
    assert (curve[0.85].num_detections, curve[0.85].recall) == (0, 0)


def scored(name: str, *, missed: int, false: int) -> Evaluation:
    truths = [box(0, 40 * i, 30, 40 * i + 30) for i in range(missed)]
    found = [box(100, 40 * i, 130, 40 * i + 30) for i in range(false)]
    image = score_image("icdar2015", name, truths, [False] * missed, found, [0.7] * false)
    return Evaluation("icdar2015", (image,))


def test_worst_images_first() -> None:
    images = [
        scored("good", missed=0, false=0).images[0],
        scored("bad", missed=1, false=1).images[0],
        scored("worse", missed=3, false=0).images[0],
    ]
    evaluation = Evaluation("icdar2015", tuple(images))
    assert [image.name for image in evaluation.worst(5)] == ["worse", "bad"]
    assert [image.name for image in evaluation.worst(1)] == ["worse"]


def test_jsonl_has_the_result_of_each_text(
    detector: Detector, sample: Sample, tmp_path: Path
) -> None:
    evaluation = evaluate_samples(detector, [sample, sample])
    write_jsonl(tmp_path / "x.jsonl", evaluation)
    first, second = (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()
    assert first == second
    record = json.loads(first)
    assert record["image"] == "bars.png"
    assert (record["precision"], record["recall"]) == (1, 0.5)
    assert [(text["ignore"], text["found"]) for text in record["truths"]] == [
        (False, True),
        (True, False),
        (False, False),
    ]
    assert sorted(each["result"] for each in record["detections"]) == ["hit", "ignored"]
    assert all(0 <= each["score"] <= 1 for each in record["detections"])


def test_report_is_self_contained(detector: Detector, sample: Sample) -> None:
    evaluation = evaluate_samples(detector, [sample], curve=True)
    page = render_report(evaluation, {"model": "<tiny>"}, 0.6)
    assert "&lt;tiny&gt;" in page
    assert "1.00000" in page
    assert "bars.png: 1 of 2 missed, 0 of 1 wrong" in page
    for kind in ("found", "missed", "ignore", "hit", "ignored"):
        assert page.count(f'<polygon class="outline {kind}"') == 1
    assert page.count("data:image/jpeg;base64,") == 1
    assert page.count("<circle") == len([s for _, s in evaluation.curve if s.num_detections]) + 1
    assert "http" not in page
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(picture)
    assert "per_image.jsonl" in page


def test_report_without_photos_or_errors() -> None:
    page = render_report(scored("res", missed=2, false=1), {})
    assert page.count('class="outline missed"') == 2
    assert page.count('class="outline false"') == 1
    assert "threshold" not in page
    assert "There is no image with an error." in render_report(scored("a", missed=0, false=0), {})
