# SPDX-License-Identifier: Apache-2.0
import concurrent.futures
import copy
import dataclasses
import logging
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detector, EngineError, ImageError, SizePolicy, cuda_available
from fakes.engines import GreenOnCpu, OneByOne, Recorder
from fakes.tiny_model import CARD, make_model, scene
from PIL import Image


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return Detector(make_model(tmp_path / "tiny.onnx"), cpu=CpuConfig(backend="onnxruntime"))


def test_detect_finds_bright_bars(detector: Detector) -> None:
    found = detector.detect(scene(120, 200, 2))
    assert len(found) == 2
    upper, lower = found.in_reading_order().boxes
    # Unclip grows the bars by D' = A' r' / L' on every side.
    distance = 160 * 30 * 1.5 / (2 * (160 + 30))
    expected = [20 - distance, max(0, 15 - distance), 180 + distance, 45 + distance]
    np.testing.assert_allclose(upper, expected, atol=2)
    assert lower[3] <= 119
    assert (found.scores > 0.9).all()


def test_no_text_is_an_empty_result(detector: Detector) -> None:
    found = detector.detect(np.zeros((50, 80, 3), np.uint8), polygons=True, prob_map=True)
    assert len(found) == 0
    assert found.quads.shape == (0, 4, 2)
    assert found.polygons == ()
    assert found.prob_map is not None


def test_every_kind_of_source(detector: Detector, tmp_path: Path) -> None:
    image = scene()
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), image)
    expected = detector.detect(image)
    for source in (path, str(path), path.read_bytes(), image[:, :, 0]):
        np.testing.assert_array_equal(detector.detect(source).quads, expected.quads)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 5000), (5000, 1), (2, 3), (33, 97), (31, 1999)], ids=str
)
def test_images_of_odd_sizes(detector: Detector, shape: tuple[int, int]) -> None:
    for value in (0, 255):
        found = detector.detect(np.full((*shape, 3), value, np.uint8))
        assert np.isfinite(found.quads).all()
        if len(found):
            assert found.quads.min() >= 0
            assert found.quads[..., 0].max() <= shape[1] - 1
            assert found.quads[..., 1].max() <= shape[0] - 1


def test_huge_image(detector: Detector) -> None:
    image = np.zeros((9000, 12000, 3), np.uint8)
    image[3000:4500, 2000:9000] = 255
    (box,) = detector.detect(image).boxes
    distance = 7000 * 1500 * 1.5 / (2 * 8500)
    np.testing.assert_allclose(
        box, [2000 - distance, 3000 - distance, 9000 + distance, 4500 + distance], atol=150
    )


