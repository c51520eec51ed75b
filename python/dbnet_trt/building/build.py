# SPDX-License-Identifier: Apache-2.0
"""Build an engine file and its card from a model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..cache import cache_folder, prune_cache
from ..card import MAX_CARD_BYTES, ModelCard
from ..engines import Engine
from ..engines.cuda_driver import Device
from ..engines.engine_card import BACKENDS, EngineCard, card_path
from ..engines.onnx_model import digest_file, is_quantized
from ..engines.tensorrt import HostEngine, engine_from_bytes, load_library
from ..errors import BuildError
from ..files import read_json, write_atomically
from ..gpu_status import read_cuda_status
from ..images.load import Image
from ..settings import SizePolicy
from ..zoo import find_card, int8_file, resolve_model
from .compile import Compiled, Progress, Target, compile_network, supported_compute_capabilities
from .config import BuildConfig
from .lowering import OnnxNetwork, lower, read_network

logger = logging.getLogger("dbnet_trt")

CACHE_FORMAT = 2
"""Version of the cache; increase it when the same input gives another engine or entry."""

MAX_CACHE_BYTES = 2_000_000_000
"""Maximum size of the engines in the user's cache folder; the oldest are deleted first."""

MIN_AGREEMENT = {"fp32": 0.99, "fp16": 0.95, "int8": 0.8, "fp8": 0.8}
"""Minimum agreement of an engine's boxes with ONNX Runtime's in fp32, by precision; see
`verify.Comparison.agreement`."""

MAX_DIFFERENCE = {"fp32": 0.01, "fp16": 0.05, "int8": 0.3, "fp8": 0.3}
"""Largest difference of a probability where the samples have too few boxes to compare."""

NOT_CHECKED = "no"


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """Result of `build_engine`."""

    path: Path
    """Engine file."""

    card: EngineCard
    """Card of the engine, written beside it."""

    from_cache: bool
    """Whether the engine was taken from the cache."""

    checked: str
    """Result of the comparison with ONNX Runtime, in words; "no" if there was none."""

    layers: tuple[tuple[str, int], ...]
    """Types of layers in the network and their numbers; empty if it came from the cache."""


def build_engine(
    model: str | Path,
    output: Path | None = None,
    *,
    card: ModelCard | str | None = None,
    config: BuildConfig | None = None,
    progress: Progress | None = None,
) -> BuiltEngine:
    """Build an engine, and write it with its card beside it.

    Args:
        model: Name of a model, or path of an .onnx file or a .safetensors checkpoint.
        output: Engine file to write; by default `default_name` in the working directory.
        card: Card of another project's ONNX file, its path, or the name of the project.
        config: Precision, shapes, target; None takes the defaults.
        progress: Called with the state of the build, from the library's threads.

    Returns:
        The engine file, its card, and the result of the check.

    Raises:
        EngineError: The model or the library is missing.
        BuildError: The model cannot be built, or the engine finds other text than ONNX Runtime or
            cannot be written.
        ImageError: A calibration image is broken, or the folder has none.
        ValueError: There is no such model or project.
    """
    config = config or BuildConfig()
    if output is not None:
        check_output(output)
    reference = find_source(model, card, BuildConfig("fp32"))
    source, card = find_source(model, card, config)
    if output is not None and output.resolve() == source.resolve():
        raise BuildError(
            f"{output} is the model itself, and would be overwritten; name another file"
        )
    target = choose_target(config)
    version = load_library(target.backend).__version__
    digest = digest_file(source)
    entry = _cache_entry(digest, card, config, target, version) if config.cache else None
    cached = _read_cache(entry)
    if cached is not None:
        data, engine_card, checked = cached
        compiled = Compiled(data, ())
        if checked != NOT_CHECKED:
            checked = f"when it was first built: {checked}"
    else:
        network = lower_model(source, card, config)
        compiled = compile_network(network, target, progress)
        engine_card = _make_card(network, target, version, digest, config, compiled.data)
        checked = NOT_CHECKED
        if config.check:
            checked = _check(compiled.data, engine_card, network, read_network(*reference))
        _keep(entry, compiled.data, engine_card, checked)
    path = output or Path(default_name(engine_card))
    try:
        _write_pair(path, compiled.data, engine_card)
    except OSError as error:
        raise BuildError(f"{path} cannot be written: {error.strerror or error}") from error
    return BuiltEngine(path, engine_card, cached is not None, checked, compiled.layers)


