# SPDX-License-Identifier: Apache-2.0
"""Kernels compiled for the emulator, once per test run, and their fixtures."""

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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from dbnet_trt import settings
from dbnet_trt._core import PostprocessParams
from dbnet_trt.images.nv12 import BT601_LIMITED, NO_COLORS, Colors
from dbnet_trt.pipeline import gpu
from dbnet_trt.pipeline.postprocess import core_params

from fakes.cuda import FakeCuda

from .pairs import Pair, make_pair

if TYPE_CHECKING:
    from ptx.compiled import CompiledKernels

ROOT = Path(__file__).parents[2]
FLAGS = ["-std=c++20", "-fPIC", "-ffp-contract=off", "-DDBNET_EMULATOR"]
CORE = [
    "pipeline",
    "batch",
    "kernel_calls",
    "device",
    "frame_memory",
    "cuda_status",
    "postprocess",
    "components",
    "geometry",
]  # sources of csrc that the pipeline needs


NO_STREAM = 0  # kernels run immediately

Sizes = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Components:
    """Results of the labelling kernels for a batch of maps."""

    labels: np.ndarray  # (B, h, w) uint32: 1 + first pixel of the component, 0 elsewhere
    firsts: list[np.ndarray]  # for each map, sorted: y * w + x of the first pixel of each component


@dataclass(frozen=True)
class Boxes:
    """Results of the box kernels for a batch of maps."""

    found: list[np.ndarray]  # for each map, (N,) of kernels.TEXT_BOX
    num_dropped: list[int]
    labels: np.ndarray  # (B, h, w) uint32


class BoxFinder:
    """Caller of find_boxes for maps of one shape, with device memory that is kept between calls."""

    def __init__(self, core: Any, shape: tuple[int, int, int]) -> None:
        self._core = core
        self._shape = shape
        self._workspace = device_memory(core.kernels.workspace_bytes(shape))

    def __call__(
        self,
        maps: np.ndarray,
        params: PostprocessParams,
        sizes: Sizes | None = None,
        image_sizes: Sizes | None = None,
        label: bool = True,
    ) -> Boxes:
        """Find boxes in (B, h, w) maps; they are in pixels of the map if `image_sizes` is None.

        Labelling takes longer than all else in the emulator; without it labels are 0xFFFFFFFF.
        """
        assert maps.shape == self._shape
        values = device_memory(maps.nbytes)
        values.inside[:] = maps.reshape(-1).view(np.uint8)
        sizes = [self._shape[1:]] * len(maps) if sizes is None else sizes
        kernels = self._core.kernels
        images = [
            ((0, 0, 0, 0, *image, NO_COLORS), size)
            for image, size in zip(image_sizes or sizes, sizes, strict=True)
        ]
        upload = write_upload(self._core, images, params)
        capacity = params.max_candidates
        counts: np.ndarray = np.full((len(maps), 2), 0xFFFFFFFF, np.uint32)
        boxes: np.ndarray = np.zeros((len(maps), capacity), kernels.TEXT_BOX)
        labels: np.ndarray = np.full(maps.shape, 0xFFFFFFFF, np.uint32)
        batch = (values.inside.ctypes.data, maps.dtype == np.float16, upload.map_sizes, maps.shape)
        workspace = self._workspace.inside.ctypes.data
        kernels.find_boxes(
            batch,
            upload.image_sizes,
            upload.params,
            workspace,
            counts.ctypes.data,
            boxes.ctypes.data,
            capacity,
            NO_STREAM,
        )
        if label:
            kernels.write_labels(batch, workspace, labels.ctypes.data, NO_STREAM)
        assert not any(guard.any() for guard in self._workspace.around)
        found = [row[:num] for row, num in zip(boxes, counts[:, 0], strict=True)]
        return Boxes(found, counts[:, 1].tolist(), labels)


class DeviceMemory(NamedTuple):
    """Memory as from cudaMalloc, uninitialised, and the zeros around it."""

    inside: np.ndarray
    around: tuple[np.ndarray, np.ndarray]