def test_thresholds_for_all_calls_and_for_one(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx", weight=1.0)  # probability of white: 0.73
    image = scene()
    assert len(Detector(path).detect(image)) == 2
    assert len(Detector(path, score_threshold=0.8).detect(image)) == 0
    detector = Detector(path, score_threshold=0.8)
    assert len(detector.detect(image, score_threshold=0.0)) == 2  # 0 is not taken for "not set"
    assert len(detector.detect(image, score_threshold=0.7)) == 2
    assert len(detector.detect(image)) == 0  # the call changed nothing
    assert len(detector.detect(image, score_threshold=0, binary_threshold=0.75)) == 0
    assert len(detector.detect(image, score_threshold=0, max_candidates=1)) == 1
    small = detector.detect(image, score_threshold=0, unclip_ratio=0).boxes
    large = detector.detect(image, score_threshold=0, unclip_ratio=2.0).boxes
    assert (large[:, 2] - large[:, 0] > small[:, 2] - small[:, 0]).all()


def test_size_policy(detector: Detector) -> None:
    image = scene()
    for size, expected in (
        (None, (128, 213)),
        (SizePolicy(64), (64, 107)),
        (SizePolicy(64, 50), (30, 50)),
    ):
        found = detector.detect(image, size=size, prob_map=True)
        assert found.prob_map is not None
        assert found.prob_map.shape == expected
        assert found.prob_map.dtype == np.float32
        assert 0 <= found.prob_map.min() <= found.prob_map.max() <= 1
        assert found.prob_map[:, 100 * expected[1] // 200].max() > 0.9


def test_polygons_on_request(detector: Detector, tmp_path: Path) -> None:
    assert detector.detect(scene()).polygons is None
    found = detector.detect(scene(), polygons=True)
    assert found.polygons is not None
    assert [polygon.shape[1] for polygon in found.polygons] == [2, 2]
    assert Detector(tmp_path / "tiny.onnx", polygons=True).detect(scene()).polygons is not None


@pytest.mark.parametrize("kind", [Recorder, OneByOne])
def test_batch_equals_one_by_one_in_order(kind: type[Recorder], detector: Detector) -> None:
    sizes = [(120, 200), (240, 400), (60, 60), (121, 202), (200, 120), (120, 200), (120, 200)]
    images = [scene(*size, num_texts=1 + i % 3) for i, size in enumerate(sizes)]
    batching = Detector(kind(detector._engine))
    for batch_size in (1, 2, 3, 4, 100):
        results = batching.detect_batch((image for image in images), batch_size=batch_size)
        assert len(results) == len(images)
        for image, found in zip(images, results, strict=True):
            np.testing.assert_array_equal(found.quads, detector.detect(image).quads)


def test_a_batch_is_one_call_of_the_engine(detector: Detector) -> None:
    engine, single = Recorder(detector._engine), OneByOne(detector._engine)
    Detector(engine).detect_batch([scene()] * 11, batch_size=4)
    assert engine.batch_sizes == [4, 4, 2, 1]
    Detector(single).detect_batch([scene()] * 3, batch_size=4)
    assert single.batch_sizes == [1, 1, 1]


def test_submit_and_collect(detector: Detector) -> None:
    """Tickets may be collected in any order and more than once; results equal `detect`'s."""
    images = [scene(num_texts=n) for n in (1, 2, 3)]
    tickets = [detector.submit([image], polygons=True) for image in images]
    for image, ticket in [*zip(images, tickets, strict=True)][::-1] * 2:
        (found,) = detector.collect(ticket)
        expected = detector.detect(image, polygons=True)
        np.testing.assert_array_equal(found.quads, expected.quads)
        assert found.polygons is not None


def test_image_in_gpu_memory_is_refused_on_the_cpu(detector: Detector) -> None:
    class OnDevice:
        __cuda_array_interface__: dict[str, Any] = {}  # noqa: RUF012

    with pytest.raises(ImageError, match='device="cuda"'):
        detector.detect(OnDevice())


def test_empty_batch(detector: Detector) -> None:
    assert detector.detect_batch([]) == []
    with pytest.raises(ValueError, match="batch_size"):
        detector.detect_batch([], batch_size=0)


def test_bad_image_in_a_batch(detector: Detector, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"^image 1 of the batch: .*none\.jpg"):
        detector.detect_batch([scene(), tmp_path / "none.jpg"])


@pytest.mark.parametrize(
    "images",
    ["photo.jpg", Path("photo.jpg"), b"photo", scene(), scene()[:, :, 0], Image.fromarray(scene())],
)
def test_a_single_image_as_a_batch_is_an_error(detector: Detector, images: Any) -> None:
    with pytest.raises(TypeError, match="call detect for one image"):
        detector.detect_batch(images)
    assert len(detector.detect_batch(np.stack([scene(), scene()]))) == 2


def test_detector_cannot_be_copied(detector: Detector) -> None:
    for use in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="open a new one there"):
            use(detector)


def test_errors_name_wrong_types(detector: Detector) -> None:
    with pytest.raises(TypeError, match="got ndarray; images go to its method detect"):
        Detector(scene())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="device must be"):
        Detector(device=0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="score_threshold must be a number, got '0.5'"):
        detector.detect(scene(), score_threshold="0.5")  # type: ignore[arg-type]


def test_size_must_be_a_policy(detector: Detector) -> None:
    with pytest.raises(TypeError, match=r"SizePolicy\(short_side=736\), got 640"):
        detector.detect(scene(), size=640)  # type: ignore[arg-type]


