# SPDX-License-Identifier: Apache-2.0
"""From a model to an engine file and its card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .._core import cuda_available
from ..cache import cache_folder, prune_cache
from ..card import ModelCard
from ..engines import Engine
from ..engines.cuda_driver import Device
from ..engines.engine_card import EngineCard, Shape, card_path
from ..engines.tensorrt import BACKENDS, HostEngine, engine_from_bytes, load_library
from ..errors import BuildError
from ..files import write_atomically
from ..settings import MULTIPLE, SizePolicy
from ..zoo import find_card, resolve_model
from .compile import Compiled, Progress, Target, compile_network, supported_compute_capabilities
from .lowering import Network, lower, read_network

logger = logging.getLogger("dbnet_trt")

CACHE_FORMAT = 1
"""To be raised when the same input gives another engine."""

MAX_CACHE_BYTES = 2_000_000_000
"""Engines kept in the user's cache folder; the oldest goes first."""

MIN_AGREEMENT = {"fp32": 0.99, "fp16": 0.95, "int8": 0.8, "fp8": 0.8}
"""Boxes that an engine must share with ONNX Runtime's fp32, as `verify.Comparison.agreement`."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """How to build an engine."""

    precision: Literal["fp32", "fp16", "int8", "fp8"] = "fp16"
    """Arithmetic of the network. int8 and fp8 need `calibration`."""

    shapes: str = "32x32/736x1280/2048x2048"
    """Smallest, best and largest input, as HEIGHTxWIDTH, multiples of 32. One shape fixes it."""

    batch: int = 1
    """The largest batch, and the one the engine is best at."""

    dcn: Literal["gridsample", "plugin"] = "gridsample"
    """A checkpoint's deformable convolutions: as samplings and convolutions, or by TensorRT's
    plugin (10.1 and later, not TensorRT-RTX)."""

    calibration: Path | None = None
    """Folder of images like those the engine will see, for int8 and fp8; some hundred will do."""

    rtx: bool = False
    """Build with TensorRT-RTX, which needs no GPU; without a GPU it is taken anyway."""

    compute_capability: str = ""
    """With TensorRT-RTX: the GPUs to build for, as in 75,86,89. This machine's if left out, or all
    since Ampere: NVIDIA advises an engine of its own for Turing (75)."""

    check: bool = True
    """Compare the boxes with ONNX Runtime's before the engine gets its name."""

    cache: bool = True
    """Take an engine that was built before from the same file in the same way."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"batch must be 1 or more, got {self.batch}")
        if (self.precision in ("int8", "fp8")) != (self.calibration is not None):
            raise ValueError(
                "int8 and fp8, and only they, need calibration images: --calibration FOLDER; got "
                f"precision {self.precision} and calibration {self.calibration}"
            )
        _ = self.profile, self.capabilities  # their own checks

    @property
    def profile(self) -> tuple[Shape, Shape, Shape]:
        """Smallest, best and largest input, each (batch, height, width)."""
        parts = self.shapes.split("/")
        sizes = [tuple(map(int, part.split("x"))) for part in parts if re.fullmatch(_SIZE, part)]
        if len(sizes) != len(parts) or len(sizes) not in (1, 3):
            raise ValueError(
                "shapes must be SMALLEST/BEST/LARGEST or one size, as in "
                f'32x32/736x1280/2048x2048, got "{self.shapes}"'
            )
        smallest, best, largest = sizes if len(sizes) == 3 else sizes * 3
        for axis in (0, 1):
            if not smallest[axis] <= best[axis] <= largest[axis]:
                raise ValueError(f'shapes must go from small to large, got "{self.shapes}"')
        if any(side % MULTIPLE or side < MULTIPLE for size in sizes for side in size):
            raise ValueError(f'sides must be multiples of {MULTIPLE} pixels, got "{self.shapes}"')
        batches = (1, self.batch, self.batch)
        first, second, third = (
            (batch, size[0], size[1])
            for batch, size in zip(batches, (smallest, best, largest), strict=True)
        )
        return first, second, third

    @property
    def capabilities(self) -> tuple[str, ...]:
        """`compute_capability` as in ("7.5", "8.6"), lowest first; empty where left out."""
        names = [name for name in self.compute_capability.split(",") if name]
        if not all(re.fullmatch(r"\d{1,2}\.?\d", name) for name in names):
            raise ValueError(
                f"compute_capability must be as in 75,86,89, got {self.compute_capability!r}"
            )
        digits = {name.replace(".", "") for name in names}
        return tuple(sorted((f"{name[:-1]}.{name[-1]}" for name in digits), key=float))


_SIZE = r"\d+x\d+"


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """What `build_engine` made."""

    path: Path
    card: EngineCard
    from_cache: bool
    checked: str
    """What was compared with ONNX Runtime, and what could not be."""

    layers: tuple[tuple[str, int], ...]
    """Kinds of layers of the network and their number; empty where it came from the cache."""


def build_engine(
    model: str | Path,
    output: Path | None = None,
    *,
    card: ModelCard | str | None = None,
    config: BuildConfig | None = None,
    progress: Progress | None = None,
) -> BuiltEngine:
    """Build an engine, and its card beside it.

    Args:
        model: Name of a model, or path of an .onnx file or a .safetensors checkpoint.
        output: The engine file; by default `default_name` in the working directory.
        card: Of another project's ONNX file: a card, the path of one, or the name of the project.
        config: Precision, shapes, target.
        progress: Called as the build goes on, from the library's threads.

    Raises:
        EngineError: The model or the library is not there.
        BuildError: The model cannot be built, the engine does not find the same text, or cannot be
            written.
        ValueError: There is no such model or family of cards.
    """
    config = config or BuildConfig()
    if output is not None:
        _check_output(output)
    source, card = _find_source(model, card)
    target = choose_target(config)
    version = load_library(target.backend).__version__
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    entry = _cache_entry(digest, card, config, target, version) if config.cache else None
    cached = _read_cache(entry)
    if cached is not None:
        data, engine_card = cached
        compiled, checked = Compiled(data, ()), "compared when it was built first"
    else:
        network = _lower(source, card, config)
        compiled = compile_network(network, target, progress)
        engine_card = _make_card(network, target, version, digest, config, compiled.data)
        checked = "no"
        if config.check:
            checked = _check(compiled.data, engine_card, network, read_network(source, card))
        _keep(entry, compiled.data, engine_card)
    path = output or Path(default_name(engine_card))
    try:
        _write_pair(path, compiled.data, engine_card)
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror or error}") from error
    return BuiltEngine(path, engine_card, cached is not None, checked, compiled.layers)


def choose_target(config: BuildConfig) -> Target:
    """The library and the GPUs that a configuration means on this machine.

    Raises:
        EngineError: The library is not there.
        BuildError: It does not build for these GPUs.
    """
    has_gpu = cuda_available()
    backend = "tensorrt_rtx" if config.rtx or not has_gpu else "tensorrt"
    if not has_gpu and not config.rtx:
        logger.warning("there is no CUDA GPU here: building with TensorRT-RTX, which needs none")
    library = load_library(backend)
    supported = supported_compute_capabilities(library)
    if config.capabilities and not supported:
        raise BuildError("TensorRT builds for this machine's GPU; --compute-capability needs --rtx")
    if config.dcn == "plugin" and supported:
        raise BuildError(
            f"{BACKENDS[backend]} has no plugin for deformable convolutions; use --dcn gridsample"
        )
    since_ampere = tuple(each for each in supported if float(each) >= 8)
    chosen = config.capabilities or ((Device().compute_capability,) if has_gpu else since_ampere)
    if supported and not set(chosen) <= set(supported):
        raise BuildError(
            f"{BACKENDS[backend]} {library.__version__} builds for {', '.join(supported)}, not for "
            f"{', '.join(chosen)}; TensorRT itself builds on a machine with the GPU, without --rtx"
        )
    timing = None
    folder = cache_folder()
    if folder is not None and not supported:
        name = f"{backend}-{library.__version__}-sm{chosen[0].replace('.', '')}.timing"
        timing = folder / "engines" / name
    return Target(backend, chosen, config.profile, timing)


def default_name(card: EngineCard) -> str:
    """<model>-<h>x<w>-<precision>-sm<arch>-trt<version>.engine; RTX says so in the version."""
    name = re.sub(r"[^\w.-]+", "_", card.model.name)
    _, (_, height, width), _ = card.shapes
    arch = "-".join(each.replace(".", "") for each in card.compute_capabilities)
    version = card.backend.replace("tensorrt", "trt") + card.version
    return f"{name}-{height}x{width}-{card.precision}-sm{arch}-{version}.engine"


def _find_source(model: str | Path, card: ModelCard | str | None) -> tuple[Path, ModelCard | None]:
    given_card = find_card(card)
    path, named_card = resolve_model(model, (".onnx", ".safetensors"))
    return path, given_card or named_card


def _lower(source: Path, card: ModelCard | None, config: BuildConfig) -> Network:
    """The network as it is built."""
    half = config.precision == "fp16"
    network = lower(read_network(source, card, half=half, dcn=config.dcn), half=half)
    if config.calibration is None:
        return network
    from .quantize import load_calibration, quantize

    _, (_, *best), _ = config.profile
    images = load_calibration(config.calibration, network.card, (best[0], best[1]))
    return quantize(network, config.precision, images)


def _make_card(
    network: Network,
    target: Target,
    version: str,
    source_sha256: str,
    config: BuildConfig,
    data: bytes,
) -> EngineCard:
    """The engine's card; its model's card never asks for more than the largest shape."""
    limit = min(network.card.long_side_limit, *target.shapes[2][1:])
    model = dataclasses.replace(
        network.card,
        input_name=network.input_name,
        output_name=network.output_name,
        long_side_limit=limit,
        short_side=min(limit, network.card.short_side),
        sha256=source_sha256,
    )
    return EngineCard(
        model,
        target.backend,
        version,
        target.compute_capabilities,
        config.precision,
        target.shapes,
        hashlib.sha256(data).hexdigest(),
    )


def _check(data: bytes, card: EngineCard, network: Network, reference: Network) -> str:
    """Hold the network, and where there is a GPU the engine, against ONNX Runtime's fp32."""
    from .verify import compare, draw_samples

    on_gpu = cuda_available() and Device().compute_capability in card.compute_capabilities
    if on_gpu:
        engine: Engine = HostEngine(engine_from_bytes(data, card))
        what = "the engine"
    else:
        engine, what = network.on_cpu(), "its graph in ONNX Runtime"
    result = compare(engine, reference.on_cpu(), draw_samples(), _sample_size(card))
    if result.agreement < MIN_AGREEMENT[card.precision]:
        raise BuildError(
            f"{what}, in {card.precision}, does not find what ONNX Runtime finds in fp32: "
            f"{result}; try fp32 (fp16: build from the checkpoint; int8 and fp8: more images)"
        )
    verdict = f"{what}: {result}"
    return verdict if on_gpu else f"{verdict}; the engine itself did not run: no GPU for it here"


