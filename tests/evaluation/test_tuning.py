# SPDX-License-Identifier: Apache-2.0
"""Thresholds are chosen where they find the text, and their worth is told honestly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Unpack

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector, SizePolicy
from dbnet_trt.data.samples import Sample, Text
from dbnet_trt.evaluation import tuning
from dbnet_trt.evaluation.evaluate import evaluate_samples
from dbnet_trt.evaluation.tuning import tune
from dbnet_trt.settings import PostprocessOptions
from fakes.tiny_model import make_model, scene

from .test_evaluate import BARS
from .test_protocols import box

pytest.importorskip("shapely")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Four pictures of one bar each, with a paler one that is no text."""
    found = []
    for index in range(4):
        image = scene()
        image[60:] = np.where(image[60:] > 0, 131 + index, 0)  # scores from 0.63 to 0.72
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
        found.append(Sample(tmp_path / f"{index}.png", (Text(BARS[0]),)))
    return found


def open_tiny(folder: Path, **options: Unpack[PostprocessOptions]) -> Detector:
    options.setdefault("unclip_ratio", 0.0)
    return Detector(make_model(folder / "tiny.onnx"), **options)


def test_what_is_no_text_is_left_out(samples: list[Sample], tmp_path: Path) -> None:
    detector = open_tiny(tmp_path, score_threshold=0.4)
    found = tune(detector, [samples])
    assert found.f_before == pytest.approx(2 / 3)  # half of the outlines are wrong
    assert found.f == 1
    assert found.f_of_halves > found.f_before
    assert found.params.score_threshold > 0.72
    assert detector.params.score_threshold == 0.4


def test_scores_are_those_of_the_detector(samples: list[Sample], tmp_path: Path) -> None:
    """Also with thresholds off the grid, and with several data sets."""
    detector = open_tiny(tmp_path, score_threshold=0.66, binary_threshold=0.31)
    sets = [samples[:2], samples[2:]]
    found = tune(detector, sets)
    expected = [evaluate_samples(detector, each).score.f for each in sets]
    assert found.f_before == pytest.approx(np.mean(expected))
    assert 0 < found.f_before < 1
    chosen = open_tiny(
        tmp_path,
        binary_threshold=found.params.binary_threshold,
        score_threshold=found.params.score_threshold,
        unclip_ratio=found.params.unclip_ratio,
    )
    expected = [evaluate_samples(chosen, each).score.f for each in sets]
    assert found.f == pytest.approx(np.mean(expected))


def test_the_unclip_ratio_is_chosen(tmp_path: Path) -> None:
    """The truth is larger than what the map shows, by more than a ratio of 1 adds."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[185:215, 120:280] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    sample = Sample(tmp_path / "a.png", (Text(box(86, 151, 314, 249)),))
    found = tune(open_tiny(tmp_path, unclip_ratio=1.0), [[sample, sample]], size=SizePolicy(400))
    assert (found.f_before, found.f) == (0, 1)
    assert found.params.unclip_ratio > 1.0


def test_what_makes_no_difference_stays(samples: list[Sample], tmp_path: Path) -> None:
    detector = open_tiny(tmp_path, score_threshold=0.77, binary_threshold=0.33)
    assert tune(detector, [samples]).params == detector.params


def test_a_single_peak_is_not_chosen() -> None:
    """F of 0.9 among others of 0.5 is chance; 0.8 among others of 0.8 is not."""
    hits = np.full((1, 7, 7, 9), 50.0)
    hits[0, 1, 1, 1] = 90
    hits[0, 3:7, 3:7, 3:9] = 80
    rest = np.full_like(hits, 100.0)
    best = tuning._best([np.stack([hits, rest, hits, rest], axis=-1)], (0, 0, 0))
    assert hits[0][best] == 80


def test_each_half_is_judged_at_what_the_other_chooses(
    samples: list[Sample], tmp_path: Path
) -> None:
    """A choice is worth nothing on new images where halves want opposite thresholds."""
    pale = []
    for index, sample in enumerate(samples):
        is_late = 2 * index >= len(samples)
        text = BARS[0] if is_late else BARS[1]
        image = cv2.imread(str(sample.image))
        image[:60] = np.where(image[:60] > 0, (255 if is_late else 0), 0)
        cv2.imwrite(str(sample.image), image)
        pale.append(dataclasses.replace(sample, texts=(Text(text),)))
    found = tune(open_tiny(tmp_path, score_threshold=0.4), [pale])
    assert found.f_of_halves < found.f


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(samples: list[Sample], count: int, tmp_path: Path) -> None:
    expected = f"two images or more, .* got {count} with {count} such texts in data set 2 of 2"
    with pytest.raises(ValueError, match=expected):
        tune(open_tiny(tmp_path), [samples, samples[:count]])


def test_all_text_ignored(samples: list[Sample], tmp_path: Path) -> None:
    ignored = [dataclasses.replace(each, texts=(Text(BARS[0], True),)) for each in samples]
    with pytest.raises(ValueError, match="got 4 with 0 such texts in data set 1 of 1"):
        tune(open_tiny(tmp_path), [ignored])