def test_results_do_not_share_memory(detector: Detector) -> None:
    image = scene()
    first = detector.detect(image, prob_map=True)
    assert first.prob_map is not None
    kept = first.quads.copy(), first.prob_map.copy()
    detector.detect(np.zeros_like(image), prob_map=True)
    np.testing.assert_array_equal(first.quads, kept[0])
    np.testing.assert_array_equal(first.prob_map, kept[1])


@pytest.mark.parametrize("backend", ["auto", "onnxruntime"])
def test_shared_between_threads(backend: Any, tmp_path: Path) -> None:
    detector = Detector(make_model(tmp_path / "a.onnx"), cpu=CpuConfig(backend=backend))
    images = [scene(100 + 40 * (i % 3), 200, 1 + i % 4) for i in range(80)]
    expected = [detector.detect(image) for image in images]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found, alone in zip(pool.map(detector.detect, images), expected, strict=True):
            assert found.quads.tobytes() == alone.quads.tobytes()
            assert found.scores.tobytes() == alone.scores.tobytes()


# ---- missing models and devices ----------------------------------------------------------------


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='did you mean "ppocrv6-small"'):
        Detector("ppocrv6-smal")
    with pytest.raises(EngineError, match="there is no file"):
        Detector(tmp_path / "none.onnx")
    with pytest.raises(EngineError, match=r"\.engine, \.safetensors\) or a name"):
        Detector("model.pdparams")
    with pytest.raises(EngineError, match="there is no file"):
        Detector("model.engine")


@pytest.mark.skipif(cuda_available(), reason="there is a GPU")
def test_missing_cuda_is_an_error(tmp_path: Path) -> None:
    for device in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(
            EngineError, match=r"device \"cuda.*requested, but .*; or use device=\"cpu\""
        ):
            Detector(make_model(tmp_path / "a.onnx"), device=device)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU0", ""])
def test_invalid_devices(device: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="device must be"):
        Detector(make_model(tmp_path / "a.onnx"), device=device)


@pytest.mark.parametrize("name", ["binary_threshold", "score_threshold"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_thresholds_out_of_range(name: str, value: float, tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=name):
        Detector(path, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=name):
        Detector(path).detect(scene(), **{name: value})  # type: ignore[arg-type]


def test_cards_of_other_projects(tmp_path: Path) -> None:
    path = make_model(tmp_path / "a.onnx", card=None)
    assert Detector(path, card="mmocr").card.channel_order == "rgb"
    assert Detector(path, card=CARD).card == CARD
    with pytest.raises(ValueError, match="one of paddleocr, mmocr"):
        Detector(path, card="padle")


def test_only_onnx_files_take_a_card(tmp_path: Path) -> None:
    files = tmp_path / "a.engine", tmp_path / "a.safetensors"
    for file in files:
        file.touch()
    for model in (str(files[0]), files[1], SimpleNamespace(card=CARD)):
        with pytest.raises(ValueError, match="card is for ONNX files; .* has its own"):
            Detector(model, card="paddleocr")


def test_the_choice_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dbnet_trt"):
        detector = Detector(make_model(tmp_path / "a.onnx"))
        detector.detect(scene())
        detector.detect(scene())
    assert len([record for record in caplog.records if "runs on" in record.message]) == 1
    assert "tiny: " in repr(detector)


# ---- the default model -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default() -> Detector:
    return Detector()


def test_default_model_reads_the_demo_photo(default: Detector) -> None:
    photo = Path(__file__).parent / "data" / "demo.jpg"
    found = default.detect(photo)
    assert len(found) >= 5
    assert (found.scores >= default.params.score_threshold).all()


def test_backends_agree_on_the_demo_photo(default: Detector) -> None:
    photo = Path(__file__).parent / "data" / "demo.jpg"
    other = Detector(cpu=CpuConfig(backend="onnxruntime")).detect(photo)
    exact = Detector(cpu=CpuConfig(precision="fp32")).detect(photo)
    assert len(other) == len(exact)
    np.testing.assert_allclose(other.quads, exact.quads, atol=1)
    np.testing.assert_allclose(other.scores, exact.scores, atol=0.01)


def test_default_model_on_a_real_photo(default: Detector, shared_data: Path) -> None:
    found = default.detect(shared_data / "icdar2015" / "test_open" / "images" / "img_96.jpg")
    assert len(found) >= 5


# ---- arguments and networks that are wrong -------------------------------------------------------


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, float("nan"), True, "2", None])
def test_batch_size_is_a_whole_number(detector: Detector, batch_size: Any) -> None:
    with pytest.raises(ValueError, match="batch_size must be a whole number"):
        detector.detect_batch([scene()], batch_size=batch_size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_candidates": 2**31}, "max_candidates must be a whole number"),
        ({"unclip_ratio": 1e39}, "unclip_ratio must lie between 0 and 1000"),
        ({"max_pixels": 0}, "max_pixels must be a whole number"),
        ({"max_pixels": 1.5}, "max_pixels must be a whole number"),
    ],
)
def test_options_beyond_their_range(
    detector: Detector, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        detector.detect(scene(), **options)


def test_largest_unclip_ratio_gives_finite_corners(detector: Detector) -> None:
    found = detector.detect(scene(), unclip_ratio=1000, max_candidates=2**31 - 1)
    assert len(found) == 2
    assert np.isfinite(found.quads).all()


def test_absurd_threads_and_sizes() -> None:
    wrong: Any
    for wrong in (-1, 10**6, 1.5, True):
        with pytest.raises(ValueError, match="num_threads must be a whole number between 0"):
            CpuConfig(num_threads=wrong)
    with pytest.raises(ValueError, match="short_side must be at most 32768 pixels"):
        SizePolicy(10**6)


def test_limit_on_pixels_of_all_calls_and_of_one(tmp_path: Path) -> None:
    model = make_model(tmp_path / "a.onnx")
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), scene())
    detector = Detector(model, max_pixels=100)
    with pytest.raises(ImageError, match="200x120 are too many pixels, at most 100"):
        detector.detect(path)
    assert len(detector.detect(path, max_pixels=24_000)) == 2
    assert len(detector.detect(scene())) == 2  # arrays are there already