def choose_target(config: BuildConfig) -> Target:
    """Choose the library and the GPUs to build for on this machine.

    Raises:
        EngineError: The library is missing.
        BuildError: The library does not build for these GPUs.
    """
    problem = read_cuda_status().problem
    has_gpu = not problem
    backend = "tensorrt_rtx" if config.rtx or not has_gpu else "tensorrt"
    if not has_gpu and not config.rtx:
        logger.warning("building with TensorRT-RTX, which needs no GPU, as %s", problem)
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
    folder = cache_folder("engines")
    if folder is not None and not supported:
        name = f"{backend}-{library.__version__}-sm{chosen[0].replace('.', '')}.timing"
        timing = folder / name
    return Target(backend, chosen, config.profile, timing)


def default_name(card: EngineCard) -> str:
    """Name an engine file <model>-<height>x<width>-<precision>-sm<arch>-<library><version>.engine.

    The library is "trt" for TensorRT and "trt_rtx" for TensorRT-RTX.
    """
    name = re.sub(r"[^\w.-]+", "_", card.model.name)
    _, (_, height, width), _ = card.shapes
    arch = "-".join(each.replace(".", "") for each in card.compute_capabilities)
    version = card.backend.replace("tensorrt", "trt") + card.version
    return f"{name}-{height}x{width}-{card.precision}-sm{arch}-{version}.engine"


def find_source(
    model: str | Path, card: ModelCard | str | None, config: BuildConfig
) -> tuple[Path, ModelCard | None]:
    """Find a model's file, and its card if it is given or has a name.

    For int8 without calibration it is the file in int8 of a named model, with its own card.

    Raises:
        EngineError: The file is missing.
        ValueError: There is no such model or project.
    """
    given_card = find_card(card)
    path, named_card = resolve_model(model, (".onnx", ".safetensors"))
    if named_card and config.precision == "int8" and config.calibration is None:
        quantized = int8_file(path)
        if quantized is not None:
            return quantized, given_card
    return path, given_card or named_card


def lower_model(source: Path, card: ModelCard | None, config: BuildConfig) -> OnnxNetwork:
    """Read a model and convert it to the graph that is compiled.

    Raises:
        BuildError: It cannot be converted, or is in int8 where it should not be.
        ImageError: A calibration image is broken, or the folder has none.
        ValueError: int8 is asked for without calibration, and the model is not in int8.
    """
    uses_int8 = config.precision == "int8" and config.calibration is None
    half = config.precision == "fp16" or uses_int8
    network = read_network(source, card, half=half, dcn=config.dcn)
    name, quantized = network.card.name, is_quantized(network.model)
    if uses_int8 and not quantized:
        raise ValueError(
            f'"{name}" in {source} is not in int8; to quantize it give calibration images '
            "(--calibration FOLDER or FORMAT:PATH), or give the name of a model that comes in int8 "
            "(`dbnet models`), or the path of a file in int8"
        )
    if quantized and not uses_int8 and config.precision != "fp32":
        raise BuildError(
            f'"{name}" is in int8 already: build it with --precision int8 and without '
            "--calibration, or give the model that it was made of"
        )
    network = lower(network, half=half)
    if config.calibration is None:
        return network
    from .calibration import load_calibration
    from .quantize import quantize

    _, (_, *best), _ = config.profile
    images = load_calibration(config.calibration, network.card, (best[0], best[1]))
    return quantize(network, config.precision, images)


def _make_card(
    network: OnnxNetwork,
    target: Target,
    version: str,
    source_sha256: str,
    config: BuildConfig,
    data: bytes,
) -> EngineCard:
    """Create the engine's card; image sizes in it are limited to the largest shape."""
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


