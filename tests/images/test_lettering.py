# SPDX-License-Identifier: Apache-2.0
import logging
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt import Detections, ImageError
from dbnet_trt.images import lettering
from dbnet_trt.images.lettering import draw_texts

QUADS = np.array([[[20, 50], [120, 50], [120, 70], [20, 70]]], np.float32)


@pytest.fixture
def gray() -> np.ndarray:
    pytest.importorskip("PIL")
    if not any(folder.exists() for folder in lettering.SYSTEM_FONTS):
        pytest.skip("no fonts")
    return np.full((100, 160, 3), 128, np.uint8)


def test_text_is_drawn_above_its_outline(gray: np.ndarray) -> None:
    drawn = draw_texts(gray, QUADS, ("Abc",))
    changed = np.argwhere((drawn != gray).any(axis=2))
    assert (gray == 128).all()
    assert len(changed) > 30
    assert changed[:, 0].min() > 30
    assert changed[:, 0].max() <= 52
    assert changed[:, 1].min() >= 17
    np.testing.assert_array_equal(draw_texts(gray, QUADS, (" ",)), gray)


def test_plot_draws_what_was_read(gray: np.ndarray) -> None:
    read = Detections(QUADS, np.ones(1, np.float32), None, None, ("Abc",), np.ones(1, np.float32))
    plain = Detections(QUADS, np.ones(1, np.float32)).plot(gray)
    assert (read.plot(gray)[35:49] != plain[35:49]).any()


def test_characters_that_no_font_has_are_named(
    gray: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        draw_texts(gray, QUADS, ("A\ue123",))
    assert "no font has \ue123" in caplog.text


def test_a_machine_without_fonts(
    gray: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lettering, "SYSTEM_FONTS", (tmp_path,))
    for cached in (lettering._font_files, lettering._choose_font):
        cached.cache_clear()
    with pytest.raises(ImageError, match="needs a font, and there is none"):
        draw_texts(gray, QUADS, ("Abc",))
    for cached in (lettering._font_files, lettering._choose_font):
        cached.cache_clear()
