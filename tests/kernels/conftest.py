# SPDX-License-Identifier: Apache-2.0
"""The kernels, compiled for the emulator once a test run."""

from __future__ import annotations

import concurrent.futures
import ctypes
import gc
import os
import shlex
import subprocess
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pybind11
import pytest
from dbnet_trt import gpu

from kernels.fake_cuda import FakeCuda
from kernels.pairs import Pair, make_pair

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-fPIC", "-ffp-contract=off", "-DDBNET_EMULATOR"]
CORE = [
    "pipeline",
    "frame",
    "kernel_calls",
    "postprocess",
    "components",
    "geometry",
]  # of csrc, for the pipeline


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


class BoxParams(ctypes.Structure):
    """struct BoxParams of kernels/boxes.hpp."""

    _fields_ = (
        ("map_threshold", ctypes.c_float),
        ("min_area", ctypes.c_float),
        ("score_threshold", ctypes.c_float),
        ("unclip_ratio", ctypes.c_float),
        ("min_side", ctypes.c_float),
        ("max_boxes", ctypes.c_int),
        ("logits", ctypes.c_bool),
    )


class FoundBoxes(ctypes.Structure):
    """struct FoundBoxes of kernels/boxes.hpp."""

    _fields_ = (
        ("counts", ctypes.c_void_p),
        ("boxes", ctypes.c_void_p),
        ("capacity", ctypes.c_int),
    )


TEXT_BOX = np.dtype([("quad", np.float32, (4, 2)), ("score", np.float32), ("label", np.uint32)])


@dataclass(frozen=True)
class Boxes:
    """What the kernels found in a batch of maps."""

    found: list[np.ndarray]  # for each map, (N,) TEXT_BOX
    num_dropped: list[int]
    labels: np.ndarray  # (B, h, w) uint32


class BoxFinder:
    """find_boxes for maps of one shape, with the device memory that it keeps between calls."""

    def __init__(self, library: ctypes.CDLL, shape: tuple[int, int, int]) -> None:
        self._library = library
        self._shape = shape
        num_bytes = library.box_workspace_bytes(*shape)
        memory: np.ndarray = np.zeros(num_bytes + 1024, np.uint8)
        start = 256 + -memory.ctypes.data % 256
        self._workspace = memory[start : start + num_bytes]
        self._around = (memory[:start], memory[start + num_bytes :])

    def __call__(
        self,
        maps: np.ndarray,
        params: BoxParams,
        sizes: Sizes | None = None,
        image_sizes: Sizes | None = None,
    ) -> Boxes:
        """Boxes of (B, h, w) maps; in pixels of the map where `image_sizes` is None."""
        assert maps.shape == self._shape
        size_of_maps = size_array(maps, sizes)
        size_of_images = size_of_maps if image_sizes is None else size_array(maps, image_sizes)
        counts: np.ndarray = np.full((len(maps), 2), 0xFFFFFFFF, np.uint32)
        boxes: np.ndarray = np.zeros((len(maps), params.max_boxes), TEXT_BOX)
        labels: np.ndarray = np.full(maps.shape, 0xFFFFFFFF, np.uint32)
        out = FoundBoxes(counts.ctypes.data, boxes.ctypes.data, params.max_boxes)
        status = self._library.run_boxes(
            ctypes.byref(device_maps(maps, size_of_maps)),
            ctypes.c_void_p(size_of_images.ctypes.data),
            ctypes.byref(params),
            ctypes.c_void_p(self._workspace.ctypes.data),
            ctypes.byref(out),
            ctypes.c_void_p(labels.ctypes.data),
        )
        Emulator.check(status)
        assert not any(guard.any() for guard in self._around)
        found = [row[:num] for row, num in zip(boxes, counts[:, 0], strict=True)]
        return Boxes(found, counts[:, 1].tolist(), labels)


class Emulator:
    """The compiled kernels and the machine that runs them."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self._library = ctypes.CDLL(str(library))
        for name in (
            "emulator_first_race",
            "run_fault",
            "run_preprocess",
            "run_components",
            "run_boxes",
        ):
            getattr(self._library, name).restype = ctypes.c_char_p
        self._library.box_workspace_bytes.restype = ctypes.c_size_t

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
    ) -> Components:
        """Components of (B, h, w) maps."""
        labels: np.ndarray = np.full(maps.shape, 0xFFFFFFFF, np.uint32)
        firsts: np.ndarray = np.zeros((len(maps), maps[0].size), np.uint32)
        num_firsts: np.ndarray = np.zeros(len(maps), np.uint32)
        size_of_maps = size_array(maps, sizes)
        status = self._library.run_components(
            ctypes.byref(device_maps(maps, size_of_maps)),
            ctypes.c_float(threshold),
            ctypes.c_float(min_area),
            *(ctypes.c_void_p(array.ctypes.data) for array in (labels, firsts, num_firsts)),
        )
        self.check(status)
        found = [np.sort(row[:num]) for row, num in zip(firsts, num_firsts, strict=True)]
        return Components(labels, found)

    def box_finder(self, shape: tuple[int, int, int]) -> BoxFinder:
        """For maps of shape (B, h, w)."""
        return BoxFinder(self._library, shape)

    @staticmethod
    def check(message: bytes) -> None:
        """Raise what went wrong."""
        if message:
            raise RuntimeError(message.decode())


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    library = tmp_path_factory.mktemp("emulator") / "kernels.so"
    sources = [*ROOT.glob("tests/emulator/*.cpp"), *ROOT.glob("kernels/*.cu")]
    sources += [ROOT / "csrc" / f"{name}.cpp" for name in CORE]
    sources.sort(key=lambda path: path.stem != "module")  # the slow one first
    objects = [library.with_name(f"{source.name}.o") for source in sources]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_source, sources, objects))
    run_compiler(["-shared", *map(str, objects), "-o", str(library)])
    return Emulator(library)


def compile_source(source: Path, target: Path) -> None:
    includes = [ROOT, sysconfig.get_path("include"), pybind11.get_include()]
    flags = [f"-I{folder}" for folder in includes]
    flags += ["-O2", "-g"] if source.suffix == ".cu" else ["-O1"]
    run_compiler([*flags, "-x", "c++", "-c", str(source), "-o", str(target)])


def run_compiler(arguments: list[str]) -> None:
    compiler = shlex.split(os.environ.get("CXX", "g++"))
    done = subprocess.run(
        [*compiler, *FLAGS, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def fake_cuda(compiled: Emulator) -> FakeCuda:
    return FakeCuda(compiled.library)


@pytest.fixture
def cuda(
    fake_cuda: FakeCuda, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeCuda]:
    """The package with the fake runtime behind it."""
    monkeypatch.setattr(gpu, "_core", fake_cuda.core)
    fake_cuda.configure()
    yield fake_cuda
    fake_cuda.configure()
    gc.collect()  # detectors that an expected error's traceback keeps


@pytest.fixture
def emulator(compiled: Emulator) -> Iterator[Emulator]:
    compiled.configure()
    yield compiled
    compiled.configure()


@pytest.fixture
def pair(cuda: FakeCuda) -> Pair:
    return make_pair(cuda)
