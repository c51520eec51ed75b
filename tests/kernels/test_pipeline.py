# SPDX-License-Identifier: Apache-2.0
"""GPU pipeline with the real kernels, on a fake CUDA runtime."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dbnet_trt import Detector, EngineError, ImageError, SizePolicy
from dbnet_trt.pipeline.gpu import GpuRunner
from fakes.cuda import FakeCuda
from fakes.engines import GreenOnCpu, assert_same, photo
from fakes.pairs import GreenOnGpu, OnDevice, OnDeviceByDLPack, Pair, make_pair
from numpy.lib.stride_tricks import as_strided

SIZES = [(64, 96), (90, 128), (64, 90), (48, 64), (33, 97), (64, 96)]


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_gpu_gives_what_the_cpu_gives(
    cuda: FakeCuda, is_half: bool, seed: int, rng: np.random.Generator
) -> None:
    """Images of many sizes run alone and in batches, by plain launches and then by a graph."""
    cuda.configure(seed)
    pair = make_pair(cuda, is_half=is_half)
    images = [photo(*size, rng) for size in SIZES]
    expected = pair.cpu.detect_batch(images)
    assert sum(map(len, expected)) > 10
    for _ in range(3):
        for found, other in zip(pair.gpu.detect_batch(images), expected, strict=True):
            assert_same(found, other)
    for image, other in zip(images, expected, strict=True):
        assert_same(pair.gpu.detect(image), other)
    assert pair.gpu.gpu_usage.num_graphs > 1


def test_values_of_one_call_take_effect(pair: Pair, rng: np.random.Generator) -> None:
    """A captured graph uses the values of the call, not those of the capture."""
    image = photo(64, 96, rng)
    calls: list[dict[str, Any]] = [
        {},
        {"binary_threshold": 0.55},
        {"score_threshold": 0.9},
        {"unclip_ratio": 0.5},
        {"max_candidates": 2},
        {"polygons": True},
        {"polygons": True, "binary_threshold": 0.5, "prob_map": True},
        {"prob_map": True},
    ]
    counts = set()
    for call in calls * 2:
        expected = pair.cpu.detect(image, **call)
        assert_same(pair.gpu.detect(image, **call), expected)
        counts.add(len(expected))
    assert len(counts) > 2
    assert pair.engine.num_enqueues == 2
    assert_same(
        pair.gpu.detect(image, size=SizePolicy(32)), pair.cpu.detect(image, size=SizePolicy(32))
    )


def test_empty_and_narrow_images(pair: Pair) -> None:
    for shape in [(1, 1), (1, 300), (300, 1), (2, 3)]:
        for value in (0, 255):
            image = np.full((*shape, 3), value, np.uint8)
            assert_same(pair.gpu.detect(image), pair.cpu.detect(image))


def test_many_replays_keep_memory_constant(
    pair: Pair, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    image = photo(32, 32, rng)
    first = pair.gpu.detect(image, size=SizePolicy(32))
    pair.gpu.detect(image, size=SizePolicy(32))
    before = cuda.usage()
    for _ in range(100):
        found = pair.gpu.detect(image, size=SizePolicy(32))
        assert found.quads.tobytes() == first.quads.tobytes()
    after = cuda.usage()
    assert after.num_graph_launches == before.num_graph_launches + 100
    assert after[:5] == before[:5]
    assert pair.engine.num_enqueues == 2
    assert pair.gpu.gpu_usage.device_bytes == after.device_bytes
    assert pair.gpu.gpu_usage.pinned_bytes == after.pinned_bytes


@pytest.mark.parametrize("config", [{"max_shapes": 2}, {"max_memory_mb": 1}], ids=str)
def test_shapes_are_bounded(
    cuda: FakeCuda, config: dict[str, Any], rng: np.random.Generator
) -> None:
    pair = make_pair(cuda, **config)
    images = [photo(32, 32 * n, rng) for n in (1, 2, 3, 2, 3, 1, 1, 3)]
    for image in images * 2:
        size = SizePolicy(32)
        assert_same(pair.gpu.detect(image, size=size), pair.cpu.detect(image, size=size))
        assert pair.gpu.gpu_usage.num_shapes <= 2
        assert len(pair.engine.prepared) == pair.gpu.gpu_usage.num_shapes
    assert pair.engine.num_enqueues > 6


def test_all_resources_are_released(cuda: FakeCuda, rng: np.random.Generator) -> None:
    before = cuda.usage()
    pair = make_pair(cuda)
    pair.gpu.detect_batch([photo(*size, rng) for size in SIZES] * 2, polygons=True)
    pair.gpu.submit([photo(64, 96, rng)])
    engine = pair.engine
    del pair
    assert engine.prepared == []
    assert cuda.usage()[:5] == before[:5]


def test_no_context_on_other_devices(cuda: FakeCuda, rng: np.random.Generator) -> None:
    cuda.configure()
    detector = Detector(GreenOnGpu(cuda), device="cuda:1")
    image = photo(64, 96, rng)
    expected = Detector(GreenOnCpu()).detect(image)
    assert_same(detector.detect(image), expected)
    assert cuda.usage().contexts == 0b10


def test_status_of_the_runtime(cuda: FakeCuda) -> None:
    architectures, runtime, driver, failure, devices = cuda.core.cuda_status()
    assert (architectures, runtime, driver, failure) == ("", 12090, 13000, "")
    assert devices == [("Fake GPU", 8, 9, 1 << 30), ("Fake GPU", 8, 8, 1 << 30)]
    cuda.fail("cudaGetDeviceCount", 100)
    *_, failure, devices = cuda.core.cuda_status()
    assert (failure, devices) == ("an error of the fake runtime", [])


# ---- batches in flight ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_batches_overlap_without_mixing(
    cuda: FakeCuda, seed: int, rng: np.random.Generator
) -> None:
    cuda.configure(seed)
    pair = make_pair(cuda)
    frames = [photo(64, 96, rng) for _ in range(7)]
    expected = pair.cpu.detect_batch(frames)
    for order in (range(7), reversed(range(7))):
        tickets = []
        for frame in frames:
            own = frame.copy()
            tickets.append(pair.gpu.submit([own], prob_map=bool(seed % 2)))
            own[:] = 0  # it has been uploaded
        for i in order:
            (found,) = pair.gpu.collect(tickets[i])
            assert_same(dataclasses.replace(found, prob_map=None), expected[i])
        (again,) = pair.gpu.collect(tickets[0])
        assert_same(dataclasses.replace(again, prob_map=None), expected[0])


@pytest.mark.parametrize("batch_size", [1, 2])
def test_stream_overlaps_frames_and_leaves_nothing_behind(
    cuda: FakeCuda, batch_size: int, rng: np.random.Generator
) -> None:
    pair = make_pair(cuda)
    frames = [photo(64, 96, rng) for _ in range(6)]
    expected = pair.cpu.detect_batch(frames)
    asked = []

    def source() -> Iterator[np.ndarray]:
        for frame in frames:
            asked.append(frame)
            yield frame

    for i, (frame, found) in enumerate(pair.gpu.stream(source(), batch_size=batch_size)):
        assert frame is frames[i]
        assert_same(found, expected[i])
        assert len(asked) == min(6, (i // batch_size + 2) * batch_size)
    for _ in pair.gpu.stream(frames):
        break  # the second frame is in flight
    assert_same(pair.gpu.detect(frames[3]), expected[3])


def test_results_do_not_share_memory(pair: Pair, rng: np.random.Generator) -> None:
    first = photo(64, 96, rng)
    found = pair.gpu.detect(first, prob_map=True)
    copy = (found.quads.copy(), found.scores.copy())
    for _ in range(3):
        pair.gpu.detect(photo(64, 96, rng), prob_map=True)
    np.testing.assert_array_equal(found.quads, copy[0])
    np.testing.assert_array_equal(found.scores, copy[1])
    found.quads[:] = 0
    assert_same(pair.gpu.detect(first), pair.cpu.detect(first))


def test_threads_share_a_detector(cuda: FakeCuda, rng: np.random.Generator) -> None:
    cuda.configure(seed=5)
    pair = make_pair(cuda, max_shapes=2)
    images = [photo(*size, rng) for size in SIZES] * 4
    expected = pair.cpu.detect_batch(images)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found, other in zip(pool.map(pair.gpu.detect, images), expected, strict=True):
            assert_same(found, other)


def test_thread_runs_a_shape_before_it_captures_it(
    cuda: FakeCuda, rng: np.random.Generator
) -> None:
    """Libraries create handles in a thread's first run, which is forbidden during a capture."""
    pair = make_pair(cuda)
    image = photo(64, 96, rng)
    pair.gpu.detect(image)
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        for expected in (0, 1, 1):
            found = other.submit(pair.gpu.detect, image).result()
            assert_same(found, pair.cpu.detect(image))
            assert pair.gpu.gpu_usage.num_graphs == expected


