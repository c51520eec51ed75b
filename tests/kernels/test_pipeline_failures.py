# SPDX-License-Identifier: Apache-2.0
"""Failures of CUDA in the GPU pipeline, on the fake runtime."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from dbnet_trt import Detector, EngineError, SizePolicy
from dbnet_trt.pipeline.gpu import GpuRunner
from fakes.cuda import FakeCuda
from fakes.engines import assert_same, photo
from fakes.pairs import GreenOnGpu, Pair, make_pair

OUT_OF_MEMORY, ILLEGAL_ADDRESS, NO_KERNEL_IMAGE, CAPTURE_UNSUPPORTED = 2, 700, 209, 900

CALLS = [
    "cudaMalloc",
    "cudaHostAlloc",
    "cudaMemcpyAsync",
    "cudaEventRecord",
    "cudaStreamWaitEvent",
    "cudaStreamSynchronize",
    "cudaEventSynchronize",
    "cudaGraphLaunch",
    "launch",
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_one_failure_is_one_error(
    cuda: FakeCuda, call: str, after: int, rng: np.random.Generator
) -> None:
    """Later calls give the right results."""
    pair = make_pair(cuda)
    image = photo(64, 64, rng)
    expected = pair.cpu.detect(image, polygons=True)
    num_errors = 0
    cuda.fail(call, OUT_OF_MEMORY, after)
    for _ in range(5):
        try:
            found = pair.gpu.detect(image, polygons=True)
        except EngineError as error:
            num_errors += 1
            assert "batch_size" in str(error)  # noqa: PT017
        else:
            assert_same(found, expected)
    assert num_errors <= 1
    assert_same(pair.gpu.detect(image, polygons=True), expected)


@pytest.mark.parametrize(
    "call",
    ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags"],
)
def test_failed_capture_falls_back_with_one_warning(
    pair: Pair,
    cuda: FakeCuda,
    call: str,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
) -> None:
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        for image in (photo(64, 96, rng), photo(64, 64, rng)):
            for _ in range(5):
                cuda.fail(call, CAPTURE_UNSUPPORTED)
                assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
    assert len(caplog.records) == 1
    assert "plain launches" in caplog.text
    assert pair.gpu.gpu_usage.num_graphs == 0


def test_capture_that_fails_is_tried_again(
    pair: Pair, cuda: FakeCuda, caplog: pytest.LogCaptureFixture, rng: np.random.Generator
) -> None:
    cuda.fail("cudaStreamEndCapture", CAPTURE_UNSUPPORTED)
    image = photo(64, 96, rng)
    for expected in (0, 0, 1):
        assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
        assert pair.gpu.gpu_usage.num_graphs == expected
    assert "plain launches" not in caplog.text


def test_network_that_cannot_be_captured(
    pair: Pair, cuda: FakeCuda, caplog: pytest.LogCaptureFixture, rng: np.random.Generator
) -> None:
    engine = pair.engine

    def fail_on_second() -> None:
        if engine.num_enqueues in (2, 4, 6):  # each capture is followed by a plain launch
            raise RuntimeError("not while capturing")

    engine.before_enqueue = fail_on_second
    image = photo(64, 96, rng)
    for _ in range(6):
        assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
    assert caplog.text.count("not while capturing") == 1
    assert pair.gpu.gpu_usage.num_graphs == 0


def test_errors_of_the_network_come_out(pair: Pair, rng: np.random.Generator) -> None:
    def fail() -> None:
        raise EngineError("this network is tired")

    image = photo(64, 96, rng)
    pair.engine.before_enqueue = fail
    with pytest.raises(EngineError, match="tired"):
        pair.gpu.detect(image)
    pair.engine.before_enqueue = lambda: None
    for _ in range(3):
        assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
    assert pair.gpu.gpu_usage.num_graphs == 1


def test_out_of_memory_drops_other_shapes_first(cuda: FakeCuda, rng: np.random.Generator) -> None:
    pair = make_pair(cuda)
    small, large = photo(64, 96, rng), photo(64, 192, rng)
    pair.gpu.detect(small)
    cuda.configure(limit_bytes=int(1.5 * cuda.usage().device_bytes))
    for image in (large, small, large, small):
        assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
        assert pair.gpu.gpu_usage.num_shapes == 1
    with pytest.raises(EngineError, match="no memory left; use a smaller batch_size"):
        pair.gpu.detect(photo(128, 1024, rng), size=SizePolicy(256))
    assert_same(pair.gpu.detect(small), pair.cpu.detect(small))


def test_cpu_works_after_a_lost_device(
    pair: Pair, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    image = photo(64, 96, rng)
    ticket = pair.gpu.submit([image])
    cuda.fail("cudaMemcpyAsync", ILLEGAL_ADDRESS)
    for _ in range(2):
        with pytest.raises(EngineError, match="lost the GPU; start it again"):
            pair.gpu.detect(image)
    with pytest.raises(EngineError, match="lost the GPU"):
        ticket.collect()
    assert len(pair.cpu.detect(image)) > 0


def test_wrong_architecture(pair: Pair, cuda: FakeCuda, rng: np.random.Generator) -> None:
    cuda.fail("launch", NO_KERNEL_IMAGE)
    with pytest.raises(EngineError, match="no code for this GPU.*CUDAARCHS"):
        pair.gpu.detect(photo(64, 96, rng))


def test_no_such_device(cuda: FakeCuda) -> None:
    with pytest.raises(EngineError, match="CUDA failed"):
        Detector(GreenOnGpu(cuda), device="cuda:7")


def test_map_beyond_the_kernels(pair: Pair) -> None:
    with pytest.raises(ValueError, match="32 to 8192"):
        pair.gpu.detect(np.zeros((1, 9000, 3), np.uint8), size=SizePolicy(1, 9000))


def test_ticket_of_another_detector(cuda: FakeCuda, pair: Pair, rng: np.random.Generator) -> None:
    paths = [GpuRunner(engine) for engine in (pair.engine, GreenOnGpu(cuda))]
    plan = SizePolicy(32).plan(32, 32)
    pending = paths[0].submit([photo(32, 32, rng)], [plan], pair.gpu.params, False)
    with pytest.raises(ValueError, match="another detector"):
        paths[1].collect(pending)
