# SPDX-License-Identifier: Apache-2.0
"""Why a GPU cannot be used."""

from pathlib import Path

import pytest
from dbnet_trt import gpu_status, opening
from dbnet_trt.gpu_status import CudaStatus, Gpu

GPU = Gpu("GeForce", (8, 9), 24 << 30)


def status(
    architectures: str = "75-virtual,89-real",
    runtime: tuple[int, int] | None = (12, 9),
    driver: tuple[int, int] | None = (13, 0),
    gpus: tuple[Gpu, ...] = (GPU,),
    failure: str = "",
) -> CudaStatus:
    return CudaStatus(tuple(architectures.split(",")), runtime, driver, gpus, failure)


def test_nothing_is_wrong() -> None:
    assert status().problem == ""


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (status(runtime=None, driver=None, gpus=()), r"no CUDA code; .*DBNET_TRT_CUDA=ON pip"),
        (status(driver=None, gpus=()), "no NVIDIA driver here; install it"),
        (
            status(runtime=(13, 0), driver=(12, 2)),
            r"runs CUDA 12\.2 and older, this build is of 13\.0; install a newer driver \(580 or "
            r"later\), or build dbnet_trt with the toolkit of CUDA 12",
        ),
        (status(gpus=(), failure="no CUDA-capable device is detected"), "shows no GPU .no CUDA-ca"),
        (
            status("90-real"),
            r"has code for 90-real, and none for GeForce \(sm_89, 24 GiB\); .*CUDAARCHS=native",
        ),
    ],
)
def test_problems_say_what_to_do(found: CudaStatus, message: str) -> None:
    import re

    assert re.search(message, found.problem)


@pytest.mark.parametrize(
    ("architecture", "capability", "runs"),
    [
        ("89-real", (8, 9), True),
        ("80-real", (8, 9), True),  # of the same major version
        ("90-real", (8, 9), False),
        ("75-real", (8, 9), False),
        ("75-virtual", (8, 9), True),
        ("75-virtual", (7, 0), False),
        ("120", (12, 1), True),
        ("120", (13, 0), True),
        ("90a-real", (9, 0), True),
        ("61-real", (6, 1), True),
        ("61-virtual", (10, 0), True),
        ("native", (8, 9), True),  # what it was is not known
    ],
)
def test_code_for_a_gpu(architecture: str, capability: tuple[int, int], runs: bool) -> None:
    assert status(architecture).has_code_for(Gpu("GPU", capability, 1)) is runs


def test_devices_hidden_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in status(gpus=()).problem


def test_container_without_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu_status, "gpus_of_machine", lambda: ["NVIDIA L4"])
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert "docker run --gpus all" in status(gpus=()).problem


def test_auto_mentions_a_gpu_that_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(opening, "gpus_of_machine", lambda: ["NVIDIA L4"])
    opening._mention_gpu.cache_clear()
    for _ in range(2):
        opening.open_model("dbnet-lines", "auto", None, None)
    opening.open_model("dbnet-lines", "cpu", None, None)
    opening._mention_gpu.cache_clear()
    (message,) = [each.getMessage() for each in caplog.records if "NVIDIA L4" in each.getMessage()]
    assert "ONNX files run on the CPU" in message
    assert "dbnet-build" in message
