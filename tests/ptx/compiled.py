# SPDX-License-Identifier: Apache-2.0
"""PTX compiled for the host, to run in the emulator."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
from fakes.emulator import build_library

from ptx.nvrtc import compile_kernels
from ptx.syntax import read_kernels
from ptx.translate import translate


class CompiledKernels:
    """Kernels in PTX, translated and compiled; `Emulator.use` takes them.

    Attributes:
        table: Address of the table of kernels.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.ptx_kernels.restype = ctypes.c_void_p
        self.table: int = self._library.ptx_kernels()

    def weaken(self, number: int = -1) -> None:
        """Weaken the instruction with this number in `weakenable`; -1 restores all."""
        self._library.ptx_weaken(number)


def compile_ptx(texts: list[str], folder: Path) -> CompiledKernels:
    """Compile the kernels of modules in PTX."""
    sources = []
    for i, source in enumerate(translate([read_kernels(text) for text in texts])):
        sources.append(folder / f"ptx_{i}.cpp")
        sources[-1].write_text(source)
    build_library(sources, folder / "ptx.so")
    return CompiledKernels(folder / "ptx.so")


@pytest.fixture(scope="session")
def ptx_kernels(tmp_path_factory: pytest.TempPathFactory) -> CompiledKernels:
    """The kernels as NVRTC compiles them: the same for every GPU, as test_nvrtc.py holds."""
    texts = compile_kernels("compute_75")
    return compile_ptx(list(texts.values()), tmp_path_factory.mktemp("ptx"))
