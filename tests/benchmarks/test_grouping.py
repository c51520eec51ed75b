# SPDX-License-Identifier: Apache-2.0
"""The pixel groupings that DB's post-processing is compared with do what their papers say."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from .test_scripts import load, read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++"),
]


@pytest.fixture(scope="module")
def script() -> Any:
    return load("grouping")


@pytest.fixture(scope="module")
def grouping(script: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return script.Grouping(tmp_path_factory.mktemp("grouping"))


def test_scales_grow_into_the_whole_text_and_meet_in_the_middle(grouping: Any) -> None:
    maps = np.zeros((3, 12, 20), np.float32)
    maps[0, 2:4, 5:15] = maps[0, 8:10, 5:15] = 1  # two texts, far apart
    maps[1, 1:5, 4:16] = maps[1, 7:11, 4:16] = 1
    maps[2, :, 3:17] = 1  # whole texts touch
    labels = np.empty((12, 20), np.int32)
    assert grouping.expand_scales(maps, labels) == 2
    np.testing.assert_array_equal(labels[:, 10], [1] * 6 + [2] * 6)
    np.testing.assert_array_equal(labels > 0, maps[2] > 0)


def test_embeddings_choose_the_nearest_centre(script: Any, grouping: Any) -> None:
    text, centres = np.zeros((2, 9, 12), np.float32)
    text[:, 1:11] = 1
    centres[1, 3:9] = centres[7, 3:9] = 1
    embedding = np.zeros((9, 12, 8), np.float32)
    embedding[5:] = 1  # the lower text
    embedding[4] = 50  # near no text
    page = script.Page(text, text[None], text, centres, embedding)
    labels = np.empty((9, 12), np.int32)
    assert grouping.group_embeddings(page, labels) == 2
    np.testing.assert_array_equal(labels[:, 5], [1, 1, 1, 1, 0, 2, 2, 2, 2])
    assert not labels[:, 0].any()


def test_script(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "LINES", {(96, 128): (3,)})
    monkeypatch.setattr(script, "GAPS", (8, 1))
    monkeypatch.setattr("sys.argv", ["benchmark.py"])
    script.main(repeats=3, json=tmp_path / "a.json")
    report = read(tmp_path / "a.json")
    assert report["times"][0]["scales"]["p50_ms"] > 0
    assert [each["db"] for each in report["lines_that_nearly_touch"]] == [20, 20]
    assert report["lines_that_nearly_touch"][1]["whole texts"] < 20
