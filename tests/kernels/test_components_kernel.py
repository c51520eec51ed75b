# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import scipy.ndimage
from fakes.emulator import Components, Emulator, Sizes
from maps import ADVERSARIAL, comb, noise, spiral, text_map

SHAPES = [
    (1, 1),
    (1, 64),
    (1, 65),
    (32, 64),
    (33, 97),
    (31, 63),
    (33, 65),
    (63, 127),
    (65, 129),
    (64, 128),
    (200, 3),
]


def expected_labels(values: np.ndarray, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Label one map with SciPy: (h, w) uint32, 1 + the first pixel of the component."""
    inside: np.ndarray = np.zeros(values.shape, bool)
    inside[: size[0], : size[1]] = True
    with np.errstate(invalid="ignore"):
        binary_map = (values.astype(np.float32) > np.float32(threshold)) & inside
    numbers, num = scipy.ndimage.label(binary_map, np.ones((3, 3)))
    first: np.ndarray = np.zeros(num + 1, np.uint32)
    present, places = np.unique(numbers, return_index=True)
    first[present] = places + 1
    first[0] = 0
    return first[numbers]


def assert_same_components(
    found: Components, maps: np.ndarray, sizes: Sizes | None = None, threshold: float = 0.3
) -> None:
    for i, values in enumerate(maps):
        size = sizes[i] if sizes is not None else values.shape
        expected = expected_labels(values, size, threshold)
        np.testing.assert_array_equal(found.labels[i], expected)
        np.testing.assert_array_equal(found.firsts[i] + 1, np.unique(expected[expected > 0]))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_components_equal_scipy(emulator: Emulator, name: str, rng: np.random.Generator) -> None:
    maps = ADVERSARIAL[name](rng)[None]
    assert_same_components(emulator.components(maps), maps)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.05, 0.3, 0.407, 0.6, 0.95])
def test_noise_of_any_size(
    emulator: Emulator, shape: tuple[int, int], density: float, rng: np.random.Generator
) -> None:
    maps = noise(*shape, density, rng)[None]
    assert_same_components(emulator.components(maps), maps)


def test_most_components_of_a_tile(emulator: Emulator) -> None:
    maps: np.ndarray = np.zeros((1, 64, 128), np.float32)
    maps[0, ::2, ::2] = 1
    found = emulator.components(maps)
    assert len(found.firsts[0]) == 32 * 64
    assert_same_components(found, maps)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_each_map_of_a_batch_has_its_size(
    emulator: Emulator, dtype: type, rng: np.random.Generator
) -> None:
    shape = (70, 150)
    maps = np.stack([noise(*shape, density, rng) for density in (0.2, 0.4, 0.5, 0.8, 1)])
    sizes = [(70, 150), (33, 97), (64, 128), (1, 1), (0, 0)]
    found = emulator.components(maps.astype(dtype), sizes)
    assert_same_components(found, maps, sizes)


def test_values_that_are_not_numbers(emulator: Emulator, rng: np.random.Generator) -> None:
    maps = noise(60, 100, 0.5, rng)[None]
    for value in (np.nan, np.inf, -np.inf):
        maps[rng.random(maps.shape) < 0.1] = value
    assert_same_components(emulator.components(maps), maps)
    assert_same_components(emulator.components(maps, threshold=-np.inf), maps, threshold=-np.inf)
    assert len(emulator.components(maps, threshold=np.inf).firsts[0]) == 0


@pytest.mark.parametrize("seed", range(1, 7))
def test_any_schedule_gives_the_same(
    emulator: Emulator, seed: int, rng: np.random.Generator
) -> None:
    shape = (97, 141)
    maps = np.stack(
        [
            noise(*shape, 0.407, rng),
            np.pad(spiral(96), ((1, 0), (1, 44))),
            comb(*shape),
            text_map(*shape, 8, rng),
        ]
    )
    emulator.configure(seed=seed, resident_blocks=6, yield_one_in=2 + seed % 3, check_races=True)
    found = emulator.components(maps)
    assert emulator.first_race == ""
    assert_same_components(found, maps)


def test_specks_are_dropped_and_nothing_else(emulator: Emulator, rng: np.random.Generator) -> None:
    """Components too small to become text are dropped if one tile shows it; text never is."""
    values = np.maximum(noise(150, 200, 0.05, rng), text_map(150, 200, 9, rng))
    found = emulator.components(values[None], min_area=9)
    expected = expected_labels(values, values.shape, 0.3)
    kept = np.isin(expected, found.labels[0])
    np.testing.assert_array_equal(found.labels[0], np.where(kept, expected, 0))
    is_speck = {}
    for label in np.unique(expected[expected > 0]):
        y, x = np.nonzero(expected == label)
        is_speck[int(label)] = np.ptp(x) * np.ptp(y) < 9
    listed = set((found.firsts[0] + 1).tolist())
    assert {label for label, speck in is_speck.items() if not speck} <= listed
    assert len(listed) < len(is_speck) / 2
