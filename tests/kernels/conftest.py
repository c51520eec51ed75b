# SPDX-License-Identifier: Apache-2.0
"""Tests of kernels run twice: on the sources, and on the PTX that NVRTC makes of them."""

import pytest

ONCE = {"test_emulator", "test_pipeline_failures"}  # have little or nothing to do with the kernels


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    if "code" in metafunc.fixturenames and name not in ONCE:
        metafunc.parametrize("code", ["source", "ptx"], indirect=True)