def device_memory(num_bytes: int) -> DeviceMemory:
    memory: np.ndarray = np.zeros(num_bytes + 1024, np.uint8)
    start = 256 + -memory.ctypes.data % 256
    inside = memory[start : start + num_bytes]
    inside[:] = 0xA5
    return DeviceMemory(inside, (memory[:start], memory[start + num_bytes :]))


class Upload(NamedTuple):
    """Parameters that the kernels read: addresses in `memory`."""

    memory: np.ndarray
    params: int
    images: int
    map_sizes: int
    image_sizes: int


def write_upload(core: Any, images: Sequence[Any], params: PostprocessParams) -> Upload:
    """Write the parameters as the pipeline does, for images and their sizes in the network."""
    own = core.PostprocessParams(
        binary_threshold=params.binary_threshold,
        score_threshold=params.score_threshold,
        unclip_ratio=params.unclip_ratio,
        max_candidates=params.max_candidates,
        min_side=params.min_side,
        logits=params.logits,
    )
    memory = np.zeros(core.kernels.upload_bytes(images) + 256, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % 256
    return Upload(memory, *core.kernels.write_upload(images, own, start, start))


class LaunchCounts(NamedTuple):
    """What a launch of a compiled kernel did.

    A warp counts as its busiest lane, from one barrier to the next; a block as its busiest warp.
    """

    kernel: str
    instructions: int  # of all warps
    global_accesses: int
    block_instructions: int  # of the longest block
    block_accesses: int


class Emulator:
    """Compiled kernels and the emulated machine that runs them."""

    def __init__(self, cuda: FakeCuda) -> None:
        self._core = cuda.core
        self._library = ctypes.CDLL(str(cuda.library))
        for name in (
            "emulator_counts",
            "emulator_first_race",
            "run_fault",
            "run_compiled",
            "run_components",
        ):
            getattr(self._library, name).restype = ctypes.c_char_p

    def use(self, kernels: CompiledKernels | None) -> None:
        """Run kernels as a compiler made them, or their sources."""
        self._library.emulator_use(ctypes.c_void_p(kernels.table if kernels else None))

    def run_compiled(
        self, name: str, *arguments: np.ndarray, blocks: int = 1, threads: int
    ) -> None:
        """Run one of the kernels in use with addresses of arrays as its arguments."""
        values = [ctypes.c_void_p(each.ctypes.data) for each in arguments]
        pointers = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
        self.check(
            self._library.run_compiled(name.encode(), blocks, threads, pointers, len(values))
        )

    def configure(
        self,
        seed: int = 0,
        resident_blocks: int = 1,
        yield_one_in: int = 0,
        check_races: bool = False,
    ) -> None:
        """Set how the next kernels run; seed 0 runs threads in order."""
        self._library.emulator_configure(
            ctypes.c_ulonglong(seed), resident_blocks, yield_one_in, int(check_races)
        )

    @property
    def first_race(self) -> str:
        """Return the first race found since `configure`, or ""."""
        return self._library.emulator_first_race().decode()

    def counts(self) -> list[LaunchCounts]:
        """Return what the launches of compiled kernels did since `use`."""
        values = (ctypes.c_uint64 * 4)()
        launches: list[LaunchCounts] = []
        while name := self._library.emulator_counts(len(launches), values):
            launches.append(LaunchCounts(name.decode(), *values))
        return launches

    def fault(self, name: str) -> int:
        """Run one of the kernels of faults.hpp, and return its result.

        Raises:
            RuntimeError: The emulator found an error.
        """
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
        colors: Colors = BT601_LIMITED,
    ) -> np.ndarray:
        """Run the preprocess kernel for sizes (resized, padded); returns (3, h, w)."""
        resized, padded = sizes
        address = (
            image.ctypes.data,
            image.strides[0],
            chroma.ctypes.data if chroma is not None else 0,
            chroma.strides[0] if chroma is not None else 0,
            *image.shape[:2],
            colors,
        )
        params = core_params(settings.PostprocessParams(), logits=False)  # not read by the kernel
        upload = write_upload(self._core, [(address, resized)], params)
        out: np.ndarray = np.full((3, *padded), np.nan, dtype)
        self._core.kernels.preprocess(
            upload.images,
            (1, *padded),
            scale.tolist(),
            bias.tolist(),
            swap_red_blue,
            dtype is np.float16,
            out.ctypes.data,
            NO_STREAM,
        )
        return out

    def components(
        self,
        maps: np.ndarray,
        sizes: Sizes | None = None,
        threshold: float = 0.3,
        min_area: float = 0,
    ) -> Components:
        """Find the components of (B, h, w) maps."""
        labels: np.ndarray = np.full(maps.shape, 0xFFFFFFFF, np.uint32)
        firsts: np.ndarray = np.zeros((len(maps), maps[0].size), np.uint32)
        num_firsts: np.ndarray = np.zeros(len(maps), np.uint32)
        size_of_maps = np.array([maps.shape[1:]] * len(maps) if sizes is None else sizes, np.int32)
        status = self._library.run_components(
            ctypes.c_void_p(maps.ctypes.data),
            int(maps.dtype == np.float16),
            ctypes.c_void_p(size_of_maps.ctypes.data),
            *maps.shape,
            ctypes.c_float(threshold),
            ctypes.c_float(min_area),
            *(ctypes.c_void_p(array.ctypes.data) for array in (labels, firsts, num_firsts)),
        )
        self.check(status)
        found = [np.sort(row[:num]) for row, num in zip(firsts, num_firsts, strict=True)]
        return Components(labels, found)

    def box_finder(self, shape: tuple[int, int, int]) -> BoxFinder:
        """Make a `BoxFinder` for maps of shape (B, h, w)."""
        return BoxFinder(self._core, shape)

    @staticmethod
    def check(message: bytes) -> None:
        """Raise an error or a race of the emulator."""
        if message:
            raise RuntimeError(message.decode())


