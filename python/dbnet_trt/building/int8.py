# SPDX-License-Identifier: Apache-2.0
"""Quantization to int8 for CPUs with NNCF, as one ONNX file with Q/DQ nodes.

OpenVINO, ONNX Runtime and TensorRT's explicit quantization read the same file: int8 with zero
points of 0, weights by channel. Weights take 7 bits only: without VNNI a CPU adds two products in
16 bits, which 255 x 127 x 2 would overflow.
"""

from __future__ import annotations

import dataclasses
import io
import logging
from collections.abc import Collection, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..card import ModelCard
from ..data.damaged import require_whole
from ..data.open import read_photos, without_folders
from ..data.samples import Sample
from ..detections import Detections
from ..detector import Detector
from ..engines import Engine
from ..engines.onnx_model import is_quantized
from ..engines.onnxruntime import OnnxRuntimeEngine
from ..engines.openvino import OpenVinoEngine
from ..errors import BuildError, ImageError
from ..extras import install_hint
from ..images.load import Image
from ..settings import CpuConfig
from ..zoo import find_card, resolve_model
from .calibration import load_photo, network_input, spread
from .compile import Progress
from .config import BuildConfig
from .distillation import Distillation, distill, require_torch
from .lowering import OnnxNetwork, read_network, write_network
from .quantized_graph import (
    is_depthwise,
    list_layers,
    make_signed,
    restore,
    suit_openvino,
    to_fp32,
)
from .verify import count_same

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger("dbnet_trt")

MAX_PHOTOS = 120
"""Maximum number of photos, spread evenly over what is given."""

CHECK_EVERY = 5
"""Every how many photos one is kept for the comparison with fp32; the others calibrate."""

MIN_AGREEMENT = 0.9
"""Minimum agreement of boxes with fp32, 2 same / (expected + found), on the photos kept for it.
Below it layers are left in floating point."""

NUM_RANKED_ON = 3
"""Maximum number of photos on which layers are ranked; they are of one size, so that OpenVINO
compiles each graph once."""

QUANTIZED = frozenset(("Conv", "Gemm", "MatMul"))
"""Operators that are quantized; of convolutions not the depthwise ones, which are no faster in int8
and lose more. Sums and products gain nothing either."""

ENGINES = ("openvino", "onnxruntime")
"""Libraries in which a file is compared, if they are installed."""


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """Result of `quantize_for_cpu`."""

    path: Path
    """The ONNX file, with its card inside."""

    card: ModelCard
    """Card of the file."""

    left_out: tuple[str, ...]
    """Layers that compute in floating point because in int8 other text was found."""

    checked: str
    """Agreement with fp32 by engine, in words; "no" if it was not compared."""


def quantize_for_cpu(
    model: str | Path,
    output: Path | None = None,
    *,
    card: ModelCard | str | None = None,
    config: BuildConfig,
    progress: Progress | None = None,
) -> QuantizedModel:
    """Quantize a model to int8, and write it as NAME.int8.onnx.

    Of `MAX_PHOTOS` photos four in five calibrate; on the others the boxes are compared with those
    of fp32, in OpenVINO and in ONNX Runtime. Where too few agree, the layers whose errors change
    the map most are left in floating point, as few as suffice. With `config.distill_steps` the
    weights are trained before, on all photos but those of the comparison.

    Args:
        model: Name of a model, or path of an .onnx file or a .safetensors checkpoint.
        output: ONNX file to write; by default NAME.int8.onnx in the working directory.
        card: Card of another project's ONNX file, its path, or the name of the project.
        config: Calibration images, steps of distillation, and whether to compare.
        progress: Called with (phase, steps done, number of steps).

    Raises:
        EngineError: The model is missing or broken.
        BuildError: NNCF is missing or cannot quantize the network, PyTorch is missing, the model is
            quantized already, too few boxes agree, or the file cannot be written.
        ImageError: A calibration image is broken, or the folder has none.
        ValueError: There is no such model, project or data set, too few photos, or another
            precision than int8.
    """
    if config.precision != "int8":
        raise ValueError(
            "for CPUs only int8 is built (--precision int8); an ONNX file in fp32 or fp16 runs "
            f"there as it is; got precision {config.precision}"
        )
    if config.calibration is None:
        raise ValueError(
            "int8 for CPUs needs calibration images (--calibration FOLDER or FORMAT:PATH); a model "
            "that comes in int8 (`dbnet models`) runs on CPUs as it is"
        )
    path, named_card = resolve_model(model, (".onnx", ".safetensors"))
    network = read_network(path, find_card(card) or named_card)
    if is_quantized(network.model):
        raise BuildError(f"{path} is quantized already; quantize the model that it was made from")
    name = named_card.name if named_card else path.stem
    target = output or Path(f"{name}.int8.onnx")
    if target.suffix.lower() != ".onnx" or target.absolute() == path.absolute():
        raise ValueError(f"expected another .onnx file to write than {path}, got {target}")
    if config.distill_steps:
        require_torch()
    found = list({photo.image: photo for photo in read_photos(config.calibration)}.values())
    photos = spread(found, MAX_PHOTOS)
    if len(photos) < CHECK_EVERY:
        raise ValueError(
            f"expected {CHECK_EVERY} calibration photos or more, got {len(photos)} of "
            f"{config.calibration}; a hundred like those to be detected are best"
        )
    kept = photos[CHECK_EVERY - 1 :: CHECK_EVERY]
    require_whole(found if config.distill_steps else photos, "mend or remove them")
    check = _Check(network, [load_photo(photo) for photo in kept]) if config.check else None
    names = {photo.image for photo in kept}
    calibrating, teaching = (
        [photo for photo in group if photo.image not in names] for group in (photos, found)
    )
    quantizer = _Quantizer(
        network, calibrating, teaching, config.distill_steps, progress or _no_progress
    )
    graph, left_out = quantizer.quantize(check)
    checked = "no" if check is None else check.verdict(check.agreements(graph))
    new_card = _make_card(network, config, len(calibrating), len(teaching), left_out, checked)
    write_network(graph, new_card, target)
    return QuantizedModel(target, new_card, left_out, checked)


