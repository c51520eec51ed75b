# SPDX-License-Identifier: Apache-2.0
"""Frames are searched ahead, come back in order, and nothing is lost or left running."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detections, Detector, ImageError, SizePolicy
from dbnet_trt.errors import EngineError
from dbnet_trt.pipeline.batching import Results
from dbnet_trt.pipeline.streaming import InOrder
from fakes.engines import GreenOnCpu, photo
from fakes.tiny_model import make_model, scene

FRAMES = [scene(num_texts=n) for n in (2, 1, 0, 3, 1, 2)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def detector(model: Path) -> Detector:
    return Detector(model, cpu=CpuConfig(num_threads=1))


@pytest.fixture(scope="module", params=[1, 2])
def with_streams(model: Path, request: pytest.FixtureRequest) -> Detector:
    return Detector(model, cpu=CpuConfig(num_threads=2, num_streams=request.param))


def take(results: Iterator[tuple[Any, Detections]], into: list[int]) -> None:
    """Append the number of texts of each frame, up to an error."""
    for _, found in results:
        into.append(len(found))


def num_threads() -> int:
    return sum(thread.name.startswith("dbnet-frame") for thread in threading.enumerate())


@pytest.mark.parametrize("in_flight", [1, 2, 5, 9])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_stream_finds_what_detect_finds(
    with_streams: Detector, batch_size: int, in_flight: int
) -> None:
    detector = with_streams
    results = list(detector.stream(iter(FRAMES), batch_size=batch_size, in_flight=in_flight))
    assert [len(found) for _, found in results] == [2, 1, 0, 3, 1, 2]
    for (frame, found), given in zip(results, FRAMES, strict=True):
        assert frame is given
        np.testing.assert_array_equal(found.quads, detector.detect(frame).quads)
    assert num_threads() == 0


def test_options_are_passed_on_and_checked_at_once(detector: Detector) -> None:
    (_, found) = next(detector.stream(FRAMES, polygons=True))
    assert found.polygons is not None
    wrong: Any
    for wrong in ({"in_flight": 0}, {"batch_size": True}, {"score_threshold": 2}):
        with pytest.raises(ValueError, match="must"):
            detector.stream(FRAMES, **wrong)
    wrong = {"polygon": True}
    with pytest.raises(TypeError, match="did you mean"):
        detector.stream(FRAMES, **wrong)
    with pytest.raises(TypeError, match="iterable of images"):
        detector.stream(FRAMES[0])


@pytest.mark.parametrize("in_flight", [1, 2])
def test_next_frame_is_asked_for_while_one_is_searched(detector: Detector, in_flight: int) -> None:
    asked = []

    def source() -> Iterator[np.ndarray]:
        for number, frame in enumerate(FRAMES):
            asked.append(number)
            yield frame

    results = detector.stream(source(), in_flight=in_flight)
    for number in range(4):
        next(results)
        assert asked[-1] == number + in_flight - 1


def test_none_asks_for_all_results(detector: Detector) -> None:
    asked: list[int] = []

    def source() -> Iterator[np.ndarray | None]:
        for frame in FRAMES:
            asked.append(len(frame))
            yield frame
            yield None

    results = detector.stream(source(), in_flight=4)
    for number in range(6):
        next(results)
        assert len(asked) == number + 1


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("in_flight", [1, 2, 3])
def test_frames_before_an_error_are_not_lost(
    detector: Detector, in_flight: int, batch_size: int
) -> None:
    found: list[int] = []
    frames: list[Any] = [*FRAMES[:4], np.zeros((3, 3, 7), np.uint8), FRAMES[5]]
    with pytest.raises(ImageError, match="^frame 4: "):
        take(detector.stream(frames, in_flight=in_flight, batch_size=batch_size), found)
    assert found == [2, 1, 0, 3]

    def unplugged() -> Iterator[np.ndarray]:
        yield from FRAMES
        raise OSError("unplugged")

    found = []
    with pytest.raises(OSError, match="unplugged"):
        take(detector.stream(unplugged(), in_flight=in_flight, batch_size=batch_size), found)
    assert found == [2, 1, 0, 3, 1, 2]
    assert num_threads() == 0


class GreenUpTo(GreenOnCpu):
    """Engine that fails at images that are wider than this."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if batch.shape[3] > self._width:
            raise EngineError(f"too wide: {batch.shape[3]}")
        return super().__call__(batch)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("num_streams", [1, 2])