@pytest.fixture(scope="session")
def fake_cuda(tmp_path_factory: pytest.TempPathFactory) -> FakeCuda:
    return build_emulator(tmp_path_factory.mktemp("emulator") / "kernels.so")


def build_emulator(library: Path) -> FakeCuda:
    """Compile kernels, pipeline and fake runtime."""
    sources = [*ROOT.glob("tests/emulator/*.cpp"), *ROOT.glob("kernels/*.cu")]
    sources += [ROOT / "csrc" / f"{name}.cpp" for name in CORE]
    sources.sort(key=lambda path: path.stem != "module")  # the slowest file first
    build_library(sources, library)
    return FakeCuda(library)


def build_library(sources: Sequence[Path], library: Path) -> None:
    """Compile C++ sources to a shared library, beside their objects."""
    objects = [library.with_name(f"{source.name}.o") for source in sources]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_source, sources, objects))
    run_compiler(["-shared", *map(str, objects), "-o", str(library)])


def compile_source(source: Path, target: Path) -> None:
    import pybind11  # which only a machine that compiles needs

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
def compiled(fake_cuda: FakeCuda) -> Emulator:
    return Emulator(fake_cuda)


@pytest.fixture
def cuda(
    fake_cuda: FakeCuda, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeCuda]:
    """The package with the fake runtime behind it."""
    monkeypatch.setattr(gpu, "_core", fake_cuda.core)
    fake_cuda.configure()
    yield fake_cuda
    fake_cuda.configure()
    gc.collect()  # free detectors that the traceback of an expected error keeps alive


@pytest.fixture
def code(request: pytest.FixtureRequest) -> str:
    """What runs of the kernels: their "source", or the "ptx" that a compiler made of it."""
    return getattr(request, "param", "source")


@pytest.fixture
def emulator(compiled: Emulator, code: str, request: pytest.FixtureRequest) -> Iterator[Emulator]:
    compiled.configure()
    if code == "ptx":
        compiled.use(request.getfixturevalue("ptx_kernels"))
    yield compiled
    compiled.use(None)
    compiled.configure()


@pytest.fixture
def pair(cuda: FakeCuda) -> Pair:
    return make_pair(cuda)
