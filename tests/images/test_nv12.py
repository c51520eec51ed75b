# SPDX-License-Identifier: Apache-2.0
"""Frames of video decoders on the CPU; tests/kernels/test_nv12.py compares the GPU with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector, ImageError, Nv12Frame
from dbnet_trt.images.load import load_image
from dbnet_trt.images.nv12 import find_colors
from fakes.engines import GreenOnCpu, assert_same, nv12_photo

SIZES = [(2, 2), (2, 64), (64, 2), (48, 66), (90, 128)]


@pytest.fixture
def detector() -> Detector:
    return Detector(GreenOnCpu())


def ways(frame: np.ndarray) -> list[Nv12Frame]:
    """List the forms in which decoders return a frame (H * 3 / 2, W)."""
    height, width = len(frame) * 2 // 3, frame.shape[1]
    luma, chroma = frame[:height], frame[height:]
    padded = np.full((len(frame), width + 13), 77, np.uint8)
    padded[:, :width] = frame
    return [
        Nv12Frame(frame),
        Nv12Frame(frame[:, :, None]),
        Nv12Frame(luma, chroma),
        Nv12Frame(luma[:, :, None], chroma.reshape(height // 2, width // 2, 2)),
        Nv12Frame(padded[:, :width]),
        Nv12Frame(padded[:height, :width], padded[height:, :width]),
        Nv12Frame(np.asfortranarray(luma), chroma[::-1][::-1]),
    ]


@pytest.mark.parametrize("size", SIZES)
def test_frame_is_its_bgr_image(
    detector: Detector, size: tuple[int, int], rng: np.random.Generator
) -> None:
    frame = nv12_photo(*size, rng)
    bgr = np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12), np.uint8)
    for way in ways(frame):
        np.testing.assert_array_equal(load_image(way), bgr)
        assert_same(detector.detect(way), detector.detect(bgr))


@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)]
)
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_are_those_of_the_standards(
    matrix: Any, red: float, blue: float, full_range: bool, rng: np.random.Generator
) -> None:
    """Within rounding of the definitions in ITU-R BT.601 and BT.709."""
    frame = rng.integers(0, 256, (36, 32), dtype=np.uint8)
    luma, chroma = frame[:24].astype(float), frame[24:].reshape(12, 16, 2).astype(float) - 128
    chroma = chroma.repeat(2, axis=0).repeat(2, axis=1)
    if not full_range:
        luma, chroma = np.maximum(luma - 16, 0) * 255 / 219, chroma * 255 / 224
    u, v = chroma[:, :, 0], chroma[:, :, 1]
    b, r = luma + 2 * (1 - blue) * u, luma + 2 * (1 - red) * v
    g = (luma - red * r - blue * b) / (1 - red - blue)
    found = load_image(Nv12Frame(frame, None, matrix, full_range))
    expected = np.stack([b, g, r], axis=2).clip(0, 255)
    limit = 0.51 if (matrix, full_range) != ("bt601", False) else 0.8  # OpenCV rounds its factors
    assert np.abs(found - expected).max() <= limit


def test_unknown_matrix(detector: Detector, rng: np.random.Generator) -> None:
    frame = Nv12Frame(nv12_photo(48, 64, rng), None, "bt2020")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match='must be "bt601" or "bt709", got \'bt2020\''):
        detector.detect(frame)


def test_frames_in_batches_and_pictures(
    detector: Detector, tmp_path: Path, rng: np.random.Generator
) -> None:
    frames = [Nv12Frame(nv12_photo(*size, rng)) for size in SIZES]
    expected = [detector.detect(load_image(frame)) for frame in frames]
    assert sum(map(len, expected)) > 5
    for found, other in zip(detector.detect_batch(frames), expected, strict=True):
        assert_same(found, other)
    found = detector.submit([frames[-1]]).collect()[0]
    assert_same(found, expected[-1])
    found.save(tmp_path / "a.png", frames[-1])
    assert len(found.crops(frames[-1])) == len(found)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.uint8)


WRONG: list[tuple[tuple[Any, ...], str]] = [
    ((zeros(47, 64),), r"even H and W, got \(47, 64\)"),  # 47 rows are not H * 3 / 2
    ((zeros(48, 63),), r"even H and W, got \(48, 63\)"),
    ((zeros(33, 64), zeros(16, 64)), "even H and W"),
    ((zeros(32, 63), zeros(16, 63)), "even H and W"),
    ((zeros(32, 64), zeros(15, 64)), r"got \(32, 64\) and \(15, 64\)"),
    ((zeros(32, 64), zeros(16, 32)), r"got \(32, 64\) and \(16, 32\)"),
    ((zeros(32, 64, 3),), "NV12 must be one array"),
    ((zeros(0, 64),), "NV12 must be one array"),
    ((zeros(48),), "NV12 must be one array"),
    ((zeros(48, 64).astype(np.uint16),), "NV12 must be uint8"),
    ((zeros(32, 64), zeros(16, 64).astype(np.float32)), "NV12 must be uint8"),
]


@pytest.mark.parametrize(("planes", "message"), WRONG, ids=str)
def test_wrong_frames(detector: Detector, planes: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        detector.detect(Nv12Frame(*planes))
    with pytest.raises(ImageError, match=f"image 1 of the batch: .*{message}"):
        detector.detect_batch([zeros(9, 9), Nv12Frame(*planes)])


def test_limited_range_by_any_word_for_no() -> None:
    assert find_colors("bt601", None) == find_colors("bt601", False)  # type: ignore[arg-type]


def test_planes_that_are_not_arrays(detector: Detector) -> None:
    with pytest.raises(TypeError, match=r"NumPy arrays, or all arrays in GPU memory, got list"):
        detector.detect(Nv12Frame([[0, 0]]))
    with pytest.raises(TypeError, match="call detect for one image"):
        detector.detect_batch(Nv12Frame(zeros(48, 64)))  # type: ignore[arg-type]


def test_frame_in_gpu_memory_is_refused_on_the_cpu(detector: Detector) -> None:
    class OnDevice:
        __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012

    several: list[tuple[Any, ...]] = [(OnDevice(),), (zeros(32, 64), OnDevice())]
    for planes in several:
        with pytest.raises(ImageError, match='device="cuda"'):
            detector.detect(Nv12Frame(*planes))
