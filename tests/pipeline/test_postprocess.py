# SPDX-License-Identifier: Apache-2.0
import concurrent.futures

import cv2
import numpy as np
import pytest
from dbnet_trt import _core
from dbnet_trt.pipeline.polygons import mean_probability, order_corners, simplify, unclip
from dbnet_trt.pipeline.postprocess import check_maps, core_params, postprocess
from dbnet_trt.pipeline.reference import postprocess_reference
from dbnet_trt.settings import PostprocessParams, ResizePlan
from hypothesis import given, settings
from hypothesis import strategies as st
from maps import ADVERSARIAL, rings, text_map

EVERYTHING = PostprocessParams(score_threshold=0, max_candidates=10**6)
DEFAULTS = core_params(PostprocessParams(), logits=False)


def run(prob_map: np.ndarray, params: PostprocessParams) -> tuple[np.ndarray, np.ndarray]:
    """Find quads and scores with the core, in pixels of the map."""
    return _core.postprocess(prob_map[None], core_params(params, logits=False))[0]


def area(quad: np.ndarray) -> float:
    return float(np.linalg.norm(quad[1] - quad[0]) * np.linalg.norm(quad[2] - quad[1]))


def assert_same_boxes(prob_map: np.ndarray, params: PostprocessParams) -> None:
    """Compare core and reference: each box of one has a partner in the other.

    A component may have two smallest rectangles of the same area. Either may be found, with a
    different score; of such a box only the centre is compared.
    """
    quads, scores = run(prob_map, params)
    expected, expected_scores = postprocess_reference(prob_map, params)
    assert len(quads) == len(expected)
    free = np.ones(len(quads), bool)
    num_tied = 0
    for quad, score in zip(expected, expected_scores, strict=True):
        away = np.abs(np.sort(quads, axis=1) - np.sort(quad, axis=0)).max(axis=(1, 2))
        away[~free] = np.inf
        best = int(away.argmin())
        if away[best] > 0.02 or abs(scores[best] - score) > 0.01:
            tied = np.flatnonzero(
                free & (np.linalg.norm(quads.mean(1) - quad.mean(0), axis=1) < np.sqrt(area(quad)))
            )
            assert any(abs(area(quads[i]) - area(quad)) < 0.15 * area(quad) + 4 for i in tied)
            num_tied += 1
        else:
            free[best] = False
    assert num_tied <= max(2, 0.15 * len(expected))


@pytest.mark.parametrize("num_lines", [0, 1, 10, 60])
@pytest.mark.parametrize("size", [(64, 64), (300, 500), (736, 1280)])
def test_text_maps_give_the_reference_boxes(
    num_lines: int, size: tuple[int, int], rng: np.random.Generator
) -> None:
    assert_same_boxes(text_map(*size, num_lines, rng), PostprocessParams(score_threshold=0.3))


def test_corners_and_scores_agree_within_the_contract(rng: np.random.Generator) -> None:
    distances, differences = [], []
    for _ in range(30):
        prob_map = text_map(480, 640, 25, rng)
        params = PostprocessParams(score_threshold=0.3)
        quads, scores = run(prob_map, params)
        for quad, score in zip(*postprocess_reference(prob_map, params), strict=True):
            away = np.abs(quads - quad).max(axis=(1, 2))
            distances.append(away.min())
            differences.append(abs(scores[away.argmin()] - score))
    assert len(distances) > 300
    assert np.mean(np.array(distances) < 0.5) >= 0.99
    assert np.mean(np.array(differences) < 0.01) >= 0.99


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_boxes_of_adversarial_maps(name: str, rng: np.random.Generator) -> None:
    assert_same_boxes(ADVERSARIAL[name](rng), EVERYTHING)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(20, 140), st.integers(20, 140))
