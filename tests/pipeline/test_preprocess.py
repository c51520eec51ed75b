# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from dbnet_trt import ModelCard, _core
from dbnet_trt.card import ChannelOrder
from dbnet_trt.pipeline.preprocess import preprocess
from dbnet_trt.pipeline.reference import preprocess_reference
from dbnet_trt.settings import ResizePlan, SizePolicy, round_up
from hypothesis import given, settings
from hypothesis import strategies as st

CARD = ModelCard("drawn")


def run(image: np.ndarray, plan: ResizePlan, card: ModelCard = CARD) -> np.ndarray:
    out = np.full((3, *plan.padded), np.nan, np.float32)
    preprocess(image, plan, card.normalization, out)
    return out


sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))


@settings(max_examples=200, deadline=None)
@given(sizes, sizes, st.integers(0, 40), st.sampled_from(["bgr", "rgb"]), st.integers(0, 2**32 - 1))
def test_preprocess_equals_opencv_to_the_bit(
    source: tuple[int, int], resized: tuple[int, int], pad: int, order: ChannelOrder, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*source, 3), dtype=np.uint8)
    plan = ResizePlan(source, resized, (resized[0] + pad, resized[1] + pad // 2))
    card = ModelCard("drawn", channel_order=order)
    expected = preprocess_reference(image, plan, card.normalization)
    np.testing.assert_array_equal(run(image, plan, card), expected)


@pytest.mark.parametrize(
    ("source", "resized"),
    [
        ((720, 1280), (736, 1308)),  # video, enlarged
        ((1080, 1920), (540, 960)),  # exactly half: OpenCV uses other code
        ((640, 640), (640, 640)),
        ((3000, 2000), (1104, 736)),
        ((1, 5000), (1, 4096)),
        ((5000, 1), (4096, 1)),
        ((1, 1), (736, 736)),
    ],
)
def test_preprocess_equals_opencv_at_sizes_in_use(
    source: tuple[int, int], resized: tuple[int, int], rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (*source, 3), dtype=np.uint8)
    padded = (round_up(resized[0]), round_up(resized[1]))
    plan = ResizePlan(source, resized, padded)
    expected = preprocess_reference(image, plan, CARD.normalization)
    np.testing.assert_array_equal(run(image, plan), expected)


def test_rows_may_be_padded(rng: np.random.Generator) -> None:
    whole = rng.integers(0, 256, (50, 80, 3), dtype=np.uint8)
    window = whole[10:40, 5:65]
    plan = SizePolicy(32).plan(30, 60)
    np.testing.assert_array_equal(run(window, plan), run(window.copy(), plan))


@given(st.integers(1, 20000), st.integers(1, 20000), st.integers(1, 2000), st.integers(32, 5000))
def test_plan_keeps_aspect_and_limits(height: int, width: int, short: int, limit: int) -> None:
    plan = SizePolicy(short, limit).plan(height, width)
    assert plan.image == (height, width)
    assert max(plan.resized) <= limit
    assert all(side % 32 == 0 for side in plan.padded)
    assert all(0 <= p - r < 32 for p, r in zip(plan.padded, plan.resized, strict=True))
    wanted = (plan.resized[0] / height, plan.resized[1] / width)
    # Factors are equal except for rounding to whole pixels; a side is at least one pixel.
    assert abs(wanted[0] - wanted[1]) <= 1 / min(height, width)


def test_plan_of_a_video_frame() -> None:
    assert SizePolicy(736).plan(720, 1280) == ((720, 1280), (736, 1308), (736, 1312))


def test_numpy_integers_are_accepted() -> None:
    assert SizePolicy(np.int64(640)) == SizePolicy(640)  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["short_side", "long_side_limit"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_size_policy_rejects_invalid_sizes(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        SizePolicy(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("image", "resized", "message"),
    [
        (np.zeros((4, 4), np.uint8), (4, 4), "must be \\(H, W, 3\\)"),
        (np.zeros((4, 4, 4), np.uint8), (4, 4), "must be \\(H, W, 3\\)"),
        (np.zeros((0, 4, 3), np.uint8), (4, 4), "must be \\(H, W, 3\\)"),
        (np.zeros((4, 8, 3), np.uint8)[:, ::2], (4, 4), "contiguous rows"),
        (np.zeros((4, 4, 3), np.uint8), (33, 4), "resized must lie between"),
        (np.zeros((4, 4, 3), np.uint8), (0, 4), "resized must lie between"),
    ],
)
def test_core_checks_its_arguments(
    image: np.ndarray, resized: tuple[int, int], message: str
) -> None:
    out = np.zeros((3, 32, 32), np.float32)
    with pytest.raises(ValueError, match=message):
        _core.preprocess(image, resized, out, [1, 1, 1], [0, 0, 0])


def test_core_refuses_other_types() -> None:
    with pytest.raises(TypeError):
        _core.preprocess(
            np.zeros((4, 4, 3), np.float32),
            (4, 4),
            np.zeros((3, 32, 32), np.float32),
            [1, 1, 1],
            [0, 0, 0],
        )
