# SPDX-License-Identifier: Apache-2.0
"""ONNX models run by OpenVINO.

Memory is bounded by the shapes that are kept compiled, and a part of it is freed for all but the
`LIVE_SHAPES` used last (benchmarks/bulk.py --part shapes). With 350 small shapes of ppocrv6-small,
each new, a process grew from 470 MB to 580 MB within 1000 detections and stayed there for 1200
more. Returning the allocator's free pages (malloc_trim) did not reduce that; MALLOC_ARENA_MAX=2
did, by some 60 MB.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..errors import EngineError
from ..extras import import_backend
from ..settings import CpuConfig, Precision
from .onnx_model import to_maps
from .openvino_cache import CompiledModels
from .processes import check_process, keep_in_forks

CPU_PROPERTIES = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
"""Properties that identify a kind of CPU; a compiled model is for one kind."""

MAX_COMPILED_SHAPES = 8
"""Maximum number of input shapes kept compiled; the least recently used is dropped first."""

MAX_COMPILED_PIXELS = 1 << 24
"""Maximum sum of pixels of these inputs: ppocrv6-small takes 130 MB per million pixels."""

MAX_UNUSED_SHAPES = 1
"""Maximum number of these shapes, beside the last one, that were compiled again but not used again
since; each takes 26 MB of dbnet-lines. Shapes in random order are as often compiled when they come
with 1 as with 3 (simulated, 2 to 30 shapes); four or more in strict turns never are with 1."""

LIVE_SHAPES = 2
"""Number of these shapes, the last used, that keep the memory between the network's layers once
they have come again: as for photos upright and lying. The others take it again when they run."""

MAX_KEPT_LAYERS = "100"
"""Value of oneDNN's environment variable; 0 makes opening a compiled model 45 ms slower."""

logger = logging.getLogger("dbnet_trt")


