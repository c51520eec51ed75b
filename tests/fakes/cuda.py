# SPDX-License-Identifier: Apache-2.0
"""Python interface of the fake CUDA runtime in tests/emulator."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
from pathlib import Path
from typing import NamedTuple


class FakeCuda:
    """Fake CUDA runtime, and the package's compiled module with the pipeline."""

    def __init__(self, library: Path) -> None:
        self.library = library
        self._library = ctypes.CDLL(str(library))
        self._library.runtime_copy.argtypes = [ctypes.c_size_t] * 4
        self._library.runtime_wait.argtypes = [ctypes.c_size_t]
        loader = importlib.machinery.ExtensionFileLoader("emulated._core", str(library))
        spec = importlib.util.spec_from_loader("emulated._core", loader)
        assert spec is not None
        self.core = importlib.util.module_from_spec(spec)
        loader.exec_module(self.core)

    def configure(self, seed: int = 0, limit_bytes: int = 0) -> None:
        """Clear failures and set the order of streams: lagging, or random with a seed.

        Allocations of one kind beyond a limit fail.
        """
        self._library.runtime_configure(ctypes.c_uint(seed), ctypes.c_size_t(limit_bytes))

    def fail(self, call: str, code: int, after: int = 0) -> None:
        """Make a CUDA call fail once, after some successful ones; "launch" is a kernel launch."""
        self._library.runtime_fail(call.encode(), code, after)

    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        """Enqueue a copy."""
        if self._library.runtime_copy(to, source, num_bytes, stream) != 0:
            raise RuntimeError("the copy failed")

    def wait(self, stream: int) -> None:
        """Make a stream wait for the default one."""
        if self._library.runtime_wait(stream) != 0:
            raise RuntimeError("the stream cannot wait")

    def usage(self) -> Usage:
        """Return the resources in use."""
        values = (ctypes.c_size_t * 7)()
        self._library.runtime_usage(values)
        return Usage(*values)


class Usage(NamedTuple):
    """Resources of the fake runtime that are in use."""

    device_bytes: int
    pinned_bytes: int
    num_streams: int
    num_events: int
    num_graphs: int
    num_graph_launches: int
    contexts: int  # a bit for each of the two devices
