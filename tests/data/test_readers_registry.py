# SPDX-License-Identifier: Apache-2.0
"""Every format has a sample set, a definition in its docstring, and is told from the others."""

import inspect
import math
import random
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt.data.guess import guess_format
from dbnet_trt.data.open import read_as_is
from dbnet_trt.data.readers import READERS

from .sample_sets import BOX, OFF, WRITERS, annotation_file, cvat

WITHOUT_IGNORED = ("synthtext", "yolo", "doctr")

SAME_FILES = {"textocr": "cocotext", "art": "lsvt"}


@pytest.mark.parametrize("form", READERS)
def test_reader_says_where_its_format_is_defined(form: str) -> None:
    text = inspect.getdoc(READERS[form]) or ""
    assert text.startswith("Read ")
    assert "https://" in text or "http://" in text


@pytest.mark.parametrize("form", READERS)
def test_sample_set_is_read(form: str, tmp_path: Path) -> None:
    WRITERS[form](tmp_path)
    found = read_as_is(f"{form}:{tmp_path}")
    assert [str(problem) for problem in found.problems] == []
    assert found.notes == []
    (sample,) = found.samples
    assert sample.image.name == "a.jpg"
    assert sample.stretch == (1, 1)
    first, *others = sample.texts
    np.testing.assert_allclose(
        [first.polygon.min(0), first.polygon.max(0)], [BOX[0], BOX[2]], atol=0.01
    )
    assert not first.ignore
    if form in WITHOUT_IGNORED:
        assert others == []
        return
    (second,) = others
    np.testing.assert_allclose(
        [second.polygon.min(0), second.polygon.max(0)], [OFF[0], OFF[2]], atol=0.01
    )
    assert second.ignore


@pytest.mark.parametrize("form", READERS)
def test_format_is_guessed(form: str, tmp_path: Path) -> None:
    WRITERS[form](tmp_path)
    assert guess_format(tmp_path) == SAME_FILES.get(form, form)


@pytest.mark.parametrize("form", READERS)
def test_other_formats_are_refused_or_read_alike(form: str, tmp_path: Path) -> None:
    WRITERS[form](tmp_path)
    right = read_as_is(f"{form}:{tmp_path}").samples[0].texts
    for other in READERS:
        try:
            samples = read_as_is(f"{other}:{tmp_path}").samples
        except ValueError:
            continue
        for sample in samples:
            for text, expected in zip(sample.texts, right, strict=True):
                np.testing.assert_allclose(text.polygon, expected.polygon, atol=0.01)
                assert text.ignore == expected.ignore, (form, other)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes, numbers and pieces changed, doubled or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        piece = rng.choice(
            [b"", b"1e308", b"NaN", b"-1", b"null", b"[]", b"{}", b'"x"', b",", b"\xff", b"9" * 400]
        )
        changed[at : at + rng.choice([0, 1, 3, 20])] = piece
    if rng.random() < 0.2:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


@pytest.mark.parametrize("form", READERS)
def test_mutated_annotations_are_read_or_refused(form: str, tmp_path: Path) -> None:
    WRITERS[form](tmp_path)
    file = annotation_file(tmp_path)
    whole, rng = file.read_bytes(), random.Random(form)
    for _ in range(80):
        file.write_bytes(mutate(whole, rng))
        for name in (f"{form}:{tmp_path}", str(tmp_path)):
            try:
                found = read_as_is(name)
            except ValueError:
                continue
            for sample in found.samples:
                for text in sample.texts:
                    assert np.abs(text.polygon).max() < 1e6


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "carriage returns", "CRLF"])
def test_encodings_and_ends_of_lines_change_nothing(
    form: str, encoding: str, tmp_path: Path
) -> None:
    WRITERS[form](tmp_path)
    file = annotation_file(tmp_path)
    if file.suffix == ".mat":
        return
    plain = read_as_is(f"{form}:{tmp_path}")
    text = file.read_text("utf-8")
    if "utf" in encoding:
        file.write_bytes(text.encode(encoding))
    else:
        file.write_bytes(text.replace("\n", "\r" if "carr" in encoding else "\r\n").encode())
    found = read_as_is(f"{form}:{tmp_path}")
    assert found.problems == plain.problems == []
    for ours, theirs in zip(found.samples, plain.samples, strict=True):
        for text_, expected in zip(ours.texts, theirs.texts, strict=True):
            np.testing.assert_array_equal(text_.polygon, expected.polygon)
            assert (text_.ignore, text_.content) == (expected.ignore, expected.content)


def test_turned_boxes_of_cvat(tmp_path: Path) -> None:
    cvat(tmp_path)
    file = tmp_path / "annotations.xml"
    turned = file.read_text("utf-8").replace('xtl="100"', 'rotation="90" xtl="100"')
    file.write_text(turned, "utf-8")
    text = read_as_is(f"cvat:{tmp_path}").samples[0].texts[1]
    np.testing.assert_allclose([text.polygon.min(0), text.polygon.max(0)], [[120, 40], [160, 120]])
    assert math.isclose(text.polygon[0, 0], 160)