@pytest.mark.parametrize("polygons", [False, True])
def test_texts_beyond_the_limit_are_one_warning(
    detector: Detector, polygons: bool, caplog: pytest.LogCaptureFixture
) -> None:
    every = detector.detect(scene(num_texts=3), polygons=polygons)
    assert len(detector.detect(scene(num_texts=3), max_candidates=3, polygons=polygons)) == 3
    assert caplog.records == []
    for _ in range(2):
        found = detector.detect(scene(num_texts=3), max_candidates=2, polygons=polygons)
        np.testing.assert_array_equal(found.quads, every.quads[:2])
    (record,) = caplog.records
    assert "more than 2 texts" in record.getMessage()
    assert "--max-candidates" in record.getMessage()


@pytest.mark.parametrize("options", [{}, {"polygons": True}, {"prob_map": True}])
def test_network_that_gives_nan(tmp_path: Path, options: Any) -> None:
    detector = Detector(make_model(tmp_path / "a.onnx", weight=float("nan")))
    with pytest.raises(EngineError, match=r'"tiny" gave NaN'):
        detector.detect(scene(), **options)


@pytest.mark.parametrize("options", [{}, {"polygons": True}, {"prob_map": True}])
def test_cards_that_tell_the_wrong_output(tmp_path: Path, options: Any) -> None:
    card = dataclasses.replace(CARD, output="probability")
    lacking = Detector(make_model(tmp_path / "a.onnx", card=card))
    with pytest.raises(EngineError, match=r'"tiny" gave -\d+.\d, .*output="logit"'):
        lacking.detect(scene(), **options)
    engine = GreenOnCpu()
    engine.card = dataclasses.replace(GreenOnCpu.card, output="logit")
    with pytest.raises(EngineError, match=r'"green" gave values from 0.00 .*output="probability"'):
        Detector(engine).detect(scene(), **options)


def test_infinite_logits_are_certain_and_no_error(tmp_path: Path) -> None:
    detector = Detector(make_model(tmp_path / "a.onnx", weight=3e38))
    bright = scene()
    assert len(detector.detect(bright)) == 2
