# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt.data.readers import READERS
from photos import write_photo
from scipy.io import savemat

BOX = [[10, 20], [60, 20], [60, 40], [10, 40]]


def objects(*values: Any) -> np.ndarray[Any, Any]:
    """Make a (1, N) array of objects, like a cell array of MATLAB."""
    cells = np.empty((1, len(values)), object)
    for index, value in enumerate(values):
        cells[0, index] = value
    return cells


def test_synthtext(tmp_path: Path) -> None:
    for name in ("8/ballet_0.jpg", "9/car_1.jpg"):
        write_photo(tmp_path / name)
    boxes = np.stack([np.array(BOX).T, np.array(BOX).T + 30, np.array(BOX).T + 50], axis=2)
    savemat(
        tmp_path / "gt.mat",
        {
            "imnames": objects("8/ballet_0.jpg", "9/car_1.jpg"),
            "wordBB": objects(boxes.astype(np.float32), np.array(BOX, np.float32).T),
            "txt": objects(np.array(["Lines:\nI lost", "  "]), np.array(["one "])),
        },
    )
    found = READERS["synthtext"](tmp_path)
    assert found.problems == []
    first, second = found.samples
    assert [text.content for text in first.texts] == ["Lines:", "I", "lost"]
    np.testing.assert_array_equal(first.texts[1].polygon, np.array(BOX) + 30)
    assert [text.content for text in second.texts] == ["one"]
    np.testing.assert_array_equal(second.texts[0].polygon, BOX)


def test_broken_synthtext(tmp_path: Path) -> None:
    for name in ("1/a.jpg", "1/b.jpg"):
        write_photo(tmp_path / name)
    box = np.array(BOX, np.float32).T
    savemat(
        tmp_path / "gt.mat",
        {
            "imnames": objects("1/a.jpg", "1/b.jpg", "1/c.jpg"),
            "wordBB": objects(box, np.zeros(3), box),
            "txt": objects(np.array(["two words"]), np.array(["one"]), np.array(["one"])),
        },
    )
    found = READERS["synthtext"](tmp_path)
    assert [sample.image.name for sample in found.samples] == ["a.jpg"]
    assert found.samples[0].texts[0].content == ""
    first, second, third = (problem.message for problem in found.problems)
    assert "a.jpg: expected 1 words, got 2" in first
    assert "b.jpg: expected wordBB (2, 4, N), got (1, 3)" in second
    assert "c.jpg, found none" in third
    savemat(tmp_path / "gt.mat", {"imnames": objects("1/a.jpg")})
    with pytest.raises(ValueError, match="to hold imnames, wordBB, txt"):
        READERS["synthtext"](tmp_path)
