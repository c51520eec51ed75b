# SPDX-License-Identifier: Apache-2.0
"""Whether a GPU can be used, and if not, why."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ._core import cuda_status

OLDEST_DRIVERS = {11: "450", 12: "525", 13: "580"}
"""Oldest driver for each major version of CUDA. Source: NVIDIA's CUDA Compatibility."""

BUILD = "pip install --force-reinstall --no-deps --no-cache-dir ."
"""Command that builds this package again, in its checkout."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU that the driver shows to this process."""

    name: str
    compute_capability: tuple[int, int]
    num_bytes: int

    def __str__(self) -> str:
        major, minor = self.compute_capability
        return f"{self.name} (sm_{major}{minor}, {self.num_bytes / 2**30:.0f} GiB)"


@dataclass(frozen=True, slots=True)
class CudaStatus:
    """What this build and this machine have of CUDA."""

    architectures: tuple[str, ...]
    """Architectures in the build, as CMake has them: "75-real" runs on GPUs of 7.5 and up to the
    next whole number, "75-virtual" is compiled by the driver for any GPU since, "75" is both."""

    runtime: tuple[int, int] | None
    """Version of CUDA that the build is of; None if it has no CUDA code."""

    driver: tuple[int, int] | None
    """Latest version of CUDA that the driver runs; None without a driver or in a build without
    CUDA code."""

    gpus: tuple[Gpu, ...]
    """GPUs that the driver shows."""

    failure: str = ""
    """Why the driver shows none, in its words."""

    def has_code_for(self, gpu: Gpu) -> bool:
        """Whether the build has code for a GPU."""
        return any(_runs(each, gpu.compute_capability) for each in self.architectures)

    @property
    def problem(self) -> str:
        """Why no GPU can be used, with the remedy; "" if one can."""
        if self.runtime is None:
            return (
                "this build of dbnet_trt has no CUDA code; install the CUDA toolkit (nvcc) and "
                f"build it again: DBNET_TRT_CUDA=ON {BUILD}"
            )
        if self.driver is None:
            return "there is no NVIDIA driver here; install it (then `nvidia-smi` lists the GPUs)"
        if self.driver[0] < self.runtime[0]:
            oldest = OLDEST_DRIVERS.get(self.runtime[0])
            return (
                f"the driver runs CUDA {_dotted(self.driver)} and older, this build is of "
                f"{_dotted(self.runtime)}; install a newer driver"
                f"{f' ({oldest} or later)' if oldest else ''}, or build dbnet_trt with the toolkit "
                f"of CUDA {self.driver[0]}"
            )
        if not self.gpus:
            return f"the driver shows no GPU ({self.failure or 'none'}); {_why_hidden()}"
        if not any(map(self.has_code_for, self.gpus)):
            return (
                f"this build has code for {', '.join(self.architectures)}, and none for "
                f"{', '.join(map(str, self.gpus))}; build it here: CUDAARCHS=native {BUILD}"
            )
        return ""


def read_cuda_status() -> CudaStatus:
    """Look at the build and the machine. No GPU's memory is used."""
    architectures, runtime, driver, failure, devices = cuda_status()
    return CudaStatus(
        tuple(architectures.split(",")) if architectures else (),
        _version(runtime),
        _version(driver),
        tuple(Gpu(name, (major, minor), size) for name, major, minor, size in devices),
        failure,
    )


def cuda_available() -> bool:
    """Whether a GPU can be used: build, driver and GPU fit together. `dbnet doctor` says why not.

    Never raises, and takes no memory of a GPU.
    """
    return not read_cuda_status().problem


def gpus_of_machine() -> list[str]:
    """List the names of the machine's NVIDIA GPUs, whether or not they can be used.

    They come from the driver's files, on Linux only; the driver itself is not started, as a process
    that forks afterwards could not use it.
    """
    if sys.platform != "linux":
        return []
    names = []
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        try:
            found = re.search(r"^Model:\s*(.+?)\s*$", file.read_text(), re.MULTILINE)
        except OSError:
            continue
        names.append(found[1] if found else "NVIDIA GPU")
    return names


def _runs(architecture: str, capability: tuple[int, int]) -> bool:
    """Whether code of an architecture, as in "86-real", runs on a GPU."""
    found = re.fullmatch(r"(\d+)(\d)[af]?(-real|-virtual)?", architecture)
    if found is None:  # "native", "all": CMake's names for several
        return True
    major, minor = int(found[1]), int(found[2])
    by_driver = found[3] != "-real" and (major, minor) <= capability
    return by_driver or (
        found[3] != "-virtual" and major == capability[0] and minor <= capability[1]
    )


def _why_hidden() -> str:
    """Say what may hide the machine's GPUs from this process."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"CUDA_VISIBLE_DEVICES is {visible!r}: unset it, or name a GPU"
    if gpus_of_machine() and not Path("/dev/nvidia0").exists():
        return "the machine has one: give it to the container (docker run --gpus all)"
    return "`nvidia-smi` lists those that the driver knows"


def _version(number: int) -> tuple[int, int] | None:
    return (number // 1000, number % 1000 // 10) if number else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
