# SPDX-License-Identifier: Apache-2.0
"""Tiles on the GPU, with the real kernels on a fake CUDA runtime."""

from typing import Any

import numpy as np
import pytest
from dbnet_trt import Detections, EngineError, Nv12Frame, SizePolicy, Tiles
from dbnet_trt.pipeline.gpu import GpuRunner
from fakes.cuda import FakeCuda
from fakes.engines import assert_same, nv12_photo, photo
from fakes.pairs import OnDevice, make_pair

OUT_OF_MEMORY = 2

OPTIONS: dict[str, Any] = {"tiles": Tiles(96, 32, batch_size=3), "size": SizePolicy(120)}


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("polygons", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_tiles_give_what_one_map_gives(
    cuda: FakeCuda, is_half: bool, polygons: bool, seed: int, rng: np.random.Generator
) -> None:
    """This network looks at each pixel alone: a joined map is that of the whole image."""
    cuda.configure(seed)
    pair = make_pair(cuda, is_half=is_half)
    image = photo(120, 230, rng)
    options: dict[str, Any] = {"polygons": polygons, "prob_map": True}
    whole = pair.gpu.detect(image, tiles="off", size=OPTIONS["size"], **options)
    assert len(whole) > 3
    for source in (image, OnDevice(image)):
        found = pair.gpu.detect(source, **options, **OPTIONS)
        assert_exactly(found, whole)
        assert_nearly(found, pair.cpu.detect(image, **options, **OPTIONS))
    assert pair.gpu.gpu_usage.num_graphs == 1  # of the tiles; the whole was there once
    others = [image, image[:, ::-1], image[::-1]]
    for found, other in zip(pair.gpu.detect_batch(others, **OPTIONS), others, strict=True):
        assert_exactly(found, pair.gpu.detect(other, tiles="off", size=OPTIONS["size"]))


def assert_exactly(found: Detections, expected: Detections) -> None:
    np.testing.assert_array_equal(found.quads, expected.quads)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert (found.prob_map is None) == (expected.prob_map is None)
    if found.prob_map is not None:
        np.testing.assert_array_equal(found.prob_map, expected.prob_map)


def assert_nearly(found: Detections, expected: Detections) -> None:
    """Compare with a map of bytes, in main memory."""
    np.testing.assert_allclose(found.quads, expected.quads, atol=1e-2)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.5 / 255 + 1e-4)


def test_joined_in_main_memory_where_it_does_not_fit(
    cuda: FakeCuda, rng: np.random.Generator
) -> None:
    image = photo(120, 230, rng)
    pair = make_pair(cuda, max_memory_mb=0)
    assert_same(pair.gpu.detect(image, **OPTIONS), pair.cpu.detect(image, **OPTIONS))
    pair = make_pair(cuda)
    pair.gpu.detect(image, **OPTIONS)
    cuda.fail("cudaMalloc", OUT_OF_MEMORY)
    assert_same(pair.gpu.detect(image, **OPTIONS), pair.cpu.detect(image, **OPTIONS))


def test_joined_in_main_memory_for_more_texts_than_the_gpu_considers(
    cuda: FakeCuda, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        """Pipeline that drops texts of joined maps."""

        def __init__(self, pipeline: Any) -> None:
            self._pipeline = pipeline
            self._joined: list[Any] = []

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pipeline, name)

        def submit_joined(self, *arguments: Any, **options: Any) -> Any:
            self._joined.append(self._pipeline.submit_joined(*arguments, **options))
            return self._joined[-1]

        def collect(self, ticket: Any) -> Any:
            texts, num_dropped, maps, labels = self._pipeline.collect(ticket)
            return texts, num_dropped + (ticket in self._joined), maps, labels

    pair = make_pair(cuda)
    runner = pair.gpu._runner
    assert isinstance(runner, GpuRunner)
    monkeypatch.setattr(runner, "_pipeline", Full(runner._pipeline))
    image = photo(120, 230, rng)
    assert_same(pair.gpu.detect(image, **OPTIONS), pair.cpu.detect(image, **OPTIONS))


@pytest.mark.parametrize(
    "call", ["cudaMemcpyAsync", "cudaMemcpy2DAsync", "cudaEventSynchronize", "launch"]
)
@pytest.mark.parametrize("after", [0, 2, 5])
def test_one_failure_is_one_error(
    cuda: FakeCuda, call: str, after: int, rng: np.random.Generator
) -> None:
    """Later calls give the right results, and nothing stays behind."""
    pair = make_pair(cuda)
    image = photo(120, 230, rng)
    expected = pair.gpu.detect(image, **OPTIONS)
    used = cuda.usage().device_bytes
    num_errors = 0
    cuda.fail(call, OUT_OF_MEMORY, after)
    for _ in range(3):
        try:
            found = pair.gpu.detect(image, **OPTIONS)
        except EngineError:
            num_errors += 1
        else:
            assert_same(found, expected)
    assert num_errors == 1
    assert cuda.usage().device_bytes - used < 8192 * 40  # the boxes alone of a joined map


def test_joined_maps_refuse_parts_outside(cuda: FakeCuda) -> None:
    runner = make_pair(cuda).gpu._runner
    assert isinstance(runner, GpuRunner)
    joined = runner._pipeline.join((64, 96))
    assert joined is not None
    tile = [(np.zeros((64, 64, 3), np.uint8), (64, 64))]
    for part in ((0, 0, 64, 65, 0, 0), (0, 0, 64, 64, 0, 33), (0, 0, 0, 64, 0, 0)):
        with pytest.raises(ValueError, match="within its tile"):
            runner._pipeline.submit_tiles(tile, (64, 64), joined, [part], [])
    with pytest.raises(ValueError, match="one part"):
        runner._pipeline.submit_tiles(tile, (64, 64), joined, [], [])
    assert runner._pipeline.join((64, 8193)) is None


def test_nv12_in_tiles(cuda: FakeCuda, rng: np.random.Generator) -> None:
    pair = make_pair(cuda)
    frame = nv12_photo(120, 230, rng)
    untiled = pair.gpu.detect(Nv12Frame(frame), tiles="off", size=SizePolicy(120), prob_map=True)
    luma, chroma = frame[:120], frame[120:]
    for source in (Nv12Frame(frame), Nv12Frame(OnDevice(luma), OnDevice(chroma))):
        found = pair.gpu.detect(source, prob_map=True, **OPTIONS)
        assert found.prob_map is not None
        assert untiled.prob_map is not None
        np.testing.assert_allclose(found.prob_map, untiled.prob_map, atol=1e-6)
