# SPDX-License-Identifier: Apache-2.0
import cv2
import numpy as np
import pytest
from dbnet_trt import _core
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.settings import PostprocessParams, ResizePlan
from fakes.emulator import Emulator, Sizes
from maps import ADVERSARIAL, crowded_map, noise, rings, text_map


def box_params(
    threshold: float = 0.3,
    score_threshold: float = 0.0,
    unclip_ratio: float = 1.5,
    min_side: float = 3.0,
    max_boxes: int = 2000,
    logits: bool = False,
) -> _core.PostprocessParams:
    return _core.PostprocessParams(
        binary_threshold=threshold,
        score_threshold=score_threshold,
        unclip_ratio=unclip_ratio,
        max_candidates=max_boxes,
        min_side=min_side,
        logits=logits,
    )


def on_cpu(
    maps: np.ndarray, params: _core.PostprocessParams, sizes: Sizes | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Find quads, clipped to the map, and scores with the core."""
    sizes = [maps.shape[1:]] * len(maps) if sizes is None else sizes
    results = _core.postprocess(maps.astype(np.float32), params, sizes)
    return [
        (quads.clip(0, [max(0, width - 1), max(0, height - 1)]), scores)
        for (quads, scores), (height, width) in zip(results, sizes, strict=True)
    ]


def assert_same_boxes(found: np.ndarray, quads: np.ndarray, scores: np.ndarray) -> None:
    """Each of the core's boxes is found, nothing else is, and the order is the core's.

    Corners agree far better than the contract's pixel: both do the same arithmetic.
    """
    assert len(found) == len(quads)
    free = np.ones(len(quads), bool)
    for box in found:
        away = np.abs(quads - box["quad"]).max(axis=(1, 2)) + np.abs(scores - box["score"])
        away[~free] = np.inf
        best = int(away.argmin())
        assert away[best] < 1e-3
        free[best] = False
    assert all(np.diff(found["score"]) <= 0)
    order = np.lexsort((found["label"], -found["score"]))
    np.testing.assert_array_equal(order, np.arange(len(found)))


def check(
    emulator: Emulator,
    maps: np.ndarray,
    params: _core.PostprocessParams,
    sizes: Sizes | None = None,
) -> int:
    """Compare with the core; how many boxes there are."""
    boxes = emulator.box_finder(maps.shape)(maps, params, sizes)
    assert boxes.num_dropped == [0] * len(maps)
    for found, (quads, scores) in zip(boxes.found, on_cpu(maps, params, sizes), strict=True):
        assert_same_boxes(found, quads, scores)
    return sum(map(len, boxes.found))


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_boxes_of_adversarial_maps(emulator: Emulator, name: str, rng: np.random.Generator) -> None:
    prob_map = ADVERSARIAL[name](rng) * rng.uniform(0.31, 1)
    check(emulator, prob_map[None].astype(np.float32), box_params())


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (33, 97), (64, 64), (97, 131), (32, 320)])
@pytest.mark.parametrize("density", [0.3, 0.45])
def test_boxes_of_noise(
    emulator: Emulator, shape: tuple[int, int], density: float, rng: np.random.Generator
) -> None:
    values = rng.uniform(0, 1, (2, *shape)).astype(np.float32)
    check(emulator, values, box_params(threshold=1 - density))


def test_corners_and_scores_agree_within_the_contract(
    emulator: Emulator, rng: np.random.Generator
) -> None:
    distances, differences = [], []
    for _ in range(10):
        maps = text_map(320, 448, 25, rng)[None]
        params = box_params(score_threshold=0.5)
        (found,) = emulator.box_finder(maps.shape)(maps, params).found
        ((quads, scores),) = on_cpu(maps, params)
        assert len(found) == len(quads)
        for quad, score in zip(quads, scores, strict=True):
            away = np.abs(found["quad"] - quad).max(axis=(1, 2))
            distances.append(away.min())
            differences.append(abs(found["score"][away.argmin()] - score))
    assert len(distances) > 60
    assert max(distances) < 1
    assert np.mean(np.array(distances) < 0.5) >= 0.99
    assert max(differences) < 0.01


def test_results_are_those_of_postprocess(emulator: Emulator, rng: np.random.Generator) -> None:
    """Boxes are in pixels of the image, from the part of each map that shows it."""
    plans = [ResizePlan((120, 180), (60, 90), (64, 96)), ResizePlan((31, 48), (62, 96), (64, 96))]
    maps = np.stack([text_map(64, 96, 6, rng) for _ in plans])
    sizes, image_sizes = [plan.resized for plan in plans], [plan.image for plan in plans]
    boxes = emulator.box_finder(maps.shape)(
        maps, box_params(score_threshold=0.4), sizes, image_sizes
    )
    expected = postprocess(maps, plans, PostprocessParams(score_threshold=0.4), logits=False)
    for found, detections in zip(boxes.found, expected, strict=True):
        assert len(found) > 0
        np.testing.assert_array_equal(found["quad"], detections.quads)
        np.testing.assert_allclose(found["score"], detections.scores, atol=1e-6)


def test_sizes_within_a_batch(emulator: Emulator, rng: np.random.Generator) -> None:
    maps = np.stack([text_map(96, 160, 8, rng) for _ in range(4)])
    maps[0], maps[1] = 0.9, 0
    assert check(emulator, maps, box_params(), [(90, 131), (96, 160), (96, 160), (0, 0)]) > 3


def test_text_taller_than_the_rows_that_are_read_at_once(
    emulator: Emulator, rng: np.random.Generator
) -> None:
    """The hull goes on from 128 rows to the next; a disc has a hull of many corners."""
    maps: np.ndarray = np.zeros((3, 600, 280), np.float32)
    cv2.ellipse(maps[0], (140, 300), (135, 295), 0, 0, 360, 1, -1)
    cv2.fillPoly(maps[1], [np.array([[3, 20], [40, 5], [270, 590], [250, 598]], np.int32)], 1)
    cv2.circle(maps[2], (140, 300), 280, 1, 9)
    maps *= rng.uniform(0.4, 1, maps.shape)
    assert check(emulator, maps.astype(np.float32), box_params()) >= 3


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("logits", [False, True])
def test_scores_of_large_boxes(
    emulator: Emulator, dtype: type, logits: bool, rng: np.random.Generator
) -> None:
    """Many warps add them up, and rows begin anywhere within the 16 bytes that are read at once."""
    maps: np.ndarray = np.zeros((2, 203, 301), np.float32)
    cv2.fillPoly(maps[0], [np.array([[20, 90], [250, 1], [280, 70], [45, 165]], np.int32)], 1)
    cv2.rectangle(maps[0], (100, 180), (240, 198), 1, -1)
    cv2.ellipse(maps[1], (150, 100), (152, 103), 0, 0, 360, 1, 9)
    cv2.circle(maps[1], (150, 100), 80, 1, -1)
    maps = (maps * rng.uniform(0.5, 0.99, maps.shape)).clip(0.01).astype(dtype)
    if logits:
        maps = np.log(maps / (1 - maps))
    assert check(emulator, maps, box_params(logits=logits)) == 4


@pytest.mark.parametrize("logits", [False, True])
def test_half_precision(emulator: Emulator, logits: bool, rng: np.random.Generator) -> None:
    maps = text_map(120, 200, 8, rng)[None].clip(0.01, 0.99)
    if logits:
        maps = np.log(maps / (1 - maps))
    params = box_params(0.5, logits=logits)
    quads, scores = on_cpu(maps.astype(np.float16), params)[0]
    boxes = emulator.box_finder(maps.shape)(maps.astype(np.float16), params)
    assert_same_boxes(boxes.found[0], quads, scores)


def test_logits_give_the_boxes_of_their_probabilities(
    emulator: Emulator, rng: np.random.Generator
) -> None:
    prob_map = text_map(120, 200, 8, rng).clip(1e-4, 1 - 1e-4)
    logits = np.log(prob_map / (1 - prob_map))[None].astype(np.float32)
    (found,) = emulator.box_finder(logits.shape)(logits, box_params(0.3, 0.5, logits=True)).found
    ((quads, scores),) = on_cpu(prob_map[None], box_params(0.3, 0.5))
    assert_same_boxes(found, quads, scores)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 7.0, -3.0])
@pytest.mark.parametrize("logits", [False, True])
def test_values_that_are_not_probabilities(
    emulator: Emulator, value: float, logits: bool, rng: np.random.Generator
) -> None:
    maps = text_map(60, 100, 4, rng)[None]
    maps[rng.random(maps.shape) < 0.05] = value
    params = box_params(0.5, logits=logits)
    quads, scores = on_cpu(maps, params)[0]
    (found,) = emulator.box_finder(maps.shape)(maps, params).found
    assert_same_boxes(found, quads, scores)


@pytest.mark.parametrize("threshold", [0, 1])
def test_logits_of_thresholds_at_their_bounds(emulator: Emulator, threshold: float) -> None:
    maps: np.ndarray = np.full((1, 40, 70), 3, np.float32)
    params = box_params(threshold, logits=True)
    boxes = emulator.box_finder(maps.shape)(maps, params)
    assert len(boxes.found[0]) == 1 - threshold


def test_max_boxes_keeps_the_best(emulator: Emulator, rng: np.random.Generator) -> None:
    maps = np.stack([text_map(160, 160, 14, rng), rings(160)])
    finder = emulator.box_finder(maps.shape)
    everything, few = finder(maps, box_params()), finder(maps, box_params(max_boxes=5))
    for whole, best in zip(everything.found, few.found, strict=True):
        assert len(whole) > 5
        np.testing.assert_array_equal(best, whole[:5])
    assert few.num_dropped == [0, 0]


def test_too_many_candidates_are_reported(emulator: Emulator) -> None:
    """93 x 93 squares of 2 x 2 pixels exceed the limit; the next call is not affected."""
    maps: np.ndarray = np.zeros((1, 279, 279), np.float32)
    for y, x in np.ndindex(2, 2):
        maps[0, y::3, x::3] = 1
    params = box_params(min_side=1, unclip_ratio=10, max_boxes=10_000)
    finder = emulator.box_finder(maps.shape)
    boxes = finder(maps, params)
    assert boxes.num_dropped == [93 * 93 - 8192]
    assert len(boxes.found[0]) == 8192
    assert len(np.unique(boxes.found[0]["label"])) == 8192
    assert (boxes.found[0]["score"] == 1).all()
    maps[0, 100:] = 0
    boxes = finder(maps, params)
    assert boxes.num_dropped == [0]
    assert_same_boxes(boxes.found[0], *on_cpu(maps, params)[0])


def test_labels_identify_the_pixels_of_a_box(emulator: Emulator, rng: np.random.Generator) -> None:
    maps = text_map(100, 160, 6, rng)[None]
    boxes = emulator.box_finder(maps.shape)(maps, box_params())
    assert len(boxes.found[0]) > 0
    for box in boxes.found[0]:
        y, x = np.nonzero(boxes.labels[0] == box["label"])
        assert box["label"] == 1 + y[0] * 160 + x[0]
        assert (box["quad"].min(axis=0) <= [x.min(), y.min()]).all()
        assert (box["quad"].max(axis=0) >= [x.max(), y.max()]).all()


def test_replays_need_no_memset(emulator: Emulator, rng: np.random.Generator) -> None:
    shape = (3, 96, 160)
    batches = [rng.uniform(0, 1, shape).astype(np.float32)]
    batches += [np.stack([text_map(*shape[1:], 9, rng) for _ in range(3)]) for _ in range(2)]
    batches.append(np.zeros(shape, np.float32))
    batches.append(np.ones(shape, np.float32))
    params = box_params(score_threshold=0.4)
    fresh = [emulator.box_finder(shape)(maps, params) for maps in batches]
    kept = emulator.box_finder(shape)
    for i in (0, 0, 1, 3, 1, 2, 4, 0, 2, 3):
        boxes = kept(batches[i], params)
        assert [found.tobytes() for found in boxes.found] == [
            found.tobytes() for found in fresh[i].found
        ]
        np.testing.assert_array_equal(boxes.labels, fresh[i].labels)


@pytest.mark.parametrize("seed", range(1, 6))
def test_any_schedule_gives_the_same_bytes(
    emulator: Emulator, seed: int, rng: np.random.Generator
) -> None:
    maps = np.stack(
        [
            text_map(96, 140, 9, rng),
            noise(96, 140, 0.407, rng) * rng.uniform(0.4, 1, (96, 140)),
            rings(140)[:96],
        ]
    ).astype(np.float32)
    finder = emulator.box_finder(maps.shape)
    expected = finder(maps, box_params())
    emulator.configure(seed=seed, resident_blocks=5, yield_one_in=2 + seed % 3, check_races=True)
    boxes = finder(maps, box_params())
    assert emulator.first_race == ""
    for found, same in zip(boxes.found, expected.found, strict=True):
        assert len(found) > 3
        assert found.tobytes() == same.tobytes()


@pytest.mark.parametrize("seed", range(1, 4))
def test_shared_memory_is_reused_without_races(
    emulator: Emulator, seed: int, rng: np.random.Generator
) -> None:
    """More components than blocks, more candidates than threads, a text of more than 128 rows."""
    maps = (crowded_map() * rng.uniform(0.4, 1, (1, 312, 144))).astype(np.float32)
    finder = emulator.box_finder(maps.shape)
    (expected,) = finder(maps, box_params()).found
    assert len(expected) > 256
    assert np.ptp(expected["quad"][..., 1], axis=1).max() > 128
    emulator.configure(seed=seed, resident_blocks=3, yield_one_in=2 + seed, check_races=True)
    (found,) = finder(maps, box_params()).found
    assert emulator.first_race == ""
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("seed", range(1, 4))
def test_large_boxes_in_any_schedule(
    emulator: Emulator, seed: int, rng: np.random.Generator
) -> None:
    maps = (rings(150)[None] * rng.uniform(0.4, 1, (1, 150, 150))).astype(np.float32)
    finder = emulator.box_finder(maps.shape)
    (expected,) = finder(maps, box_params()).found
    emulator.configure(seed=seed, resident_blocks=5, yield_one_in=2 + seed, check_races=True)
    (found,) = finder(maps, box_params()).found
    assert emulator.first_race == ""
    assert found.tobytes() == expected.tobytes()
    assert (np.ptp(found["quad"], axis=1).min(axis=1) > 129).sum() > 3
