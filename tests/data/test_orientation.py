# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from dbnet_trt.data.open import read_as_is
from photos import write_lines, write_photo

STORED = "150,10,190,10,190,30,150,30"
UPRIGHT = "10,150,50,150,50,190,10,190"
EITHER = "10,10,50,10,50,30,10,30"


def write_set(folder: Path, line: str, count: int = 3) -> Path:
    """Photos of 200x120 that EXIF turns to 120x200, each with one line, and one that is not."""
    for number in range(count):
        write_photo(folder / f"{number}.jpg", orientation=6)
        write_lines(folder / f"{number}.txt", line)
    write_photo(folder / "straight.jpg")
    write_lines(folder / "straight.txt", f"{EITHER},word")
    return folder


@pytest.mark.parametrize("form", ["icdar2015", "polygons"])
@pytest.mark.parametrize(("line", "upright"), [(STORED, False), (UPRIGHT, True)])
def test_labels_decide_for_the_whole_set(
    tmp_path: Path, form: str, line: str, upright: bool
) -> None:
    write_set(tmp_path, f"{line},word")
    write_lines(tmp_path / "0.txt", f"{EITHER},word")
    found = read_as_is(f"{form}:{tmp_path}")
    assert found.problems == []
    assert found.notes == []
    assert [sample.upright for sample in found.samples] == [upright] * 4
    assert all(len(sample.texts) == 1 for sample in found.samples)


@pytest.mark.parametrize(("form", "upright"), [("icdar2015", False), ("polygons", True)])
def test_where_labels_fit_both_the_format_decides_and_a_note_says_so(
    tmp_path: Path, form: str, upright: bool
) -> None:
    found = read_as_is(f"{form}:{write_set(tmp_path, f'{EITHER},word')}")
    assert [sample.upright for sample in found.samples] == [upright] * 4
    assert found.notes == [
        "3 photos are turned by EXIF, and their labels fit both ways; read as "
        + ("EXIF turns them" if upright else "they are stored")
    ]


def write_doctr(folder: Path, size: tuple[int, int], orientation: int = 6) -> Path:
    write_photo(folder / "a.jpg", orientation=orientation)
    entry = {"img_dimensions": size, "polygons": [[[10, 10], [50, 10], [50, 30], [10, 30]]]}
    return write_lines(folder / "labels.json", json.dumps({"a.jpg": entry}))


@pytest.mark.parametrize(("size", "upright"), [((120, 200), False), ((200, 120), True)])
def test_size_in_the_annotation_decides(
    tmp_path: Path, size: tuple[int, int], upright: bool
) -> None:
    (sample,) = read_as_is(f"doctr:{write_doctr(tmp_path, size)}").samples
    assert sample.upright == upright


def test_labels_of_an_image_of_another_size_are_a_problem(tmp_path: Path) -> None:
    found = read_as_is(f"doctr:{write_doctr(tmp_path, (240, 400))}")
    assert found.samples == []
    assert "expected an image of 400x240 pixels" in found.problems[0].message
