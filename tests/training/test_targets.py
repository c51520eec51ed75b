# SPDX-License-Identifier: Apache-2.0
"""Label maps: the core compared with NumPy, and both with the paper."""

import numpy as np
import pyclipper
import pytest
from dbnet_trt import _core
from dbnet_trt.training.targets import BORDER_PX, TargetConfig, make_targets, make_targets_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
BOX: Polygon = np.array([[20, 30], [120, 30], [120, 60], [20, 60]], np.float64)


def random_polygon(rng: np.random.Generator, size: int) -> Polygon:
    """Draw a star-shaped outline of 3 to 14 corners, turned, stretched and partly outside."""
    count = int(rng.integers(3, 15))
    angles = np.sort(rng.random(count)) * 2 * np.pi
    radii = rng.uniform(0.5, 1, count)
    points = np.column_stack([np.cos(angles) * radii, np.sin(angles) * radii])
    points *= rng.uniform(3, size / 3, 2)
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(points @ rotation + rng.uniform(-20, size + 20, 2))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), whole=st.booleans(), ratio=st.sampled_from([0.3, 0.4, 0.7]))
def test_core_equals_numpy(seed: int, whole: bool, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 200)), int(rng.integers(1, 200)))
    polygons = [random_polygon(rng, 150) for _ in range(int(rng.integers(0, 8)))]
    if whole:
        polygons = [np.rint(polygon) for polygon in polygons]
    ignore = list(rng.random(len(polygons)) < 0.3)
    config = TargetConfig(shrink_ratio=ratio)
    for fast, plain in zip(
        make_targets(polygons, ignore, size, config),
        make_targets_reference(polygons, ignore, size, config),
        strict=True,
    ):
        assert fast.dtype == np.float32
        assert fast.shape == size
        np.testing.assert_allclose(fast, plain, rtol=0, atol=1e-4)


def test_shrunk_box_is_where_vatti_clipping_puts_it() -> None:
    maps = make_targets([BOX], [False], (100, 140))
    area, perimeter = 100 * 30, 2 * (100 + 30)
    distance = area * (1 - 0.4**2) / perimeter
    clipper = pyclipper.PyclipperOffset()
    clipper.AddPath((BOX * 1024).astype(int), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    shrunk = np.array(clipper.Execute(-distance * 1024)[0]) / 1024
    ys, xs = np.nonzero(maps.shrink_map)
    assert abs(xs.min() - shrunk[:, 0].min()) <= BORDER_PX
    assert abs(xs.max() - shrunk[:, 0].max()) <= BORDER_PX
    assert abs(ys.min() - shrunk[:, 1].min()) <= BORDER_PX
    assert abs(ys.max() - shrunk[:, 1].max()) <= BORDER_PX
    ys, xs = np.nonzero(maps.thresh_mask)
    assert (xs.min(), xs.max()) == (np.ceil(20 - distance), np.floor(120 + distance))
    assert (ys.min(), ys.max()) == (np.ceil(30 - distance), np.floor(60 + distance))


def test_thresh_map_falls_from_the_edges() -> None:
    maps = make_targets([BOX], [False], (100, 140))
    distance = 3000 * (1 - 0.4**2) / 260
    assert maps.thresh_map[45, 20] == pytest.approx(0.7)
    assert maps.thresh_map[45, 15] == pytest.approx(0.3 + 0.4 * (1 - 5 / distance))
    assert maps.thresh_map[45, 25] == pytest.approx(0.3 + 0.4 * (1 - 5 / distance))
    assert maps.thresh_map[0, 0] == pytest.approx(0.3)
    assert maps.thresh_mask[45, 15] == 1
    assert maps.thresh_mask[0, 0] == 0


def test_ignored_text_is_masked_and_not_drawn() -> None:
    maps = make_targets([BOX], [True], (100, 140))
    assert maps.shrink_mask[45, 60] == 0
    assert maps.shrink_mask[10, 10] == 1
    assert not maps.shrink_map.any()
    assert not maps.thresh_mask.any()


@pytest.mark.parametrize("height", [3, 7])
def test_small_text_is_ignored(height: int) -> None:
    polygon = np.array([[10, 10], [60, 10], [60, 10 + height], [10, 10 + height]], np.float64)
    maps = make_targets([polygon], [False], (40, 80))
    assert maps.shrink_mask[11, 30] == 0
    assert not maps.shrink_map.any()


def test_text_with_only_its_rim_visible_is_ignored() -> None:
    maps = make_targets([BOX - [0, 56]], [False], (50, 140))  # its rows 0 to 4 are inside
    assert not maps.shrink_map.any()
    assert not maps.thresh_mask.any()
    assert (maps.shrink_mask[:4, 21:119] == 0).all()
    assert (maps.shrink_mask[5:] == 1).all()


def test_polygons_far_outside_and_huge_ones() -> None:
    far = BOX + 1e12
    huge = np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])
    maps = make_targets([far, huge], [False, False], (50, 60))
    assert maps.thresh_mask.all()
    assert maps.shrink_map.all()
    assert (maps.shrink_mask == 1).all()


def test_bad_configuration_and_arguments() -> None:
    with pytest.raises(ValueError, match="shrink_ratio must lie between 0 and 1"):
        TargetConfig(shrink_ratio=1)
    with pytest.raises(ValueError, match="thresh_min and thresh_max"):
        TargetConfig(thresh_min=0.8)
    with pytest.raises(ValueError, match=r"\(K, 2\) with K >= 3"):
        _core.draw_targets([np.zeros((2, 2))], [False], (8, 8), 0.4, 0.3, 0.7, 0.5)
    with pytest.raises(ValueError, match="one ignore flag per polygon"):
        _core.draw_targets([BOX], [], (8, 8), 0.4, 0.3, 0.7, 0.5)
    with pytest.raises(ValueError, match="at least 1"):
        _core.draw_targets([BOX], [False], (0, 8), 0.4, 0.3, 0.7, 0.5)


DUMBBELL = [(20, 20), (80, 20), (80, 45), (160, 45), (160, 20), (220, 20), (220, 80), (160, 80),
            (160, 57), (80, 57), (80, 80), (20, 80)]  # fmt: skip


@pytest.mark.parametrize("scale", [1, 8])
@pytest.mark.parametrize("offset", [(0, 0), (-60, -10), (0.5, 0.25)])
def test_an_outline_with_a_thin_waist_is_no_two_texts(
    scale: int, offset: tuple[float, float]
) -> None:
    outline = np.array(DUMBBELL, np.float64) * scale + offset
    size = (100 * scale, 240 * scale)
    maps = make_targets([outline], [False], size)
    plain = make_targets_reference([outline], [False], size) if scale == 1 else maps
    for found in (maps, plain):
        assert not found.shrink_map.any()
        assert found.shrink_mask.min() == 0
    wide = outline.copy()
    wide[[2, 3], 1] -= 15 * scale  # the waist is as thick as the rest
    wide[[8, 9], 1] += 15 * scale
    assert make_targets([wide], [False], size).shrink_map.any()


def test_curved_text_is_learnt_whole() -> None:
    angles = np.linspace(np.pi, 2 * np.pi, 8)
    arc = np.column_stack([np.cos(angles), np.sin(angles)])
    outline = np.concatenate([arc * 90, arc[::-1] * 60]) + 100.0
    maps = make_targets([outline], [False], (120, 200))
    assert maps.shrink_map.sum() > 500
    assert maps.shrink_mask.min() == 1
