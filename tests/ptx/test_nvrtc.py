# SPDX-License-Identifier: Apache-2.0
"""Kernels compile for a GPU that current nvcc no longer supports, and to the same PTX for all."""

import pytest

from ptx.nvrtc import ROOT, SOURCES, compile_kernels, compile_source

KERNELS = [
    ("boxes", ["boxes_kernel", "scores_kernel", "ranking_kernel"]),
    ("components", ["tile_kernel", "border_kernel", "resolve_kernel", "labels_kernel"]),
    ("preprocess", ["preprocess_kernel"]),
]


@pytest.mark.parametrize(("name", "kernels"), KERNELS)
def test_kernels_compile_for_sm_61(name: str, kernels: list[str]) -> None:
    code, log = compile_source("sm_61", (ROOT / "kernels" / f"{name}.cu").read_text())
    assert code, log
    for kernel in kernels:
        assert kernel.encode() in code


def test_every_source_is_compiled() -> None:
    assert {name for name, _ in KERNELS} == {path.stem for path in ROOT.glob("kernels/*.cu")}
    assert {name for name, _ in KERNELS} == set(SOURCES)


def test_errors_are_seen() -> None:
    code, log = compile_source("sm_61", "__global__ void broken() { __nanosleep(1); }")
    assert not code
    assert "__nanosleep" in log


@pytest.mark.parametrize("architecture", ["compute_61", "compute_90"])
def test_ptx_is_the_same_for_every_gpu(architecture: str) -> None:
    """The tests run PTX for compute_75; if this fails, let `ptx_kernels` run the others as well."""
    expected, texts = compile_kernels("compute_75"), compile_kernels(architecture)
    for name, text in texts.items():
        target = f".target {architecture.replace('compute', 'sm')}"
        assert text.replace(target, ".target sm_75", 1) == expected[name]
