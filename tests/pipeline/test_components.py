# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import scipy.ndimage
from dbnet_trt import _core
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from maps import ADVERSARIAL, noise


def assert_same_components(prob_map: np.ndarray, threshold: float = 0.3) -> None:
    labels, boxes = _core.label_components(prob_map, threshold)
    with np.errstate(invalid="ignore"):
        binary_map = (prob_map > np.float32(threshold)).astype(np.uint8)
    expected, num = scipy.ndimage.label(binary_map, np.ones((3, 3)))
    assert len(boxes) == num
    # The partition is the same if labels correspond one to one.
    pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == num + bool((expected == 0).any())
    # Labels are numbered by first pixel, in raster order.
    first = np.unique(labels[labels > 0], return_index=True)[1]
    assert (np.diff(first) > 0).all()
    places = scipy.ndimage.find_objects(expected)
    for label, other in pairs.T:
        if label:
            rows, columns = places[other - 1]
            box = [columns.start, rows.start, columns.stop - 1, rows.stop - 1]
            assert boxes[label - 1].tolist() == box


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_components_equal_scipy(name: str, rng: np.random.Generator) -> None:
    assert_same_components(ADVERSARIAL[name](rng))


maps_of_any_kind = st_numpy.arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 150)),
    elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]),
    fill=st.sampled_from([0.0, 0.9]),
)


@settings(max_examples=150, deadline=None)
@given(maps_of_any_kind)
def test_components_equal_scipy_on_any_map(prob_map: np.ndarray) -> None:
    assert_same_components(prob_map)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 120), st.integers(1, 200), st.floats(0.02, 0.98), st.integers(0, 2**32 - 1))
def test_components_equal_scipy_on_noise(
    height: int, width: int, density: float, seed: int
) -> None:
    assert_same_components(noise(height, width, density, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_masks_are_the_parts_of_the_labels(name: str, rng: np.random.Generator) -> None:
    prob_map = np.ascontiguousarray(np.nan_to_num(ADVERSARIAL[name](rng)).clip(0, 1))
    as_bytes = np.rint(prob_map * 255).astype(np.uint8)
    for values in (prob_map, as_bytes):
        of_floats = values if values is prob_map else (values / 255).astype(np.float32)
        labels, boxes = _core.label_components(of_floats, 0.3)
        components = _core.Components(values, 0.3)
        np.testing.assert_array_equal(components.boxes, boxes)
        for index in range(0, len(boxes), 1 + len(boxes) // 50):
            x_min, y_min, x_max, y_max = boxes[index]
            window = labels[y_min : y_max + 1, x_min : x_max + 1]
            np.testing.assert_array_equal(components.mask(index), window == index + 1)
    with pytest.raises(IndexError):
        components.mask(len(boxes))
