# SPDX-License-Identifier: Apache-2.0
import itertools
import os
import threading
from typing import Any

import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detector, EngineError, SizePolicy
from dbnet_trt.pipeline import batching
from dbnet_trt.pipeline.batching import Batches, Call
from dbnet_trt.pipeline.cpu import CpuRunner
from dbnet_trt.pipeline.scale_warning import ScaleWarning
from dbnet_trt.settings import PostprocessParams
from fakes.engines import CARD, GreenOnCpu, assert_same, photo

CALL = Call(SizePolicy(64), "auto", PostprocessParams(), prob_map=False, batch_size=4)


class Recorder(CpuRunner):
    """A runner that notes the batches it gets."""

    def __init__(self) -> None:
        super().__init__(GreenOnCpu())
        self.batches: list[int] = []

    def submit(self, images: Any, plans: Any, params: Any, prob_map: bool) -> Any:
        self.batches.append(len(images))
        return super().submit(images, plans, params, prob_map)


def test_images_of_many_shapes_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = [photo(64, 64 + 32 * width, rng) for width in range(40)]
    monkeypatch.setattr(batching, "MAX_WAITING_BYTES", 3 * 64 * 2000)
    runner = Recorder()
    batches = Batches(runner, CALL, ScaleWarning())
    waiting = 0
    for image in images:
        batches.add(image)
        waiting += image.nbytes
        if len(runner.batches) and sum(runner.batches) == batches._num_images:
            waiting = 0
        assert waiting <= batching.MAX_WAITING_BYTES
    assert sum(runner.batches) >= 30
    expected = [Detector(GreenOnCpu()).detect(image) for image in images]
    for found, other in zip(batches.finish(), expected, strict=True):
        assert_same(found, other)


def test_images_of_one_size_still_make_batches() -> None:
    runner = Recorder()
    batches = Batches(runner, CALL, ScaleWarning())
    for _ in range(10):
        batches.add(np.zeros((64, 96, 3), np.uint8))
    batches.finish()
    assert runner.batches == [4, 4, 2]
    assert batches._waiting_bytes == 0


class Meeting:
    """Engine whose calls wait until several are there at a time."""

    card = CARD
    description = "meeting"

    def __init__(self, num_callers: int) -> None:
        self.barrier = threading.Barrier(num_callers)
        self.running = itertools.count()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.barrier.wait(30)
        return batch[:, 1].copy()


def test_streams_run_side_by_side() -> None:
    detector = Detector(Meeting(3), cpu=CpuConfig(num_streams=3))
    assert detector.num_streams == 3
    assert detector.device == "cpu"
    rng = np.random.default_rng(0)
    images = [photo(64, 96, rng) for _ in range(6)]
    expected = [Detector(GreenOnCpu()).detect(image) for image in images]
    for found, other in zip(detector.detect_batch(images, batch_size=1), expected, strict=True):
        assert_same(found, other)


def test_few_batches_wait_for_a_stream() -> None:
    gate = threading.Event()

    class Slow(GreenOnCpu):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            gate.wait(30)
            return super().__call__(batch)

    taken = itertools.count()
    last = 0

    def images() -> Any:
        nonlocal last
        for _ in range(20):
            last = next(taken)
            yield np.zeros((64, 64, 3), np.uint8)

    detector = Detector(Slow(), cpu=CpuConfig(num_streams=2))
    results: list[Any] = []
    thread = threading.Thread(
        target=lambda: results.extend(detector.detect_batch(images(), batch_size=1))
    )
    thread.start()
    thread.join(0.3)
    assert last <= 2 * 2  # one that runs and one that waits for each stream, and the next image
    gate.set()
    thread.join(30)
    assert len(results) == 20


def test_an_error_of_a_stream_reaches_the_caller() -> None:
    class Broken(GreenOnCpu):
        def __call__(self, batch: np.ndarray) -> np.ndarray:
            raise EngineError("broken")

    detector = Detector(Broken(), cpu=CpuConfig(num_streams=2))
    ticket = detector.submit([np.zeros((64, 64, 3), np.uint8)])
    with pytest.raises(EngineError, match="broken"):
        ticket.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_streams_in_a_forked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector(GreenOnCpu(), cpu=CpuConfig(num_streams=2))
    detector.detect(np.zeros((64, 64, 3), np.uint8))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(EngineError, match="was forked"):
        detector.detect(np.zeros((64, 64, 3), np.uint8))
