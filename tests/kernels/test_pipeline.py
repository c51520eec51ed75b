# SPDX-License-Identifier: Apache-2.0
"""The GPU's way, on a fake CUDA runtime: the pipeline and the kernels are the real ones."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dbnet_trt import Detector, EngineError, ImageError, SizePolicy
from dbnet_trt.gpu import GpuConfig, GpuPath
from green import CARD, GreenOnCpu, assert_same, photo

from kernels.conftest import FakeCuda

OUT_OF_MEMORY, ILLEGAL_ADDRESS, NO_KERNEL_IMAGE, CAPTURE_UNSUPPORTED = 2, 700, 209, 900


class GreenOnGpu:
    """The same, as work on a stream."""

    card = CARD
    description = "green, GPU"

    def __init__(self, cuda: FakeCuda, is_half: bool = False) -> None:
        self._cuda, self.input_is_half, self.output_is_half = cuda, is_half, is_half
        self.prepared: list[tuple[int, int, int]] = []
        self.num_enqueues = 0
        self.before_enqueue: Callable[[], None] = lambda: None

    def prepare(self, batch: int, height: int, width: int) -> None:
        self.prepared.append((batch, height, width))

    def release(self, batch: int, height: int, width: int) -> None:
        self.prepared.remove((batch, height, width))

    def enqueue(
        self, input_pointer: int, output_pointer: int, shape: tuple[int, int, int], stream: int
    ) -> None:
        self.num_enqueues += 1
        self.before_enqueue()
        batch, height, width = shape
        assert shape in self.prepared
        plane = height * width * (2 if self.input_is_half else 4)
        for i in range(batch):
            source = input_pointer + (3 * i + 1) * plane
            self._cuda.copy(output_pointer + i * plane, source, plane, stream)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A detector on the fake GPU, and the same on the CPU."""

    gpu: Detector
    cpu: Detector
    engine: GreenOnGpu

    @property
    def usage(self) -> dict[str, int]:
        return self.gpu._path.usage()  # type: ignore[union-attr]


def make_pair(cuda: FakeCuda, *, is_half: bool = False, **config: Any) -> Pair:
    engine = GreenOnGpu(cuda, is_half)
    on_cpu = Detector(GreenOnCpu(np.float16 if is_half else np.float32))
    return Pair(Detector(engine, gpu=GpuConfig(**config)), on_cpu, engine)


@pytest.fixture
def pair(cuda: FakeCuda) -> Pair:
    return make_pair(cuda)


SIZES = [(64, 96), (90, 128), (64, 90), (48, 64), (33, 97), (64, 96)]


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_gpu_gives_what_the_cpu_gives(
    cuda: FakeCuda, is_half: bool, seed: int, rng: np.random.Generator
) -> None:
    """Images of many sizes, alone and in batches, twice: by plain launches and by a graph."""
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
    assert pair.usage["num_graphs"] > 1


def test_values_of_one_call_take_effect(pair: Pair, rng: np.random.Generator) -> None:
    """Though the graph was captured with others."""
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


def test_many_replays_hold_no_memory(pair: Pair, cuda: FakeCuda, rng: np.random.Generator) -> None:
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
    assert pair.usage["device_bytes"] == after.device_bytes
    assert pair.usage["pinned_bytes"] == after.pinned_bytes


@pytest.mark.parametrize("config", [{"max_shapes": 2}, {"max_memory_mb": 1}], ids=str)
def test_shapes_are_bounded(
    cuda: FakeCuda, config: dict[str, Any], rng: np.random.Generator
) -> None:
    pair = make_pair(cuda, **config)
    images = [photo(32, 32 * n, rng) for n in (1, 2, 3, 2, 3, 1, 1, 3)]
    for image in images * 2:
        size = SizePolicy(32)
        assert_same(pair.gpu.detect(image, size=size), pair.cpu.detect(image, size=size))
        assert pair.usage["num_shapes"] <= 2
        assert len(pair.engine.prepared) == pair.usage["num_shapes"]
    assert pair.engine.num_enqueues > 6


def test_everything_is_given_back(cuda: FakeCuda, rng: np.random.Generator) -> None:
    before = cuda.usage()
    pair = make_pair(cuda)
    pair.gpu.detect_batch([photo(*size, rng) for size in SIZES] * 2, polygons=True)
    pair.gpu.submit([photo(64, 96, rng)])
    engine = pair.engine
    del pair
    assert engine.prepared == []
    assert cuda.usage()[:5] == before[:5]


# ---- frames on their way -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_frames_overlap_and_keep_apart(cuda: FakeCuda, seed: int, rng: np.random.Generator) -> None:
    cuda.configure(seed)
    pair = make_pair(cuda)
    frames = [photo(64, 96, rng) for _ in range(7)]
    expected = pair.cpu.detect_batch(frames)
    for order in (range(7), reversed(range(7))):
        tickets = []
        for frame in frames:
            own = frame.copy()
            tickets.append(pair.gpu.submit([own], prob_map=bool(seed % 2)))
            own[:] = 0  # it has been read
        for i in order:
            (found,) = pair.gpu.collect(tickets[i])
            assert_same(dataclasses.replace(found, prob_map=None), expected[i])
        (again,) = pair.gpu.collect(tickets[0])
        assert_same(dataclasses.replace(again, prob_map=None), expected[0])