@functools.cache
def open_core() -> tuple[Any, int]:
    """Open OpenVINO's core, one for all engines and never closed, and return its process id too.

    The CPU plugin of each core installs a signal stack of its own in the thread that creates it,
    and restores the previous one when it is destroyed. If two cores are destroyed in the order of
    their creation, the stack that is restored no longer exists, and the next signal that Python
    handles (such as Ctrl-C) ends the process.

    The process id tells forked processes apart, in which the core's threads are missing.

    oneDNN keeps the last 1024 layers of all shapes that were ever compiled, some 3.5 MB a shape.
    `MAX_KEPT_LAYERS` are enough to share the equal ones of a network; an environment variable of
    the user's own is left as it is.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", MAX_KEPT_LAYERS)
    return import_backend("openvino").Core(), os.getpid()


def choose_precision(core: Any, precision: Precision) -> Precision:
    """Choose bf16 or fp32, of a network in int8 for what is not quantized.

    Raises:
        EngineError: bf16 was asked for, and the CPU has none.
    """
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise EngineError(
            "this CPU has no bf16 instructions (AMX or AVX512-BF16); use precision='auto'"
        )
    if precision in ("auto", "int8"):
        return "bf16" if has_bf16 else "fp32"
    return precision


class OpenVinoEngine:
    """A model in OpenVINO, compiled per input shape: static shapes are 1.2 times faster."""

    runs_one_by_one = True

    def __init__(
        self, model: bytes, card: ModelCard, config: CpuConfig, input_name: str, output_name: str
    ) -> None:
        ov = import_backend("openvino")
        self._core, self._process = open_core()
        check_process(self._process, "OpenVINO")
        precision = choose_precision(self._core, config.precision)
        self._properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "ENABLE_CPU_PINNING": False,  # every process would take the same first cores
        }
        if config.num_threads:
            self._properties["INFERENCE_NUM_THREADS"] = config.num_threads
        if config.num_streams > 1:
            self._properties["NUM_STREAMS"] = config.num_streams
        cpu = [self._core.get_property("CPU", name) for name in CPU_PROPERTIES]
        self._cache = CompiledModels.open(model, ov.__version__, cpu, self._properties)
        try:
            self._model = self._core.read_model(model, b"")
        except Exception as error:  # mostly RuntimeError
            raise EngineError(f'OpenVINO cannot load "{card.name}": {error}') from error
        self._input_name, self._output_name = input_name, output_name
        self._compiled: OrderedDict[tuple[int, ...], _RequestPool] = OrderedDict()
        self._num_compiled: Counter[tuple[int, ...]] = Counter()  # times, of all shapes
        self._lock = threading.Lock()
        keep_in_forks(self)
        self.card = card
        shown = f"int8 and {precision}" if config.precision == "int8" else precision
        self.description = f"OpenVINO {ov.__version__.split('-')[0]}, CPU, {shown}"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        check_process(self._process, "OpenVINO")
        try:
            with self._requests(batch.shape).borrow() as request:
                request.infer({self._input_name: batch}, share_inputs=True)
                output = np.array(request.get_tensor(self._output_name).data)  # ours from here on
        except RuntimeError as error:
            raise EngineError(f'OpenVINO failed on "{self.card.name}": {error}') from error
        return to_maps(output, batch, self.card)

    def keep_nothing(self) -> None:
        """Keep no compiled model on disk, as for a network that is opened only once."""
        self._cache = CompiledModels(None, "")

    def native_objects(self) -> Iterator[Any]:
        """Yield the objects that must not be destroyed in a forked process."""
        yield from (self._core, self._model)
        for pool in list(self._compiled.values()):
            yield from pool.native_objects()

    def _requests(self, shape: tuple[int, ...]) -> _RequestPool:
        """Return the requests of the model compiled for an input shape (B, 3, h, w)."""
        with self._lock:  # held while compiling, so that two threads do not compile the same
            if shape not in self._compiled:
                self._make_room(shape)
                self._num_compiled[shape] += 1
                self._compiled[shape] = _RequestPool(self._compile(shape))
            self._compiled.move_to_end(shape)
            pools = list(self._compiled.values())
            for idle in pools[:-1]:
                if idle not in pools[-LIVE_SHAPES:] or not idle.is_reused:
                    idle.free_memory()
            return pools[-1]

    def _compile(self, shape: tuple[int, ...]) -> Any:
        """Compile the model for an input shape, or take it from the cache."""
        kept = self._cache.read(shape)
        if kept is not None:
            try:
                return self._core.import_model(kept, "CPU", self._properties)
            except RuntimeError as error:  # of another OpenVINO or CPU with the same name
                logger.debug("a compiled model cannot be used: %s", error)
        model = self._model.clone()
        model.reshape({self._input_name: list(shape)})
        compiled = self._core.compile_model(model, "CPU", self._properties)
        self._cache.write(shape, compiled.export_model().getvalue())
        return compiled

    def _make_room(self, shape: tuple[int, ...]) -> None:
        """Drop old shapes before a new one is compiled, so that it can use their memory.

        A shape that was used once stays for the next ones only, and for one more if it was compiled
        before: photos that all differ leave little behind, and one that comes again soon is kept
        from then on.
        """
        unused = [
            old
            for old in list(self._compiled)[: 1 - LIVE_SHAPES]
            if not self._compiled[old].is_reused
        ]
        came_again = [old for old in unused if self._num_compiled[old] > 1]
        for old in unused:
            if old not in came_again[-MAX_UNUSED_SHAPES:]:
                del self._compiled[old]
        shapes = [*self._compiled, shape]
        while len(shapes) > 1 and (
            len(shapes) > MAX_COMPILED_SHAPES
            or sum(b * h * w for b, _, h, w in shapes) > MAX_COMPILED_PIXELS
        ):
            del self._compiled[shapes.pop(0)]


class _RequestPool:
    """Inference requests of one compiled model; each holds buffers, so one user at a time."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._free: list[Any] = []
        self._lock, self._num_lent, self._is_live = threading.Lock(), 0, False
        self._num_uses = 0

    def native_objects(self) -> Iterator[Any]:
        """Yield the compiled model and its free requests."""
        yield from (self._compiled, *self._free)

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        """Lend a request for a `with` block."""
        with self._lock:
            self._num_lent, self._is_live = self._num_lent + 1, True
            self._num_uses += 1
            request = self._free.pop() if self._free else self._compiled.create_infer_request()
        try:
            yield request
            self._free.append(request)  # not after an error: its state is unknown then
        finally:
            with self._lock:
                self._num_lent -= 1

    @property
    def is_reused(self) -> bool:
        """Whether a request was lent more than once."""
        return self._num_uses > 1

    def free_memory(self) -> None:
        """Free the memory between the layers, unless a request is lent."""
        with self._lock:
            if self._is_live and self._num_lent == 0:
                self._compiled.release_memory()
                self._is_live = False
