# SPDX-License-Identifier: Apache-2.0
"""The kernels, compiled for the emulator once a test run."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-O2", "-g", "-fPIC", "-shared", "-ffp-contract=off", "-DDBNET_EMULATOR"]


class DeviceMaps(ctypes.Structure):
    """struct DeviceMaps of kernels/components.hpp."""

    _fields_ = (
        ("values", ctypes.c_void_p),
        ("is_half", ctypes.c_bool),
        ("sizes", ctypes.c_void_p),
        ("num_maps", ctypes.c_int),
        ("height", ctypes.c_int),
        ("width", ctypes.c_int),
    )


Sizes = Sequence[tuple[int, int]]


def device_maps(maps: np.ndarray, sizes: np.ndarray) -> DeviceMaps:
    """(B, h, w) float32 or float16 maps, and (B, 2) int32 sizes; both must outlive the result."""
    return DeviceMaps(maps.ctypes.data, maps.dtype == np.float16, sizes.ctypes.data, *maps.shape)


def size_array(maps: np.ndarray, sizes: Sizes | None) -> np.ndarray:
    """(B, 2) int32; the whole maps where `sizes` is None."""
    return np.array([maps.shape[1:]] * len(maps) if sizes is None else sizes, np.int32)


@dataclass(frozen=True)
class Components:
    """What the labelling kernels found in a batch of maps."""

    labels: np.ndarray  # (B, h, w) uint32: 1 + first pixel of the component, 0 elsewhere
    firsts: list[np.ndarray]  # for each map, sorted: y * w + x of the first pixel of each component
    overflow: list[int]  # flags


class Emulator:
    """The compiled kernels and the machine that runs them."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        for name in ("emulator_first_race", "run_fault", "run_preprocess", "run_components"):
            getattr(self._library, name).restype = ctypes.c_char_p

    def configure(
        self,
        seed: int = 0,
        resident_blocks: int = 1,
        yield_one_in: int = 0,
        check_races: bool = False,
    ) -> None:
        """How the next kernels run; seed 0 runs threads in order."""
        self._library.emulator_configure(
            ctypes.c_ulonglong(seed), resident_blocks, yield_one_in, int(check_races)
        )

    @property
    def first_race(self) -> str:
        """The first race found since `configure`, or ""."""
        return self._library.emulator_first_race().decode()

    def fault(self, name: str) -> int:
        """Run one of the kernels of faults.hpp; its result. Raises RuntimeError."""
        out = ctypes.c_uint(0)
        self.check(self._library.run_fault(name.encode(), ctypes.byref(out)))
        return out.value

    def preprocess(
        self,
        image: np.ndarray,
        sizes: tuple[tuple[int, int], tuple[int, int]],
        scale: np.ndarray,
        bias: np.ndarray,
        swap_red_blue: bool = False,
        dtype: type = np.float32,
        chroma: np.ndarray | None = None,
    ) -> np.ndarray:
        """(3, h, w) of the preprocess kernel for sizes (resized, padded)."""
        resized, padded = sizes
        out: np.ndarray = np.full((3, *padded), np.nan, dtype)
        status = self._library.run_preprocess(
            ctypes.c_void_p(image.ctypes.data),
            ctypes.c_void_p(chroma.ctypes.data if chroma is not None else 0),
            image.strides[0],
            chroma.strides[0] if chroma is not None else 0,
            *image.shape[:2],
            *resized,
            *padded,
            ctypes.c_void_p(scale.ctypes.data),
            ctypes.c_void_p(bias.ctypes.data),
            int(swap_red_blue),
            int(dtype is np.float16),
            ctypes.c_void_p(out.ctypes.data),
        )
        self.check(status)
        return out

    def components(
        self,
        maps: np.ndarray,
        sizes: Sizes | None = None,
        threshold: float = 0.3,
        min_area: float = 0,
        max_roots: int = 20_000,
    ) -> Components:
        """Components of (B, h, w) maps."""
        num_maps = len(maps)
        labels: np.ndarray = np.full(maps.shape, 0xFFFFFFFF, np.uint32)
        roots: np.ndarray = np.zeros((num_maps, max_roots), np.uint32)
        counters: np.ndarray = np.zeros((num_maps, 4), np.uint32)
        size_of_maps = size_array(maps, sizes)
        status = self._library.run_components(
            ctypes.byref(device_maps(maps, size_of_maps)),
            ctypes.c_float(threshold),
            ctypes.c_float(min_area),
            max_roots,
            *(ctypes.c_void_p(array.ctypes.data) for array in (labels, roots, counters)),
        )
        self.check(status)
        firsts = [np.sort(row[:num]) for row, num in zip(roots, counters[:, 0], strict=True)]
        return Components(labels, firsts, counters[:, 3].tolist())

    @staticmethod
    def check(message: bytes) -> None:
        """Raise what went wrong."""
        if message:
            raise RuntimeError(message.decode())


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    library = tmp_path_factory.mktemp("emulator") / "kernels.so"
    compiler = os.environ.get("CXX", "g++")
    sources = [ROOT / "tests" / "emulator" / "library.cpp", *sorted(ROOT.glob("kernels/*.cu"))]
    command = [compiler, *FLAGS, f"-I{ROOT}", "-o", str(library), "-x", "c++", *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Emulator(library)


@pytest.fixture
def emulator(compiled: Emulator) -> Iterator[Emulator]:
    compiled.configure()
    yield compiled
    compiled.configure()