def _check(data: bytes, card: EngineCard, network: OnnxNetwork, reference: OnnxNetwork) -> str:
    """Compare the engine, or without a suitable GPU its graph, with ONNX Runtime in fp32."""
    from .verify import compare, draw_samples

    has_gpu = not read_cuda_status().problem
    on_gpu = has_gpu and Device().compute_capability in card.compute_capabilities
    if on_gpu:
        engine: Engine = HostEngine(engine_from_bytes(data, card))
        what = "the engine"
    else:
        engine, what = network.on_cpu(), "its graph in ONNX Runtime"
    samples, size = _fit_samples(draw_samples(), card)
    result = compare(engine, reference.on_cpu(), samples, size)
    if not result.passes(MIN_AGREEMENT[card.precision], MAX_DIFFERENCE[card.precision]):
        raise BuildError(
            f"{what}, in {card.precision}, finds other text than ONNX Runtime in fp32: "
            f"{result}; try fp32 (fp16: build from the checkpoint; int8 and fp8: more images, if "
            "it was calibrated)"
        )
    verdict = f"{what}: {result}"
    return verdict if on_gpu else f"{verdict}; the engine did not run: no suitable GPU here"


def _fit_samples(images: list[Image], card: EngineCard) -> tuple[list[Image], SizePolicy]:
    """Fit drawn samples to sizes that the engine accepts: exactly, if it accepts only one."""
    smallest, (_, *best), (_, *largest) = card.shapes
    if smallest[1:] != tuple(largest):
        return images, SizePolicy(min(best), min(largest))
    import cv2

    fitted = [np.asarray(cv2.resize(image, best[::-1]), np.uint8) for image in images]
    return fitted, SizePolicy(min(best), max(best))


def _cache_entry(
    digest: str, card: ModelCard | None, config: BuildConfig, target: Target, version: str
) -> Path | None:
    folder = cache_folder("engines")
    if folder is None:
        return None
    images = []
    if config.calibration is not None:
        from ..data.open import read_photos
        from .calibration import MAX_IMAGES, spread

        photos = spread(read_photos(config.calibration), MAX_IMAGES)
        files = [photo.image for photo in photos]
        images = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = [
        CACHE_FORMAT,
        digest,
        card.to_json() if card else "",
        (config.precision, config.dcn, config.check, target.shapes, sorted(images)),
        (target.backend, version, target.compute_capabilities),
    ]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    return folder / f"{name[:32]}.blob"


def _read_cache(entry: Path | None) -> tuple[bytes, EngineCard, str] | None:
    """The engine, its card, and what was checked; None where it is missing or damaged."""
    if entry is None:
        return None
    try:
        fields = read_json(card_path(entry), max_bytes=MAX_CARD_BYTES)
        card, checked = EngineCard.from_fields(fields["card"]), str(fields["checked"])
        data = entry.read_bytes()
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return (data, card, checked) if hashlib.sha256(data).hexdigest() == card.sha256 else None


def _keep(entry: Path | None, data: bytes, card: EngineCard, checked: str) -> None:
    """Store an engine in the cache; a cache that cannot be written is only a warning."""
    if entry is None:
        return
    record = json.dumps({"checked": checked, "card": dataclasses.asdict(card)})
    try:
        write_atomically(entry, lambda temporary: temporary.write_bytes(data))
        write_atomically(card_path(entry), lambda temporary: temporary.write_text(record, "utf-8"))
        prune_cache(entry.parent, MAX_CACHE_BYTES)
    except OSError as error:
        logger.warning("the engine is not kept in the cache: %s", error)


def check_output(path: Path) -> None:
    """Check that a file can be written, before minutes are spent on the build.

    Raises:
        BuildError: The path is a folder, or its folder is not writable.
    """
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if path.is_dir():
        raise BuildError(f"{path} is a folder; name the file to write")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BuildError(f"{path} cannot be written: {folder} is not a writable folder")


def _write_pair(path: Path, data: bytes, card: EngineCard) -> None:
    """Write an engine, then its card: without a card, a half-written pair cannot be opened."""
    write_atomically(path, lambda temporary: temporary.write_bytes(data))
    text = card.to_json() + "\n"
    write_atomically(card_path(path), lambda temporary: temporary.write_text(text, "utf-8"))