def test_boxes_are_ordered_rectangles(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    quads, scores = run(text_map(height, width, 6, rng), EVERYTHING)
    assert quads.dtype == scores.dtype == np.float32
    assert quads.shape == (len(scores), 4, 2)
    assert (np.diff(scores) <= 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    for quad in quads:
        sides = np.roll(quad, -1, axis=0) - quad
        turns = sides[:, 0] * np.roll(sides, -1, axis=0)[:, 1] - (
            sides[:, 1] * np.roll(sides, -1, axis=0)[:, 0]
        )
        assert (turns > 0).all()  # clockwise on the screen
        assert abs((sides[0] * sides[1]).sum()) < 1e-3 * np.prod(np.linalg.norm(sides[:2], axis=1))
        assert np.linalg.norm(sides, axis=1).min() >= 5


def test_pointed_foot_under_a_straight_left_side() -> None:
    prob_map = np.zeros((40, 60), np.float32)
    prob_map[5:25, 10:30] = np.tri(20)[::-1]
    quads, _ = run(prob_map, PostprocessParams(score_threshold=0, unclip_ratio=0))
    assert len(quads) == 1
    assert area(quads[0]) == pytest.approx(19 * 19, rel=1e-5)
    assert_same_boxes(prob_map, EVERYTHING)


def bar_map(rng: np.random.Generator) -> np.ndarray:
    """Draw one bar, often cut off by the edge, of pixels that all differ: a mean shows which."""
    height, width = rng.integers(8, 60, 2)
    prob_map = np.zeros((height, width), np.float32)
    bar = cv2.boxPoints(
        (rng.uniform(0, (width, height)), rng.uniform(4, 40, 2), rng.uniform(-90, 90))
    )
    cv2.fillPoly(prob_map, [np.rint(bar).astype(np.int32)], 1)
    inside = rng.uniform(0.4, 1, prob_map.shape) * prob_map
    return np.where(prob_map > 0, inside, rng.uniform(0, 0.25, prob_map.shape)).astype(np.float32)


def test_scores_average_the_pixels_of_fill_poly(rng: np.random.Generator) -> None:
    num_checked = 0
    as_found = PostprocessParams(score_threshold=0, unclip_ratio=0)
    for _ in range(2000):
        prob_map = bar_map(rng)
        for quad, score in zip(*run(prob_map, as_found), strict=True):
            assert score == pytest.approx(mean_probability(prob_map, quad), abs=1e-5)
            num_checked += 1
    assert num_checked > 1000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 7.0, -3.0])
def test_values_that_are_not_probabilities(value: float, rng: np.random.Generator) -> None:
    prob_map = text_map(120, 200, 6, rng)
    prob_map[rng.random(prob_map.shape) < 0.05] = value
    quads, scores = run(prob_map, EVERYTHING)
    assert np.isfinite(quads).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert_same_boxes(prob_map, EVERYTHING)


def test_map_of_nan_has_no_text() -> None:
    assert len(run(np.full((40, 60), np.nan, np.float32), EVERYTHING)[0]) == 0


def test_logits_give_the_boxes_of_their_probabilities(rng: np.random.Generator) -> None:
    prob_map = text_map(200, 300, 10, rng).clip(1e-4, 1 - 1e-4)
    logits = np.log(prob_map / (1 - prob_map))
    of_logits = _core.postprocess(logits[None], core_params(PostprocessParams(), logits=True))[0]
    of_probabilities = _core.postprocess(prob_map[None], DEFAULTS)[0]
    np.testing.assert_array_equal(of_logits[0], of_probabilities[0])
    np.testing.assert_allclose(of_logits[1], of_probabilities[1], atol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_thresholds_at_their_bounds(threshold: float, rng: np.random.Generator) -> None:
    prob_map = text_map(100, 150, 5, rng)
    assert_same_boxes(prob_map, PostprocessParams(binary_threshold=threshold, score_threshold=0))
    logits = np.full((1, 40, 40), 3, np.float32)
    params = core_params(PostprocessParams(threshold, 0), logits=True)
    assert len(_core.postprocess(logits, params)[0][0]) == (1 if threshold == 0 else 0)


def test_overlapping_rectangles_keep_their_scores() -> None:
    """Nested squares are averaged by running sums, with the scores of the reference."""
    assert_same_boxes(rings(240) * 0.9, EVERYTHING)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_map_of_bytes_gives_the_boxes_of_its_floats(name: str, rng: np.random.Generator) -> None:
    prob_map = np.nan_to_num(ADVERSARIAL[name](rng)).clip(0, 1)
    as_bytes = np.rint(prob_map * 255).astype(np.uint8)
    params = core_params(PostprocessParams(score_threshold=0.1, max_candidates=10**6), logits=False)
    ((quads, scores),) = _core.postprocess(as_bytes[None], params)
    as_floats = (as_bytes / 255).astype(np.float32)
    ((expected_quads, expected_scores),) = _core.postprocess(as_floats[None], params)
    order, expected_order = (np.lexsort(q.reshape(-1, 8).T) for q in (quads, expected_quads))
    np.testing.assert_array_equal(quads[order], expected_quads[expected_order])
    np.testing.assert_allclose(scores[order], expected_scores[expected_order], atol=1e-6)


def test_max_candidates_keeps_the_best(rng: np.random.Generator) -> None:
    prob_map = text_map(400, 600, 40, rng)
    prob_map[::4, ::4] = 1  # speckle must not crowd out text
    quads, scores = run(prob_map, EVERYTHING)
    few = run(prob_map, PostprocessParams(score_threshold=0, max_candidates=5))
    np.testing.assert_array_equal(few[0], quads[:5])
    np.testing.assert_array_equal(few[1], scores[:5])


def test_same_bytes_from_every_thread(rng: np.random.Generator) -> None:
    maps = np.stack([text_map(256, 320, 20, rng) for _ in range(4)])
    expected = _core.postprocess(maps, DEFAULTS)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: _core.postprocess(maps, DEFAULTS), range(40)))
    for result in runs:
        for (quads, scores), (quads_1, scores_1) in zip(result, expected, strict=True):
            assert quads.tobytes() == quads_1.tobytes()
            assert scores.tobytes() == scores_1.tobytes()


