# SPDX-License-Identifier: Apache-2.0
"""Tests of kernels run twice: on the sources, and on the PTX that NVRTC makes of them."""

import pytest

# Tests of the pipeline are about the host's code: on PTX they would take minutes.
TWICE = {"test_boxes_kernel", "test_components_kernel", "test_preprocess_kernel"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = metafunc.module.__name__.rpartition(".")[2]
    if "code" in metafunc.fixturenames and name in TWICE:
        metafunc.parametrize("code", ["source", "ptx"], indirect=True)
