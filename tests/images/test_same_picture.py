# SPDX-License-Identifier: Apache-2.0
"""A still picture is the same through a codec; one other letter is another picture."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detector, ImageError, Nv12Frame
from dbnet_trt.images.same_picture import SamePicture
from dbnet_trt.images.video import VideoFile, read_frames
from fakes.pairs import OnDevice
from fakes.tiny_model import make_model, scene


def title(text: str) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (192, 320, 3), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 30, 220, cv2.NORM_MINMAX)
    font = cv2.FONT_HERSHEY_SIMPLEX
    return cv2.putText(image, text, (20, 170), font, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_codec_makes_no_other_picture_and_one_letter_does(suffix: str, tmp_path: Path) -> None:
    film = VideoFile(tmp_path / f"titles{suffix}", 25)
    for text in ("ten words", "ten wards"):
        for _ in range(15):
            film.add(title(text))
    film.close()
    is_same = SamePicture()
    same = [is_same(frame) for _, frame in read_frames(str(tmp_path / f"titles{suffix}"))]
    assert same == [False, *[True] * 14, False, *[True] * 14]


def test_slow_change_is_noticed() -> None:
    is_same = SamePicture()
    same = [is_same(np.full((40, 40, 3), 3 * i, np.uint8)) for i in range(40)]
    assert same.count(False) == 4  # each is compared with the last one that differed


def test_other_sizes_and_kinds_of_frames() -> None:
    is_same = SamePicture()
    assert not is_same(np.zeros((40, 40, 3), np.uint8))
    assert is_same(np.zeros((40, 40), np.uint8))
    assert not is_same(np.zeros((44, 40, 3), np.uint8))
    luma = np.zeros((60, 40), np.uint8)
    assert not is_same(Nv12Frame(luma))
    assert is_same(Nv12Frame(luma.copy()))
    assert not is_same(np.zeros((1, 1, 3), np.uint8))
    assert is_same(np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(TypeError, match="leave skip_same out"):
        is_same(OnDevice(np.zeros((40, 40, 3), np.uint8)))


def test_stream_searches_a_picture_once(tmp_path: Path) -> None:
    detector = Detector(make_model(tmp_path / "tiny.onnx"), cpu=CpuConfig(num_threads=1))
    shown = [2, 2, 2, 1, 1, 2]
    frames = [scene(num_texts=n) for n in shown]
    results = list(detector.stream(frames, skip_same=True))
    assert [len(found) for _, found in results] == shown
    assert all(given is frame for given, (frame, _) in zip(frames, results, strict=True))
    objects = [found for _, found in results]
    assert objects[0] is objects[1] is objects[2]
    assert objects[3] is objects[4]
    assert objects[5] is not objects[0]
    searched = list(detector.stream(frames))
    assert len({id(found) for _, found in searched}) == 6
    with_bad: list[Any] = [*frames, np.zeros((3, 3, 7), np.uint8)]
    with pytest.raises(ImageError, match="^frame 6: "):
        list(detector.stream(with_bad, skip_same=True))
