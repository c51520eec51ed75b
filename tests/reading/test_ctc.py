# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from dbnet_trt import CpuConfig, EngineError
from dbnet_trt.reading import CtcConfig, CtcReader, open_reader
from fakes.tiny_recogniser import crop, make_recogniser


@pytest.fixture
def recogniser(tmp_path: Path) -> Path:
    return make_recogniser(tmp_path / "tiny.onnx")


def test_texts_of_all_widths_come_back_in_order(recogniser: Path) -> None:
    texts = ["ab", "bbbaab", "a", "ba" * 20, "aa", "abab", "b", "bba"]
    read = CtcReader(recogniser, config=CtcConfig(batch_size=3))([crop(text) for text in texts])
    assert [text for text, _ in read] == texts
    assert all(0.9 < confidence <= 1 for _, confidence in read)
    assert CtcReader(recogniser)([]) == []


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_both_libraries(recogniser: Path, backend: Literal["openvino", "onnxruntime"]) -> None:
    pytest.importorskip(backend)
    reader = CtcReader(recogniser, cpu=CpuConfig(backend=backend, precision="fp32"))
    ((text, confidence),) = reader([crop("abb")])
    assert text == "abb"
    assert confidence == pytest.approx(0.99, abs=0.02)


def test_crops_of_any_height_and_without_text(recogniser: Path) -> None:
    gray = np.full((20, 90, 3), 128, np.uint8)
    read = CtcReader(recogniser)([crop("ab", 24), crop("ba", 200), gray])
    assert [text for text, _ in read[2:]] == [""]
    assert read[2][1] == 0
    assert set(read[0][0]) == set(read[1][0]) == {"a", "b"}
    assert CtcReader(recogniser)([crop("a")[:1, :1]])[0][0] == "a"


def test_logits_and_a_blank_at_the_end(tmp_path: Path) -> None:
    path = make_recogniser(tmp_path / "logits.onnx", softmax=False, blank=2)
    ((text, confidence),) = CtcReader(path, config=CtcConfig(blank="last"))([crop("abba")])
    assert text == "abba"
    assert 0.9 < confidence <= 1


def test_characters_are_given_or_read_from_a_file(tmp_path: Path) -> None:
    path = make_recogniser(tmp_path / "bare.onnx", characters=None)
    with pytest.raises(EngineError, match="give its characters"):
        CtcReader(path)
    assert CtcReader(path, ["文", "字"])([crop("ab")])[0][0] == "文字"
    (tmp_path / "keys.txt").write_text("x\ny\n", encoding="utf-8")
    assert CtcReader(path, tmp_path / "keys.txt")([crop("ab")])[0][0] == "xy"
    assert CtcReader(path, ["x"])([crop("ab")])[0][0] == "x "  # the space is left out
    with pytest.raises(EngineError, match=r"for 3 characters and the blank the last must be 4"):
        CtcReader(path, ["x", "y", "z"])([crop("ab")])


def test_what_is_no_recogniser_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(EngineError, match=r"the recogniser .*broken.onnx cannot be read"):
        open_reader(tmp_path / "broken.onnx")
    with pytest.raises(EngineError, match="there is no file|cannot be read"):
        open_reader(tmp_path / "missing.onnx")
    with pytest.raises(ValueError, match='expected the reader "rapidocr", "onnxtr"'):
        open_reader("tesseract")


def test_a_reader_by_path(recogniser: Path) -> None:
    assert open_reader(str(recogniser), CpuConfig(num_threads=1))([crop("ba")])[0][0] == "ba"


def test_height_that_the_network_does_not_take(recogniser: Path) -> None:
    with pytest.raises(EngineError, match="the recogniser .* failed"):
        CtcReader(recogniser, config=CtcConfig(height=32))([crop("ab")])
