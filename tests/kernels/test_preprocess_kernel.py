# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from dbnet_trt import _core
from dbnet_trt.images.nv12 import Nv12Image, find_colors
from fakes.emulator import Emulator

SCALE = (1 / 255 / np.array([0.229, 0.224, 0.225])).astype(np.float32)
BIAS = (-np.array([0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225])).astype(np.float32)

Sizes = tuple[tuple[int, int], tuple[int, int]]

SIZES: list[tuple[tuple[int, int], Sizes]] = [
    ((1, 1), ((1, 1), (1, 2))),
    ((1, 1), ((32, 32), (32, 32))),
    ((33, 97), ((64, 188), (64, 192))),
    ((33, 97), ((31, 93), (33, 98))),
    ((97, 33), ((94, 32), (96, 32))),
    ((120, 200), ((60, 100), (64, 128))),
    ((50, 3), ((50, 3), (64, 32))),
    ((1, 300), ((1, 256), (32, 256))),
]


def on_cpu(image: np.ndarray, sizes: Sizes, swap_red_blue: bool = False) -> np.ndarray:
    out = np.empty((3, *sizes[1]), np.float32)
    _core.preprocess(image, sizes[0], out, SCALE.tolist(), BIAS.tolist(), swap_red_blue)
    return out


@pytest.mark.parametrize(("source", "sizes"), SIZES)
@pytest.mark.parametrize("swap_red_blue", [False, True])
def test_kernel_equals_the_cpu_to_the_bit(
    emulator: Emulator,
    source: tuple[int, int],
    sizes: Sizes,
    swap_red_blue: bool,
    rng: np.random.Generator,
) -> None:
    image = rng.integers(0, 256, (*source, 3), dtype=np.uint8)
    out = emulator.preprocess(image, sizes, SCALE, BIAS, swap_red_blue)
    np.testing.assert_array_equal(out, on_cpu(image, sizes, swap_red_blue))


def test_half_precision_is_the_rounded_float(emulator: Emulator, rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 70, 3), dtype=np.uint8)
    sizes = ((64, 112), (64, 128))
    out = emulator.preprocess(image, sizes, SCALE, BIAS, dtype=np.float16)
    np.testing.assert_array_equal(out, on_cpu(image, sizes).astype(np.float16))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_images_of_any_size_equal_the_cpu(
    emulator: Emulator, dtype: type, rng: np.random.Generator
) -> None:
    """One and two pixels, odd and even numbers, larger and smaller."""
    for _ in range(40):
        height, width, *resized = rng.choice([1, 2, 3, 8, 17, 40], 4).tolist()
        sizes = (resized[0], resized[1]), (resized[0] + 1, resized[1] + 2 + resized[1] % 2)
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        out = emulator.preprocess(image, sizes, SCALE, BIAS, dtype=dtype)
        np.testing.assert_array_equal(out, on_cpu(image, sizes).astype(dtype))


def test_rows_may_be_padded(emulator: Emulator, rng: np.random.Generator) -> None:
    whole = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    window = whole[10:50, 7:77]
    sizes = ((64, 112), (64, 128))
    out = emulator.preprocess(window, sizes, SCALE, BIAS)
    np.testing.assert_array_equal(out, on_cpu(window, sizes))


@pytest.mark.parametrize(
    "sizes", [((48, 64), (64, 64)), ((96, 128), (96, 128)), ((31, 45), (32, 46))]
)
def test_nv12_equals_opencv(emulator: Emulator, sizes: Sizes, rng: np.random.Generator) -> None:
    """Frames of a video decoder are converted and resized as OpenCV does."""
    height, width = 48, 64
    frame = rng.integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
    bgr = np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_NV12), np.uint8)
    out = emulator.preprocess(frame[:height], sizes, SCALE, BIAS, chroma=frame[height:])
    np.testing.assert_array_equal(out, on_cpu(bgr, sizes))


@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full_range", [False, True])
def test_nv12_of_every_standard_equals_the_cpu(
    emulator: Emulator, matrix: str, full_range: bool, rng: np.random.Generator
) -> None:
    frame = rng.integers(0, 256, (48, 32), dtype=np.uint8)
    luma, chroma, colors = frame[:32], frame[32:], find_colors(matrix, full_range)
    sizes = ((48, 48), (64, 64))
    out = emulator.preprocess(luma, sizes, SCALE, BIAS, chroma=chroma, colors=colors)
    np.testing.assert_array_equal(out, on_cpu(Nv12Image(luma, chroma, colors).to_bgr(), sizes))


@pytest.mark.parametrize("seed", [1, 2])
def test_any_schedule_gives_the_same(
    emulator: Emulator, seed: int, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (33, 97, 3), dtype=np.uint8)
    sizes = ((64, 188), (64, 192))
    emulator.configure(seed=seed, resident_blocks=4, yield_one_in=3, check_races=True)
    out = emulator.preprocess(image, sizes, SCALE, BIAS)
    np.testing.assert_array_equal(out, on_cpu(image, sizes))
    assert emulator.first_race == ""