def test_noise_of_16_megapixels(rng: np.random.Generator) -> None:
    prob_map = rng.random((4096, 4096), dtype=np.float32)
    quads, _ = run(prob_map, PostprocessParams(binary_threshold=0.5, score_threshold=0.3))
    assert len(quads) <= 1000


@pytest.mark.parametrize(
    ("maps", "error"),
    [
        (np.zeros((4, 4), np.float32), ValueError),
        (np.zeros((1, 4, 4), np.float64), TypeError),
        (np.zeros((1, 1, (1 << 15) + 1), np.float32), ValueError),
    ],
)
def test_core_checks_maps(maps: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        _core.postprocess(maps, DEFAULTS)


@pytest.mark.parametrize("shape", [(0, 32, 32), (2, 0, 32), (2, 32, 0)])
def test_empty_batches_and_maps(shape: tuple[int, ...]) -> None:
    results = _core.postprocess(np.zeros(shape, np.float32), DEFAULTS)
    assert [len(scores) for _, scores in results] == [0] * shape[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("binary_threshold", -0.1),
        ("binary_threshold", 1.1),
        ("binary_threshold", float("nan")),
        ("score_threshold", 2),
        ("unclip_ratio", -1),
        ("unclip_ratio", float("inf")),
        ("max_candidates", 0),
        ("max_candidates", 1.5),
        ("max_candidates", float("inf")),
        ("max_candidates", float("nan")),
    ],
)
def test_params_are_checked(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        PostprocessParams(**{field: value})  # type: ignore[arg-type]


# ---- in pixels of the image ------------------------------------------------------------------


def test_quads_are_scaled_to_the_image_and_clipped() -> None:
    prob_map = np.zeros((1, 64, 96), np.float32)
    prob_map[0, 0:20, 10:50] = 0.9  # touches the upper edge
    plan = ResizePlan(image=(120, 180), resized=(60, 90), padded=(64, 96))
    (found,) = postprocess(prob_map, [plan], PostprocessParams(), logits=False)
    distance = 39 * 19 * 1.5 / (2 * (39 + 19))
    expected = [
        [2 * (10 - distance), 0],
        [2 * (49 + distance), 0],
        [2 * (49 + distance), 2 * (19 + distance)],
        [2 * (10 - distance), 2 * (19 + distance)],
    ]
    np.testing.assert_allclose(found.quads[0], expected, atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.9], atol=1e-6)


@pytest.mark.parametrize("polygons", [False, True])
def test_padding_is_ignored(polygons: bool) -> None:
    maps = np.full((2, 64, 96), 0.9, np.float32)
    maps[0, :50, :70] = 0
    maps[1, :40, :] = 0
    plans = [ResizePlan((50, 70), (50, 70), (64, 96)), ResizePlan((64, 96), (64, 96), (64, 96))]
    found = postprocess(maps, plans, PostprocessParams(polygons=polygons), logits=False)
    assert [len(each) for each in found] == [0, 1]


@pytest.mark.parametrize("sizes", [[(64, 97)], [(65, 96)], [(-1, 5)], [], [(1, 1), (1, 1)]])
def test_sizes_outside_the_map(sizes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="size"):
        _core.postprocess(np.zeros((1, 64, 96), np.float32), DEFAULTS, sizes)