class _Quantizer:
    """Quantization of one network, with more and more layers left out until the boxes agree."""

    def __init__(
        self,
        network: OnnxNetwork,
        photos: Sequence[Sample],
        teaching: Sequence[Sample],
        distill_steps: int,
        progress: Progress,
    ) -> None:
        self._network, self._photos, self._progress = network, photos, progress
        self._teaching, self._distill_steps = teaching, distill_steps
        self._fp32 = to_fp32(network.model)
        suit_openvino(self._fp32)
        graph = self._fp32.graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        self._depthwise = [
            node.name
            for node in graph.node
            if node.op_type == "Conv" and node.input[1] in weights
            if is_depthwise(node, weights[node.input[1]])
        ]
        self._other_types = sorted({node.op_type for node in graph.node} - QUANTIZED)

    def quantize(self, check: _Check | None) -> tuple[onnx.ModelProto, tuple[str, ...]]:
        """Return the quantized graph and the layers left out."""
        graph = self._make(())
        if check is None:
            return graph, ()
        agreements = check.agreements(graph)
        if min(agreements.values()) >= MIN_AGREEMENT:
            return graph, ()
        logger.warning(
            "in int8 too few boxes agree with fp32 (%s); looking for layers to leave out",
            check.verdict(agreements),
        )
        ranked = self._rank(graph, check, min(agreements, key=lambda name: agreements[name]))
        count = 1
        while count <= len(ranked) // 2:
            graph = self._make(ranked[:count])
            agreements = check.agreements(graph)
            logger.warning("%d layers left out: %s", count, check.verdict(agreements))
            if min(agreements.values()) >= MIN_AGREEMENT:
                return graph, tuple(ranked[:count])
            count *= 2
        raise BuildError(
            f'"{self._network.card.name}" finds other text in int8 than in fp32 even with half of '
            f"its layers left in floating point: {check.verdict(agreements)}; give more photos, "
            "like those to be detected, and --distill-steps"
        )

    def _make(self, left_out: Collection[str]) -> onnx.ModelProto:
        """Quantize the network without the layers left out, and train its weights."""
        graph = self._insert_nodes(left_out)
        if not self._distill_steps:
            return graph
        distillation = Distillation(self._distill_steps)
        arguments = self._network, self._teaching, distillation, self._progress
        return distill(graph, self._fp32, *arguments)

    def _insert_nodes(self, left_out: Collection[str]) -> onnx.ModelProto:
        """Let NNCF insert Q/DQ nodes, not around the layers left out."""
        nncf = _import_nncf()
        card, name = self._network.card, self._network.input_name
        done = 0

        def load(photo: Sample) -> dict[str, Any]:
            nonlocal done
            image = load_photo(photo)
            self._progress("calibrating", done % len(self._photos), len(self._photos))
            done += 1
            return {name: network_input(image, card, card.size_policy.plan(*image.shape[:2]))}

        try:
            with redirect_stdout(io.StringIO()):  # it draws bars of its own
                graph: onnx.ModelProto = nncf.quantize(
                    self._fp32,
                    nncf.Dataset(list(self._photos), load),
                    preset=nncf.QuantizationPreset.PERFORMANCE,  # zero points of 0
                    subset_size=len(self._photos),
                    ignored_scope=nncf.IgnoredScope(
                        names=[*left_out, *self._depthwise], types=self._other_types
                    ),
                    advanced_parameters=nncf.AdvancedQuantizationParameters(
                        overflow_fix=nncf.OverflowFix.ENABLE  # weights of 7 bits
                    ),
                )
        except ImageError:
            raise
        except Exception as error:  # of NNCF and of ONNX Runtime, of types of their own
            raise BuildError(f"NNCF cannot quantize the network: {error}") from error
        finally:
            self._progress("calibrating", len(self._photos), len(self._photos))
        if not is_quantized(graph):
            raise BuildError("NNCF finds nothing to compute in int8 in this network")
        make_signed(graph)
        return graph

    def _rank(self, graph: onnx.ModelProto, check: _Check, engine: str) -> list[str]:
        """Order layers by the error of the map that is left if only they are in fp32, least first.

        Args:
            graph: The quantized graph.
            check: Photos to compare on.
            engine: The engine in which fewest boxes agree.
        """
        layers = list_layers(graph)
        errors = {}
        for index, layer in enumerate(layers):
            self._progress("ranking layers", index, len(layers))
            errors[layer] = check.map_error(restore(graph, self._fp32, layer), engine)
        self._progress("ranking layers", len(layers), len(layers))
        return sorted(layers, key=lambda layer: errors[layer])