def test_nothing_is_collected_while_the_network_is_enqueued(
    pair: Pair, rng: np.random.Generator
) -> None:
    seen = []
    pair.engine.before_enqueue = lambda: seen.append(gc.isenabled())
    for _ in range(2):
        pair.gpu.detect(photo(64, 96, rng))
    assert seen == [False] * 2
    assert gc.isenabled()


# ---- images in GPU memory ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OnDevice, OnDeviceByDLPack])
def test_images_on_the_device_are_read_where_they_are(
    pair: Pair, kind: type, rng: np.random.Generator
) -> None:
    host = photo(64, 96, rng)
    window = photo(80, 120, rng)[5:69, 3:99]  # rows are padded
    for image in (host, window) * 2:
        assert_same(pair.gpu.detect(kind(image)), pair.cpu.detect(image))
    mixed = pair.gpu.detect_batch([host, kind(window), kind(host)])
    for found, image in zip(mixed, (host, window, host), strict=True):
        assert_same(found, pair.cpu.detect(image))


@pytest.mark.parametrize("stream", [None, 1])
@pytest.mark.parametrize("seed", range(3))
def test_images_on_the_device_are_read_in_the_order_of_the_stream(
    cuda: FakeCuda, stream: int | None, seed: int, rng: np.random.Generator
) -> None:
    cuda.configure(seed)
    pair = make_pair(cuda)
    photos = [photo(64, 96, rng) for _ in range(4)]
    image = np.zeros((64, 96, 3), np.uint8)
    tickets = []
    for source in photos:  # each overwrites the previous one as soon as the stream allows
        cuda.copy(image.ctypes.data, source.ctypes.data, image.nbytes, 1)
        tickets.append(pair.gpu.submit([OnDevice(image)], stream=stream))
    for ticket, source in zip(tickets, photos, strict=True):
        assert_same(ticket.collect()[0], pair.cpu.detect(source))