def test_nothing_lies_outside_the_image(rng: np.random.Generator) -> None:
    maps = np.stack([text_map(96, 128, 8, rng) for _ in range(3)])
    plan = ResizePlan(image=(50, 70), resized=(90, 126), padded=(96, 128))
    for polygons in (False, True):
        params = PostprocessParams(score_threshold=0, polygons=polygons)
        for found in postprocess(maps, [plan] * 3, params, logits=False):
            outlines = [*found.quads, *(found.polygons or ())]
            assert outlines
            for outline in outlines:
                assert outline.min() >= 0
                assert (outline <= [69, 49]).all()


def test_core_scales_and_clips_as_numpy_does(rng: np.random.Generator) -> None:
    maps = np.stack([text_map(96, 130, 8, rng) for _ in range(2)])
    sizes, images = [(96, 130), (80, 101)], [(777, 331), (5, 1000)]
    params = core_params(PostprocessParams(0.3, 0.0), logits=False)
    scaled = _core.postprocess(maps, params, sizes, images)
    plain = _core.postprocess(maps, params, sizes)
    for (found, _), (quads, _), (h, w), (height, width) in zip(
        scaled, plain, sizes, images, strict=True
    ):
        expected = quads * np.array([width / w, height / h], np.float32)
        last = np.array([width - 1, height - 1], np.float32)
        np.testing.assert_array_equal(found, np.clip(expected, 0, last))
        assert len(found)
    with pytest.raises(ValueError, match="one image size per map: 2, got 1"):
        _core.postprocess(maps, params, sizes, images[:1])


# ---- the steps of the reference ----------------------------------------------------------------


def test_unclip_moves_every_side_by_the_distance() -> None:
    """By D' = A' r' / L', a 40 x 20 rectangle grows by 10 on every side at r' = 1.5."""
    rectangle = np.array([[100, 100], [140, 100], [140, 120], [100, 120]], np.float32)
    grown = unclip(rectangle, 1.5)
    np.testing.assert_allclose(grown.min(0), [90, 90], atol=0.01)
    np.testing.assert_allclose(grown.max(0), [150, 130], atol=0.01)


def test_unclip_keeps_the_largest_part() -> None:
    """The larger half of a bow tie is kept."""
    bow_tie = np.array([[0, 0], [60, 40], [60, 0], [0, 30]], np.float32)
    grown = unclip(bow_tie, 0.1)
    np.testing.assert_allclose(grown.min(0), [25.7, 0], atol=0.5)
    np.testing.assert_allclose(grown.max(0), [60, 40], atol=0.5)


def test_unclip_of_an_empty_outline() -> None:
    assert unclip(np.zeros((4, 2), np.float32), 1.5).shape == (0, 2)


@given(st.integers(0, 2**32 - 1))
def test_order_corners_starts_top_left_and_goes_clockwise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-40, 40)
    quad = cv2.boxPoints(((50.0, 50.0), (60.0, 10.0), angle))
    ordered = order_corners(quad[rng.permutation(4)])
    along = ordered[1] - ordered[0]
    assert np.degrees(np.arctan2(along[1], along[0])) == pytest.approx(angle, abs=0.1)
    assert np.linalg.norm(along) == pytest.approx(60, abs=0.01)
    down = ordered[3] - ordered[0]
    assert along[0] * down[1] - along[1] * down[0] > 0


def test_mean_probability_truncates_corners() -> None:
    prob_map = np.zeros((10, 10), np.float32)
    prob_map[2:5, 3:8] = 1
    inside = np.array([[3.9, 2.9], [7.9, 2.9], [7.9, 4.9], [3.9, 4.9]], np.float32)
    assert mean_probability(prob_map, inside) == 1


def test_simplify_keeps_the_corners_of_a_rectangle() -> None:
    contour = cv2.findContours(
        np.pad(np.ones((20, 50), np.uint8), 5), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )[0][0].reshape(-1, 2)
    assert len(contour) > 100
    assert len(simplify(contour)) == 4


@pytest.mark.parametrize("values", [(0.0, 0.0), (0.3, 0.6), (0.0, 1.5), (-0.5, 0.5)])
def test_logits_of_networks_that_are_not_trained(values: tuple[float, float]) -> None:
    maps = np.full((1, 32, 64), values[0], np.float32)
    maps[0, 3] = values[1]
    check_maps(maps, "new", logits=True)