def _sample_size(card: EngineCard) -> SizePolicy:
    """A size for drawn samples that the engine takes."""
    _, (_, *best), (_, *largest) = card.shapes
    return SizePolicy(min(best), min(largest))


def _cache_entry(
    digest: str, card: ModelCard | None, config: BuildConfig, target: Target, version: str
) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    images = []
    if config.calibration is not None:
        files = (path for path in config.calibration.rglob("*") if path.is_file())
        images = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = [
        CACHE_FORMAT,
        digest,
        card.to_json() if card else "",
        (config.precision, config.dcn, config.check, target.shapes, sorted(images)),
        (target.backend, version, target.compute_capabilities),
    ]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return folder / "engines" / f"{name[:32]}.blob"


def _read_cache(entry: Path | None) -> tuple[bytes, EngineCard] | None:
    if entry is None:
        return None
    try:
        card = EngineCard.from_json(card_path(entry).read_text(encoding="utf-8"))
        data = entry.read_bytes()
    except (OSError, ValueError, TypeError):
        return None
    return (data, card) if hashlib.sha256(data).hexdigest() == card.sha256 else None


def _keep(entry: Path | None, data: bytes, card: EngineCard) -> None:
    """Put an engine into the cache; where that cannot be written, the engine is none the worse."""
    if entry is None:
        return
    try:
        _write_pair(entry, data, card)
        prune_cache(entry.parent, MAX_CACHE_BYTES)
    except OSError as error:
        logger.warning("the engine is not kept in the cache: %s", error)


def _check_output(path: Path) -> None:
    """See whether a file can be written, before minutes are spent on it."""
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir():
        raise BuildError(f"{path} is a folder; --output names the .engine file")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BuildError(f"{path} cannot be written: {folder} is no folder that can be written to")


def _write_pair(path: Path, data: bytes, card: EngineCard) -> None:
    """An engine, then its card: what is stopped in between is an engine that no one opens."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
    text = card.to_json() + "\n"
    write_atomically(card_path(path), lambda temporary: temporary.write_text(text, "utf-8"))
