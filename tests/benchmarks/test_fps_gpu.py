# SPDX-License-Identifier: Apache-2.0
"""benchmarks/fps.py on a GPU, with a fake CUDA runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt import Detector
from dbnet_trt.settings import GpuConfig
from fakes.cuda import FakeCuda
from fakes.engines import photo
from fakes.pairs import GreenOnGpu, OnDevice, Pair

# Last in the path, as `kernels` is a package of the tests.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import stages


def test_ways_through_the_gpu(cuda: FakeCuda, pair: Pair, rng: np.random.Generator) -> None:
    image = photo(64, 96, rng)
    plain = Detector(GreenOnGpu(cuda), gpu=GpuConfig(cuda_graphs=False))
    row = stages.gpu_stages(pair.gpu, plain, image, 1, OnDevice)
    assert row["texts"] == len(pair.cpu.detect(image)) > 0
    assert {"detect", "copy up", "video", "batch 8"} <= set(row["ms"])
    assert stages.gpu_table({"photo": row}).row_count == len(row["ms"])


def test_other_text_is_not_timed(cuda: FakeCuda, pair: Pair, rng: np.random.Generator) -> None:
    deaf = Detector(GreenOnGpu(cuda), score_threshold=1.0)
    with pytest.raises(SystemExit, match="plain launches"):
        stages.gpu_stages(pair.gpu, deaf, photo(64, 96, rng), 1, OnDevice)
