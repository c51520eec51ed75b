# SPDX-License-Identifier: Apache-2.0
"""Large images in tiles: which ones, where the tiles lie, and that their maps are joined to one."""

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector, EngineError, SizePolicy, Tiles
from dbnet_trt.pipeline.cpu import CpuRunner
from dbnet_trt.pipeline.tiles import _copy_text, join_maps, must_tile, plan_tiles
from dbnet_trt.settings import check_tiles
from fakes.engines import CARD, GreenOnCpu, photo
from fakes.tiny_model import make_model
from hypothesis import given
from hypothesis import strategies as st

SMALL = Tiles(96, 32)
OWN_SIZE = SizePolicy(250, 4096)  # an image of short side 250 is not resized


class Seeing:
    """Engine whose map depends on all of its input, and that notes the shapes it is called with."""

    card, description = CARD, "seeing"

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.shapes.append(batch.shape)
        return batch[:, 1] * (0.5 + batch[:, 1].mean(axis=(1, 2), keepdims=True))


# ---- which images --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, False),
        (3024, 4032, False),  # photos of 12 and of 48 megapixels
        (6048, 8064, None),
        (6144, 8192, None),
        (3508, 2480, False),  # A4 at 300 dpi
        (5000, 7000, None),
        (8000, 8000, True),
        (14800, 21200, True),
        (20000, 1080, True),  # a long screenshot
        (3000, 15000, False),  # a panorama
        (400, 32, False),
        (4000, 300, False),  # a receipt that fits
        (8000, 300, True),
    ],
)
def test_what_auto_decides_by_size(height: int, width: int, expected: bool | None) -> None:
    size = SizePolicy()
    assert must_tile(size.plan(height, width), size, "auto") is expected
    assert must_tile(size.plan(height, width), size, "off") is False


def test_on_is_for_images_that_would_be_shrunk_or_exceed_a_tile() -> None:
    size = SizePolicy()
    for shape, expected in [((480, 640), False), ((800, 1000), True), ((736, 1600), True)]:
        assert must_tile(size.plan(*shape), size, Tiles()) is expected


def bars(height: int) -> np.ndarray:
    """Draw bars of a height in the green channel of a 400x600 image, which is shrunk 6.25 times."""
    image = np.zeros((400, 600, 3), np.uint8)
    for y in range(20, 400 - height, 2 * height):
        image[y : y + height, 30:500, 1] = 255
    return image


@pytest.mark.parametrize(("height", "in_tiles"), [(24, True), (90, False)])
def test_auto_looks_at_the_text_of_images_in_between(
    height: int, in_tiles: bool, caplog: pytest.LogCaptureFixture
) -> None:
    detector = Detector(GreenOnCpu())
    image = bars(height)
    found = detector.detect(image, prob_map=True)
    expected = detector.detect(image, tiles="on" if in_tiles else "off", prob_map=True)
    assert found.prob_map is not None
    assert found.prob_map.shape == ((400, 600) if in_tiles else (64, 96))
    np.testing.assert_array_equal(found.quads, expected.quads)
    warnings = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == (not in_tiles)
    assert all("--tiles on" in warning for warning in warnings)


def test_auto_looks_closer_where_no_text_is_left(tmp_path: Path) -> None:
    detector = Detector(make_model(tmp_path / "tiny.onnx"))  # short side 128
    image = np.zeros((900, 1200, 3), np.uint8)  # shrunk 7 times
    for y in range(40, 880, 60):
        image[y : y + 16, 40:1100] = 255
    assert len(detector.detect(image, tiles="off")) == 0
    assert len(detector.detect(image)) == 14
    assert len(detector.detect(np.zeros_like(image))) == 0


def test_small_text_of_a_sheet_is_found(tmp_path: Path) -> None:
    detector = Detector(make_model(tmp_path / "tiny.onnx"))  # short side 128
    image = np.zeros((7200, 7200, 3), np.uint8)
    for y in range(100, 7100, 700):
        for x in range(100, 7000, 700):
            image[y : y + 20, x : x + 90] = 255
    assert len(detector.detect(image, tiles="off")) == 0
    assert len(detector.detect(image)) == 100


