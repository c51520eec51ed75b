# SPDX-License-Identifier: Apache-2.0
"""Compile an ONNX graph to an engine, with TensorRT or TensorRT-RTX."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines.engine_card import BACKENDS, Shape
from ..engines.tensorrt import load_library, make_logger
from ..errors import BuildError
from ..files import write_atomically
from .lowering import OnnxNetwork

logger = logging.getLogger("dbnet_trt")

Progress = Callable[[str, int, int], None]
"""Function of (name of a build phase, steps done, number of steps)."""


@dataclass(frozen=True, slots=True)
class Target:
    """Library, GPUs and input shapes of an engine."""

    backend: str
    """Library: "tensorrt" or "tensorrt_rtx"."""

    compute_capabilities: tuple[str, ...]
    """Compute capabilities of the GPUs, as in ("8.6", "8.9"); TensorRT, unlike TensorRT-RTX,
    compiles for the GPU of this machine only."""

    shapes: tuple[Shape, Shape, Shape]
    """Smallest, best and largest input, each (batch, height, width)."""

    timing_cache: Path | None = None
    """File with TensorRT's kernel timings; read before the build and written after it."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Compiled engine and the layers of its network."""

    data: bytes
    """Contents of the engine file."""

    layers: tuple[tuple[str, int], ...]
    """Types of layers, each with its data type and number, the most frequent first."""


def supported_compute_capabilities(library: Any) -> tuple[str, ...]:
    """List the GPUs that a library compiles for without having one, as in ("7.5", "8.6").

    Args:
        library: Module `tensorrt` or `tensorrt_rtx`.

    Returns:
        Compute capabilities, the lowest first; empty if the library needs the GPU.
    """
    if not hasattr(library, "ComputeCapability"):
        return ()
    names = (name for name in dir(library.ComputeCapability) if name.startswith("SM"))
    return tuple(sorted((f"{name[2:-1]}.{name[-1]}" for name in names), key=float))


def compile_network(
    network: OnnxNetwork, target: Target, progress: Progress | None = None
) -> Compiled:
    """Compile a network. Ctrl-C ends it between two steps.

    Args:
        network: Network from `lowering.lower`.
        target: Library, GPUs and shapes.
        progress: Called with the state of the build, from other threads.

    Raises:
        EngineError: The library is missing.
        BuildError: The network's input is fixed to another size, or the library cannot parse or
            build the network.
    """
    _check_fixed_sides(network, target)
    library = load_library(target.backend)
    log = make_logger(library)
    log.take_errors()
    library.init_libnvinfer_plugins(log, "")
    builder = library.Builder(log)
    flag = library.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    definition = builder.create_network(1 << int(flag))
    parser = library.OnnxParser(definition, log)
    if not parser.parse(network.model.SerializeToString()):
        errors = [
            f"{error.desc()} (node {error.node_name()!r}, {error.node_operator()})"
            for error in map(parser.get_error, range(parser.num_errors))
        ]
        raise BuildError(
            f'{BACKENDS[target.backend]} cannot read "{network.card.name}": {"; ".join(errors)}'
        )
    layers = _count_layers(definition)
    config = _configure(library, builder, target, network.input_name)
    stop = threading.Event()
    monitor = _make_monitor(library, progress, stop)  # TensorRT does not keep it alive
    config.progress_monitor = monitor
    with _timing_cache(library, config, target.timing_cache), ThreadPoolExecutor(1) as pool:
        # The build runs in another thread: this one can be interrupted, and no exception passes
        # through TensorRT.
        build = pool.submit(builder.build_serialized_network, definition, config)
        try:
            data = build.result()
        except KeyboardInterrupt:
            stop.set()
            raise
    if data is None:
        raise BuildError(
            f'{BACKENDS[target.backend]} cannot build "{network.card.name}": {log.take_errors()}'
        )
    return Compiled(bytes(data), layers)


def _check_fixed_sides(network: OnnxNetwork, target: Target) -> None:
    """Raise a BuildError if the ONNX file fixes sides of its input that the shapes differ from."""
    (source,) = (each for each in network.model.graph.input if each.name == network.input_name)
    dims = source.type.tensor_type.shape.dim
    fixed = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]
    batch, _, height, width = fixed if len(fixed) == 4 else (None,) * 4
    for shape in target.shapes:
        for side, wanted in zip((batch, height, width), shape, strict=True):
            if side not in (None, wanted):
                size = f"{height or 'HEIGHT'}x{width or 'WIDTH'}"
                options = f"--shapes {size}" + (f" --batch {batch}" if batch else "")
                raise BuildError(
                    f'the input of "{network.card.name}" is fixed to batch {batch or "any"} and '
                    f"size {size}, and shapes up to {'x'.join(map(str, target.shapes[2]))} "
                    f"(batch, height, width) are asked for; build with {options}, or "
                    "export the model with free sides"
                )


def _configure(library: Any, builder: Any, target: Target, input_name: str) -> Any:
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    shapes = [(batch, 3, height, width) for batch, height, width in target.shapes]
    profile.set_shape(input_name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise BuildError(
            f"TensorRT rejects the input shapes {shapes} (smallest, best, largest); choose others "
            "with --shapes, or a smaller --batch"
        )
    config.max_aux_streams = 0  # a graph can capture one stream only
    config.profiling_verbosity = library.ProfilingVerbosity.DETAILED
    if hasattr(library.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # RTX: needed for graph capture
        config.set_flag(library.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if hasattr(config, "set_compute_capability"):
        config.num_compute_capabilities = len(target.compute_capabilities)
        for index, each in enumerate(target.compute_capabilities):
            name = "SM" + each.replace(".", "")
            config.set_compute_capability(getattr(library.ComputeCapability, name), index)
    return config


def _count_layers(definition: Any) -> tuple[tuple[str, int], ...]:
    counts: Counter[str] = Counter()
    for i in range(definition.num_layers):
        layer = definition.get_layer(i)
        dtype = layer.get_output(0).dtype if layer.num_outputs else None
        counts[f"{layer.type.name.lower()} {dtype.name.lower() if dtype else ''}".strip()] += 1
    return tuple(counts.most_common())


def _make_monitor(library: Any, progress: Progress | None, stop: threading.Event) -> Any:
    class Monitor(library.IProgressMonitor):  # type: ignore[misc]  # base known only at run time
        def __init__(self) -> None:
            library.IProgressMonitor.__init__(self)
            self._num_steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._num_steps[phase_name] = num_steps
            self._report(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._report(phase_name, step + 1)
            return not stop.is_set()

        def phase_finish(self, phase_name: str) -> None:
            self._report(phase_name, self._num_steps.get(phase_name, 1))

        def _report(self, phase_name: str, step: int) -> None:
            if progress is not None:
                progress(phase_name, step, max(1, self._num_steps.get(phase_name, 1)))

    return Monitor()


@contextmanager
def _timing_cache(library: Any, config: Any, path: Path | None) -> Iterator[None]:
    """Use kernel timings of earlier builds; a library that builds ahead of time has none."""
    if path is None or hasattr(library, "ComputeCapability"):
        yield
        return
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if not config.set_timing_cache(cache, False):  # it is of another GPU or version
        config.set_timing_cache(config.create_timing_cache(b""), False)
    yield
    timings = bytes(config.get_timing_cache().serialize())
    try:
        write_atomically(path, lambda temporary: temporary.write_bytes(timings))
    except OSError as error:  # the engine is not lost for it
        logger.warning("the timings of kernels are not kept in the cache: %s", error)