class _Check:
    """Comparison of graphs with the network in fp32, on photos that did not calibrate."""

    def __init__(self, network: OnnxNetwork, images: list[Image]) -> None:
        self._network, self._images = network, images
        reference = Detector(network.on_cpu(), tiles="off")
        self._expected = [reference.detect(image, prob_map=True) for image in images]
        if not any(len(found) for found in self._expected):
            raise BuildError(
                f"no text is found on the {len(images)} photos kept for the comparison with fp32; "
                "give photos with text, or --no-check"
            )

    def agreements(self, graph: onnx.ModelProto) -> dict[str, float]:
        """Return the agreement of boxes, 2 same / (expected + found), by engine."""
        return {name: self._agreement(self._open(graph, name)) for name in _engines()}

    def _agreement(self, engine: Engine) -> float:
        detector = Detector(engine, tiles="off")
        same = total = 0
        for image, expected in zip(self._images, self._expected, strict=True):
            found = detector.detect(image)
            same += 2 * count_same(expected, found)
            total += len(expected) + len(found)
        return same / total

    def map_error(self, graph: onnx.ModelProto, name: str) -> float:
        """Return the mean difference of the probability map from that of fp32."""
        detector = Detector(self._open(graph, name), tiles="off")
        ranked_on = [
            (image, expected)
            for image, expected in zip(self._images, self._expected, strict=True)
            if image.shape == self._images[0].shape
        ][:NUM_RANKED_ON]
        pairs = ((detector.detect(image, prob_map=True), expected) for image, expected in ranked_on)
        return float(np.mean([_difference(*pair) for pair in pairs]))

    def _open(self, graph: onnx.ModelProto, name: str) -> Engine:
        network, config = self._network, CpuConfig(precision="int8")
        data = graph.SerializeToString()
        names = network.input_name, network.output_name
        if name == "onnxruntime":
            return OnnxRuntimeEngine(data, network.card, config, *names)
        engine = OpenVinoEngine(data, network.card, config, *names)
        engine.keep_nothing()
        return engine

    def verdict(self, agreements: dict[str, float]) -> str:
        """Say in words how many boxes agree."""
        shares = ", ".join(f"{100 * share:.1f} % in {name}" for name, share in agreements.items())
        return f"boxes as in fp32 on {len(self._images)} photos: {shares}"


def _difference(found: Detections, expected: Detections) -> float:
    assert found.prob_map is not None
    assert expected.prob_map is not None
    return float(np.abs(found.prob_map - expected.prob_map).mean())


def _engines() -> list[str]:
    return [name for name in ENGINES if find_spec(name) is not None]


def _import_nncf() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise BuildError(f"int8 for CPUs needs NNCF ({error}); {install_hint('nncf')}") from error
    logging.getLogger("nncf").setLevel(logging.ERROR)  # set_log_level changes all handlers too
    return nncf


def _no_progress(phase: str, step: int, num_steps: int) -> None:
    """Show nothing."""


def _make_card(
    network: OnnxNetwork,
    config: BuildConfig,
    num_calibrating: int,
    num_teaching: int,
    left_out: tuple[str, ...],
    checked: str,
) -> ModelCard:
    import nncf

    assert config.calibration is not None

    card = network.card
    rest = f", {len(left_out)} layers in floating point ({', '.join(left_out)})" if left_out else ""
    check = "" if checked == "no" else f"; {checked}"
    steps = f", distilled from fp32 in {config.distill_steps} steps" if config.distill_steps else ""
    made = f"int8 by NNCF {nncf.__version__}, weights by channel, symmetric{rest}{steps}{check}"
    taught = f" and distilled on {num_teaching}" if config.distill_steps else ""
    photos = without_folders(config.calibration)
    data = f"int8 calibrated on {num_calibrating}{taught} photos of {photos}"
    return dataclasses.replace(
        card,
        source=f"{card.source}. {made}" if card.source else made,
        training_data=f"{card.training_data}; {data}" if card.training_data else data,
        input_name=network.input_name,
        output_name=network.output_name,
        scores="",  # those are of the network in floating point
        sha256="",
    )
