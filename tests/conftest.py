# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all test modules: a separate cache folder, a seeded generator, real photos if
there are any."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import cuda_available
from dbnet_trt.building import build
from dbnet_trt.gpu_status import CudaStatus
from fakes.emulator import code, compiled, cuda, emulator, fake_cuda, pair
from ptx.compiled import ptx_kernels

__all__ = ["code", "compiled", "cuda", "emulator", "fake_cuda", "pair", "ptx_kernels"]  # fixtures


@pytest.fixture(autouse=True)
def _skip_without_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu") and not cuda_available():
        pytest.skip("no CUDA device, or a build without CUDA")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a temporary cache folder instead of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20261121)


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "read_cuda_status", lambda: CudaStatus((), None, None, ()))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real photos beside a development checkout; without it the test is skipped."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside this checkout")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs in the emulator as slow: compiling it alone takes a minute."""
    for item in items:
        if "fake_cuda" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tensorrt-bindings",
        help="folder of TensorRT's bindings, see tests/engines/test_tensorrt_api.py",
    )