# ---- where the tiles lie -------------------------------------------------------------------------


@given(st.integers(1, 32768), st.integers(2, 40), st.data())
def test_tiles_cover_an_axis_once(length: int, side: int, data: st.DataObject) -> None:
    tiles = Tiles(32 * side, 32 * data.draw(st.integers(1, side // 2)))
    image = np.empty((length, 1, 0))
    rows = plan_tiles(image, SizePolicy(1), tiles).rows
    assert rows.side % 32 == 0
    assert rows.side <= max(tiles.side, 32)
    end = 0
    for start, (low, high) in rows.places:
        assert start % 32 == 0
        assert start < length
        assert low == end < high <= start + rows.side  # nothing twice, nothing left out
        assert start == 0 or low >= start + tiles.overlap // 2
        assert high == length or high <= start + rows.side - tiles.overlap // 2
        end = high
    assert end == length


@pytest.mark.parametrize(("height", "width"), [(15000, 20000), (14800, 21200), (5000, 7000)])
def test_pixels_through_the_network_are_bounded(height: int, width: int) -> None:
    plan = plan_tiles(np.empty((height, width, 0)), SizePolicy(), Tiles())
    assert plan.num_tiles * plan.rows.side * plan.columns.side <= 1.25 * height * width


def test_tiles_are_not_shrunk_and_are_enlarged_as_asked() -> None:
    for (height, width), expected in [
        ((3000, 2000), (3000, 2000)),
        ((368, 4000), (736, 8000)),
        ((50, 4000), (200, 16000)),
        ((20, 40000), (16, 32768)),
    ]:
        plan = plan_tiles(np.empty((height, width, 0)), SizePolicy(736), Tiles())
        assert plan.resized == expected


@pytest.mark.parametrize(
    ("tiles", "error", "message"),
    [
        ("aut", ValueError, 'did you mean "auto"'),
        (100, ValueError, "multiple of 32"),
        (32, ValueError, "between 64 and 8192"),
        (True, TypeError, "tiles must be"),
        (1.5, TypeError, "tiles must be"),
    ],
)
def test_option_is_checked(tiles: Any, error: type[Exception], message: str) -> None:
    for use in (check_tiles, lambda option: Detector(GreenOnCpu(), tiles=option)):
        with pytest.raises(error, match=message):
            use(tiles)


def test_settings_of_tiles_are_checked() -> None:
    with pytest.raises(ValueError, match="at most half their side, 128, got 96"):
        Tiles(128, 96)
    with pytest.raises(ValueError, match="batch_size of tiles"):
        Tiles(batch_size=0)
    assert check_tiles(64) == Tiles(64, 32)
    assert check_tiles(640) == Tiles(640, Tiles().overlap)
    assert check_tiles("on") == Tiles()


# ---- one map -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(250, 400), (257, 413), (300, 250), (1000, 250)])
@pytest.mark.parametrize("polygons", [False, True])
def test_a_network_that_sees_single_pixels_gives_the_untiled_result(
    shape: tuple[int, int], polygons: bool, rng: np.random.Generator
) -> None:
    detector = Detector(GreenOnCpu(), size=SizePolicy(min(shape)))
    image = photo(*shape, rng)
    untiled = detector.detect(image, polygons=polygons, prob_map=True, tiles="off")
    tiled = detector.detect(image, polygons=polygons, prob_map=True, tiles=SMALL)
    assert len(tiled) == len(untiled) > 10
    np.testing.assert_allclose(tiled.scores, untiled.scores, atol=1e-6)
    by_place = [each[np.lexsort(each.quads.reshape(-1, 8).T)] for each in (tiled, untiled)]
    tiled, untiled = by_place  # scores that are nearly equal may change places
    np.testing.assert_array_equal(tiled.quads, untiled.quads)
    for polygon, other in zip(tiled.polygons or (), untiled.polygons or (), strict=True):
        np.testing.assert_array_equal(polygon, other)
    assert tiled.prob_map is not None
    assert untiled.prob_map is not None
    assert tiled.prob_map.dtype == np.float32
    np.testing.assert_allclose(tiled.prob_map, untiled.prob_map, atol=1e-6)


def test_enlarged_image_is_resized_as_without_tiles(rng: np.random.Generator) -> None:
    image = photo(100, 300, rng)
    detector = Detector(GreenOnCpu(), size=SizePolicy(250))
    maps = [detector.detect(image, tiles=t, prob_map=True).prob_map for t in ("off", SMALL)]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)  # type: ignore[arg-type]


def test_line_across_all_seams_is_one_box() -> None:
    image = np.zeros((400, 900, 3), np.uint8)
    cv2.line(image, (20, 30), (880, 370), (255, 255, 255), 15)
    detector = Detector(GreenOnCpu(), tiles=SMALL)
    (quad,) = detector.detect(image).quads
    assert quad[:, 0].min() < 20
    assert quad[:, 0].max() > 880


def test_order_of_tiles_changes_nothing(rng: np.random.Generator) -> None:
    image = photo(250, 400, rng)
    plan = plan_tiles(image, OWN_SIZE, SMALL)
    runner = CpuRunner(Seeing())
    joined = join_maps(runner, image, plan, 1)
    shuffled = plan._replace(
        rows=plan.rows._replace(places=plan.rows.places[::-1]),
        columns=plan.columns._replace(places=[*plan.columns.places[2:], *plan.columns.places[:2]]),
    )
    np.testing.assert_array_equal(join_maps(runner, image, shuffled, 3), joined)
    assert joined.dtype == np.uint8
    assert joined.any()


def test_batches_have_one_shape(rng: np.random.Generator) -> None:
    engine = Seeing()
    Detector(engine).detect(photo(250, 413, rng), tiles=Tiles(96, 32, batch_size=5))
    assert len(set(engine.shapes)) == 1
    assert engine.shapes[0][0] == 5
    engine.shapes.clear()
    Detector(engine).detect(photo(64, 100, rng), tiles=Tiles(96, 32, batch_size=5))
    assert engine.shapes == [(2, 3, 64, 96)]


def test_results_keep_the_order_of_the_images(rng: np.random.Generator) -> None:
    detector = Detector(GreenOnCpu(), tiles=SMALL)
    images = [photo(*shape, rng) for shape in [(64, 64), (250, 400), (50, 70), (400, 100)]]
    results = detector.submit(images, prob_map=True).collect()
    for image, found in zip(images, results, strict=True):
        np.testing.assert_array_equal(found.quads, detector.detect(image).quads)


def test_max_candidates_counts_per_tile(
    rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    detector = Detector(GreenOnCpu(), size=OWN_SIZE, tiles=Tiles(128, 32))
    image = photo(250, 800, rng)
    everything = detector.detect(image)
    num_tiles = plan_tiles(image, OWN_SIZE, Tiles(128, 32)).num_tiles
    assert len(everything) > num_tiles
    assert "max_candidates" not in caplog.text
    np.testing.assert_array_equal(
        detector.detect(image, max_candidates=1).quads, everything.quads[:num_tiles]
    )
    assert "max_candidates" in caplog.text


def test_network_that_gives_nan_is_an_error() -> None:
    class Broken(Seeing):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            return super().__call__(batch) * np.nan

    with pytest.raises(EngineError, match="NaN"):
        Detector(Broken(), tiles=SMALL).detect(np.zeros((250, 400, 3), np.uint8))


@pytest.mark.parametrize("density", [0, 1e-4, 1e-3, 0.1, 1])
def test_what_is_not_zero_is_copied(density: float, rng: np.random.Generator) -> None:
    values = np.where(rng.random((200, 300)) < density, 7, 0).astype(np.uint8)
    target = np.zeros_like(values)
    _copy_text(values, target)
    np.testing.assert_array_equal(target, values)
