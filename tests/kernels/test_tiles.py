# SPDX-License-Identifier: Apache-2.0
"""Tiles on the GPU, with the real kernels on a fake CUDA runtime: the same as on the CPU."""

from typing import Any

import numpy as np
import pytest
from dbnet_trt import Nv12Frame, SizePolicy, Tiles
from fakes.cuda import FakeCuda
from fakes.engines import assert_same, nv12_photo, photo
from fakes.pairs import OnDevice, make_pair

OPTIONS: dict[str, Any] = {"tiles": Tiles(96, 32, batch_size=3), "size": SizePolicy(120)}


@pytest.mark.parametrize("is_half", [False, True])
@pytest.mark.parametrize("polygons", [False, True])
def test_tiles_give_what_the_cpu_gives(
    cuda: FakeCuda, is_half: bool, polygons: bool, rng: np.random.Generator
) -> None:
    pair = make_pair(cuda, is_half=is_half)
    image = photo(120, 230, rng)
    expected = pair.cpu.detect(image, polygons=polygons, prob_map=True, **OPTIONS)
    assert len(expected) > 3
    for source in (image, OnDevice(image)):
        found = pair.gpu.detect(source, polygons=polygons, prob_map=True, **OPTIONS)
        assert_same(found, expected)
    assert pair.gpu.gpu_usage.num_shapes == 1
    assert pair.gpu.gpu_usage.num_graphs == 1
    if polygons:
        return
    assert_same(
        pair.gpu.detect_batch([image, image], **OPTIONS)[1], pair.cpu.detect(image, **OPTIONS)
    )


def test_nv12_in_tiles(cuda: FakeCuda, rng: np.random.Generator) -> None:
    pair = make_pair(cuda)
    frame = nv12_photo(120, 230, rng)
    untiled = pair.gpu.detect(Nv12Frame(frame), tiles="off", size=SizePolicy(120), prob_map=True)
    luma, chroma = frame[:120], frame[120:]
    for source in (Nv12Frame(frame), Nv12Frame(OnDevice(luma), OnDevice(chroma))):
        found = pair.gpu.detect(source, prob_map=True, **OPTIONS)
        assert found.prob_map is not None
        assert untiled.prob_map is not None
        np.testing.assert_allclose(found.prob_map, untiled.prob_map, atol=0.5 / 255 + 1e-6)