def test_results_are_the_callers_own(pair: Pair, rng: np.random.Generator) -> None:
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


# ---- images in GPU memory ------------------------------------------------------------------------


class OnDevice:
    """Host memory that says it is on the device, as the fake runtime's is."""

    def __init__(self, array: np.ndarray, **interface: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 2, **interface}


class OnDeviceByDLPack:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


@pytest.mark.parametrize("kind", [OnDevice, OnDeviceByDLPack])
def test_images_on_the_device_are_read_where_they_are(
    pair: Pair, kind: type, rng: np.random.Generator
) -> None:
    host = photo(64, 96, rng)
    window = photo(80, 120, rng)[5:69, 3:99]  # rows lie apart
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
    for source in photos:  # each overwrites the one before, as soon as the stream lets it
        cuda.copy(image.ctypes.data, source.ctypes.data, image.nbytes, 1)
        tickets.append(pair.gpu.submit([OnDevice(image)], stream=stream))
    for ticket, source in zip(tickets, photos, strict=True):
        assert_same(ticket.collect()[0], pair.cpu.detect(source))


def test_dlpack_hears_of_the_stream(pair: Pair, rng: np.random.Generator) -> None:
    source = OnDeviceByDLPack(photo(64, 96, rng))
    pair.gpu.detect(source)
    pair.gpu.detect(source, stream=1)
    assert source.streams == [pair.gpu._path._pipeline.stream, -1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "uint8"),
        (np.zeros((4, 4), np.uint8), "shape"),
        (np.zeros((4, 4, 4), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((4, 8, 3), np.uint8)[:, ::2], "dense rows"),
        (np.zeros((4, 8, 3), np.uint8)[::-1], "dense rows"),
    ],
)
@pytest.mark.parametrize("kind", [OnDevice, OnDeviceByDLPack])
def test_wrong_arrays_on_the_device(
    pair: Pair, kind: type, array: np.ndarray, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        pair.gpu.detect(kind(array))


# ---- failures ------------------------------------------------------------------------------------

CALLS = [
    "cudaMalloc",
    "cudaHostAlloc",
    "cudaMemcpyAsync",
    "cudaMemsetAsync",
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
    """And the next calls give what they should."""
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
    ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"],
)
def test_without_a_graph_it_goes_on_and_says_so_once(
    pair: Pair,
    cuda: FakeCuda,
    call: str,
    caplog: pytest.LogCaptureFixture,
    rng: np.random.Generator,
) -> None:
    cuda.fail(call, CAPTURE_UNSUPPORTED)
    image = photo(64, 96, rng)
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        for _ in range(5):
            assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
    assert len(caplog.records) == 1
    assert "plain launches" in caplog.text
    assert pair.usage["num_graphs"] == 0


def test_network_that_cannot_be_captured(
    pair: Pair, cuda: FakeCuda, caplog: pytest.LogCaptureFixture, rng: np.random.Generator
) -> None:
    """Of two shapes; the log says so once."""

    engine = pair.engine

    def fail_on_second() -> None:
        if engine.num_enqueues in (2, 6):
            raise RuntimeError("not while capturing")

    engine.before_enqueue = fail_on_second
    for image in (photo(64, 96, rng), photo(64, 64, rng)):
        for _ in range(3):
            assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
    assert caplog.text.count("not while capturing") == 1
    assert pair.usage["num_graphs"] == 0


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
    assert pair.usage["num_graphs"] == 1


def test_out_of_memory_drops_other_shapes_first(cuda: FakeCuda, rng: np.random.Generator) -> None:
    pair = make_pair(cuda)
    small, large = photo(64, 96, rng), photo(64, 192, rng)
    pair.gpu.detect(small)
    cuda.configure(limit_bytes=int(1.5 * cuda.usage().device_bytes))
    for image in (large, small, large, small):
        assert_same(pair.gpu.detect(image), pair.cpu.detect(image))
        assert pair.usage["num_shapes"] == 1
    with pytest.raises(EngineError, match="no memory left; use a smaller batch_size"):
        pair.gpu.detect(photo(128, 1024, rng), size=SizePolicy(256))
    assert_same(pair.gpu.detect(small), pair.cpu.detect(small))


def test_lost_device_leaves_the_cpu(pair: Pair, cuda: FakeCuda, rng: np.random.Generator) -> None:
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
    paths = [GpuPath(engine) for engine in (pair.engine, GreenOnGpu(cuda))]
    plan = SizePolicy(32).plan(32, 32)
    pending = paths[0].submit([photo(32, 32, rng)], [plan], pair.gpu.params, False)
    with pytest.raises(ValueError, match="another detector"):
        paths[1].collect(pending)