def test_dlpack_gets_the_stream(pair: Pair, rng: np.random.Generator) -> None:
    source = OnDeviceByDLPack(photo(64, 96, rng))
    pair.gpu.detect(source)
    pair.gpu.detect(source, stream=1)
    assert source.streams == [pair.gpu._runner._pipeline.import_stream, -1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 8, 3), np.uint8)[:, ::2], "dense rows"),
        (np.zeros((4, 8, 3), np.uint8)[::-1], "dense rows"),
        (
            as_strided(np.zeros(99, np.uint8), (4, 4, 3), (9, 3, 1)),
            "dense rows",
        ),
    ],
)
@pytest.mark.parametrize("kind", [OnDevice, OnDeviceByDLPack])
def test_wrong_arrays_on_the_device(
    pair: Pair, kind: type, array: np.ndarray, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        pair.gpu.detect(kind(array))


def test_strides_of_axes_of_length_one_are_ignored(pair: Pair, rng: np.random.Generator) -> None:
    """Strides of axes of length 1 are arbitrary; torch's DLPack writes 1."""
    for shape, strides in [((1, 90, 3), (1, 3, 1)), ((90, 1, 3), (3, 1, 1))]:
        image = photo(*shape[:2], rng)
        found = pair.gpu.detect(OnDevice(image, strides=strides))
        assert_same(found, pair.cpu.detect(image))


def test_images_may_come_while_a_graph_is_captured(
    pair: Pair, cuda: FakeCuda, rng: np.random.Generator
) -> None:
    """Images come from other threads, whose owners enqueue waits into a stream."""
    image = photo(64, 96, rng)
    path = pair.gpu._runner
    assert isinstance(path, GpuRunner)

    class Waiting(OnDeviceByDLPack):
        def __dlpack__(self, stream: int) -> Any:
            cuda.wait(stream)
            return super().__dlpack__(stream)

    pair.engine.before_enqueue = lambda: path.load(Waiting(image), None)
    for _ in range(3):
        assert_same(pair.gpu.detect(Waiting(image)), pair.cpu.detect(image))
    assert pair.gpu.gpu_usage.num_graphs == 1


def test_image_on_another_gpu(pair: Pair) -> None:
    class OnSecond(OnDeviceByDLPack):
        def __dlpack_device__(self) -> tuple[int, int]:
            return 2, 1

    with pytest.raises(ImageError, match=r'cuda:1 and the detector runs on cuda:0.*"cuda:1"'):
        pair.gpu.detect(OnSecond(np.zeros((32, 32, 3), np.uint8)))


def test_engine_on_another_gpu(cuda: FakeCuda) -> None:
    engine = GreenOnGpu(cuda)
    engine.ordinal = 2  # type: ignore[attr-defined]
    with pytest.raises(EngineError, match='on cuda:2, but device "cuda:0"'):
        Detector(engine, device="cuda:0")
    with pytest.raises(EngineError, match="CUDA failed"):  # the fake runtime has two GPUs
        Detector(engine)