def test_frames_before_an_error_of_the_network_are_not_lost(
    num_streams: int, in_flight: int, batch_size: int, rng: np.random.Generator
) -> None:
    detector = Detector(GreenUpTo(96), size=SizePolicy(64), cpu=CpuConfig(num_streams=num_streams))
    frames = [photo(64, width, rng) for width in (96, 64, 96, 64, 160, 96)]
    expected = [len(detector.detect(frame)) for frame in frames[:4]]
    found: list[int] = []
    with pytest.raises(EngineError, match="too wide: 160"):
        take(detector.stream(frames, in_flight=in_flight, batch_size=batch_size), found)
    assert found == expected


@pytest.mark.parametrize("batch_size", [1, 4, 5])
@pytest.mark.parametrize("widths", [(64, 96, 160, 192), (64, 96, 160, 160, 160), (160, 64)])
def test_what_waits_behind_an_error_is_dropped(
    widths: tuple[int, ...], batch_size: int, rng: np.random.Generator
) -> None:
    detector = Detector(GreenUpTo(96), size=SizePolicy(64))
    frames = [photo(64, width, rng) for width in widths]
    before = widths.index(160)
    expected = [len(detector.detect(frame)) for frame in frames[:before]]
    found: list[int] = []
    with pytest.raises(EngineError, match="too wide: 160"):
        take(detector.stream(frames, batch_size=batch_size), found)
    assert found == expected


@pytest.mark.parametrize("skip_same", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_frames_before_one_that_is_no_image_are_not_lost(
    detector: Detector, batch_size: int, skip_same: bool
) -> None:
    found: list[int] = []
    frames: list[Any] = [*FRAMES[:4], 3]
    with pytest.raises(TypeError):
        take(detector.stream(frames, batch_size=batch_size, skip_same=skip_same), found)
    assert found == [2, 1, 0, 3]


def test_early_exit_closes_the_source_and_waits_for_the_rest(detector: Detector) -> None:
    closed = threading.Event()

    def source() -> Iterator[np.ndarray]:
        try:
            while True:
                yield FRAMES[0]
        finally:
            closed.set()

    for frame, found in detector.stream(source()):
        assert frame is FRAMES[0]
        assert len(found) == 2
        break
    assert closed.is_set()
    assert num_threads() == 0


class FakeSearch:
    """A batch that notes when it is waited for, and fails on request."""

    def __init__(self, log: list[str], batch: list[tuple[int, str]]) -> None:
        self.log, self.batch = log, batch

    def result(self) -> Results:
        names = "".join(name for _, name in self.batch)
        self.log.append(names)
        if "!" in names:
            raise EngineError(f"{names} failed")
        return [Detections.empty()] * len(self.batch), None


def test_everything_begun_is_waited_for() -> None:
    """However it ends: by an error of a batch in the middle, or when it is closed."""
    log: list[str] = []
    results = InOrder[str](lambda batch: FakeSearch(log, batch), in_flight=3).run("ab!d!f")
    assert next(results)[0] == "a"
    assert next(results)[0] == "b"
    with pytest.raises(EngineError, match="^! failed"):
        next(results)
    assert log == ["a", "b", "!", "d", "!"]
    log.clear()
    results = InOrder[str](lambda batch: FakeSearch(log, batch), in_flight=3).run("abcdef")
    next(results)
    results.close()
    assert log == ["a", "b", "c"]


def test_batch_that_cannot_begin_fails_in_its_turn() -> None:
    log: list[str] = []

    def begin(batch: list[tuple[int, str]]) -> FakeSearch:
        if batch[0][1] == "c":
            raise EngineError("out of memory")
        return FakeSearch(log, batch)

    found: list[int] = []
    with pytest.raises(EngineError, match="out of memory"):
        take(InOrder[str](begin).run("abcd"), found)
    assert found == [0, 0]
