# SPDX-License-Identifier: Apache-2.0
"""Comparison with other detectors on the same weights, photos and sizes, as far as they allow."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from dbnet_trt import CpuConfig, Detector, SizePolicy
from dbnet_trt.engines.onnx_model import flush_denormals
from dbnet_trt.pipeline.reference import postprocess_reference, preprocess_reference
from dbnet_trt.settings import ResizePlan
from dbnet_trt.zoo import MODELS, find_model
from measure import affordable, geometric_mean, interleaved, summary, tell
from numpy.typing import NDArray
from rich.table import Table
from stages import Image

MODEL = "ppocrv6-small"
SHORT_SIDE = 736  # RapidOCR's size policy, which all follow: the minimum short side, and the
LONG_SIDE = 2000  # long side up to which images are never made smaller
MIN_AGREED = 0.7
"""Minimum share of texts that the other detector must overlap by half, to count as equal work."""

Quads = list[NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another detector."""

    name: str
    differs: str
    """Differences from our pipeline other than the code."""

    detect: Callable[[Image, ResizePlan], Quads]
    """Function that returns corners in pixels of the image, given the image's sizes in ours."""


# ---- RapidOCR ----------------------------------------------------------------------------------


def open_rapidocr() -> list[Peer]:
    """Open RapidOCR's text detection, as installed and with OpenVINO."""
    from rapidocr import EngineType, RapidOCR

    def open_one(engine_type: Any) -> Callable[[Image, ResizePlan], Quads]:
        ocr = RapidOCR(params={"Global.log_level": "critical", "Det.engine_type": engine_type})

        def run(image: Image, plan: ResizePlan) -> Quads:
            found = ocr(image, use_det=True, use_cls=False, use_rec=False)
            return [] if found.boxes is None else [np.asarray(quad) for quad in found.boxes]

        return run

    differs = "normalises by 0.5, dilates the mask, unclips by 1.6; stretches to multiples of 32"
    return [
        Peer("RapidOCR as installed", differs, open_one(EngineType.ONNXRUNTIME)),
        Peer("RapidOCR with OpenVINO", differs, open_one(EngineType.OPENVINO)),
    ]


# ---- OpenCV ------------------------------------------------------------------------------------


def open_opencv() -> list[Peer]:
    """Open TextDetectionModel_DB of cv2.dnn."""
    model, card = _read_weights()
    output = model.graph.output[0].name
    squeeze = onnx.helper.make_node("Squeeze", [output], ["flat"], axes=[0, 1])
    model.graph.node.append(squeeze)  # it takes an (h, w) map only
    _replace_output(model, "flat", ["h", "w"])
    data = np.frombuffer(model.SerializeToString(), np.uint8)
    detector = cv2.dnn.TextDetectionModel_DB(cv2.dnn.readNetFromONNX(data))
    detector.setBinaryThreshold(card.binary_threshold).setPolygonThreshold(card.score_threshold)
    detector.setUnclipRatio(card.unclip_ratio).setMaxCandidates(1000)
    mean = [255 * value for value in card.mean]

    def run(image: Image, plan: ResizePlan) -> Quads:
        scale = 1 / (255 * float(np.mean(card.std)))
        detector.setInputParams(scale, plan.padded[::-1], mean, False)
        return [np.array(quad, np.float32) for quad in detector.detect(image)[0]]

    differs = "one standard deviation for all channels; stretches to multiples of 32"
    return [Peer(f"OpenCV {cv2.__version__} TextDetectionModel_DB", differs, run)]


# ---- OnnxTR ------------------------------------------------------------------------------------


def open_onnxtr() -> list[Peer]:
    """Open docTR's detection in ONNX Runtime with our network, as its own weights would have to be
    downloaded."""
    from onnxtr.models import detection
    from onnxtr.models.detection.predictor import DetectionPredictor
    from onnxtr.models.preprocessor import PreProcessor

    card = MODELS[MODEL].card

    @functools.cache
    def open_size(padded: tuple[int, int]) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "logits.onnx"
            onnx.save(_logits_of_size(padded), path)
            network = detection.DBNet(
                str(path),
                bin_thresh=card.binary_threshold,
                box_thresh=card.score_threshold,
                assume_straight_pages=False,
            )
        sizes = {"preserve_aspect_ratio": False, "symmetric_pad": False}
        before = PreProcessor(padded, 1, mean=card.mean, std=card.std, **sizes)
        return DetectionPredictor(before, network)

    def run(image: Image, plan: ResizePlan) -> Quads:
        (found,) = open_size(plan.padded)([image])
        scale = np.array(plan.image[::-1], np.float32)
        return [(quad[:4] * scale).astype(np.float32) for quad in found]

    differs = "opens the mask, no mini-rectangles; stretches to multiples of 32"
    return [Peer("OnnxTR", differs, run)]


def _logits_of_size(padded: tuple[int, int]) -> onnx.ModelProto:
    """Convert the network to one fixed size without its last sigmoid, which OnnxTR applies."""
    model, _ = _read_weights()
    graph = model.graph
    (last,) = (node for node in graph.node if node.output[0] == graph.output[0].name)
    assert last.op_type == "Sigmoid"
    _replace_output(model, last.input[0], ["batch", 1, "h", "w"])
    graph.node.remove(last)
    dims = graph.input[0].type.tensor_type.shape.dim
    for dim, value in zip(dims[1:], (3, *padded), strict=True):
        dim.dim_value = value
    return model


def _read_weights() -> tuple[onnx.ModelProto, Any]:
    """Read the default model without denormal weights, as ours runs it, and its card."""
    path, card = find_model(MODEL)
    model = onnx.load(path)
    flush_denormals(model)
    return model, card


def _replace_output(model: onnx.ModelProto, name: str, shape: list[Any]) -> None:
    del model.graph.output[:]
    info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    model.graph.output.append(info)


# ---- plain Python around our network -----------------------------------------------------------


def open_usual_python() -> list[Peer]:
    """Open our network between pre- and post-processing in OpenCV, NumPy and pyclipper, as in the
    authors' code."""
    detector = Detector(MODEL)
    engine: Any = detector._engine

    def run(image: Image, plan: ResizePlan) -> Quads:
        (prob_map,) = engine(preprocess_reference(image, plan, detector.card.normalization)[None])
        height, width = plan.resized
        quads, _ = postprocess_reference(prob_map[:height, :width], detector.params)
        scale = np.array(plan.image[::-1], np.float32) / np.array([width, height], np.float32)
        return list(quads * scale)

    return [Peer("our network, OpenCV + Python around it", "nothing", run)]


OPENERS: dict[str, tuple[Callable[[], list[Peer]], str]] = {
    "RapidOCR": (open_rapidocr, "pip install rapidocr==3.10.0 onnxruntime openvino"),
    "OpenCV's text detection": (open_opencv, "pip install opencv-python-headless"),
    "OnnxTR": (open_onnxtr, "pip install 'onnxtr[cpu-headless]'"),
    "the usual Python": (open_usual_python, "pip install 'dbnet-trt[pretrained]'"),
}


def open_peers() -> tuple[list[Peer], dict[str, str]]:
    """Open the other detectors; for those that are missing, say why and how to install them."""
    peers, missing = [], {}
    for name, (open_them, install) in OPENERS.items():
        try:
            peers += open_them()
        except (ImportError, AttributeError, cv2.error) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            missing[name] = f"{reason}; {install}"
    return peers, missing


# ---- the comparison ----------------------------------------------------------------------------


def same_size(height: int, width: int) -> SizePolicy:
    """Choose the policy that gives an image the size it has in RapidOCR, except for rounding."""
    short, long = min(height, width), max(height, width)
    factor = min(max(1.0, SHORT_SIDE / short), LONG_SIDE / long)
    return SizePolicy(max(1, round(short * factor)), max(LONG_SIDE, round(long * factor)))


def share_overlapped(quads: Quads, others: Quads) -> float:
    """Compute the share of the quads of which half is covered by another quad."""
    if not quads:
        return 1.0
    hits = 0
    for quad in quads:
        overlaps = [
            cv2.intersectConvexConvex(quad.astype(np.float32), other.astype(np.float32))[0]
            for other in others
        ]
        hits += max(overlaps, default=0) > 0.5 * cv2.contourArea(quad.astype(np.float32))
    return hits / len(quads)


def compare(
    photos: dict[str, Image],
    repeats: int,
    peers: list[Peer] | None = None,
    missing: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Time ours and the other detectors in turn, on the same weights, photos and sizes.

    Raises:
        SystemExit: Another detector finds other text than ours, so the work is not equal.
    """
    if peers is None:
        peers, missing = open_peers()
    ours = {
        "dbnet_trt": Detector(MODEL),
        "dbnet_trt, ONNX Runtime": Detector(MODEL, cpu=CpuConfig(backend="onnxruntime")),
    }
    agreed = {peer.name: _agreement(photos, ours["dbnet_trt"], peer) for peer in peers}
    rows: list[dict[str, Any]] = []
    for name, image in photos.items():
        tell(f"{name}: {', '.join([*ours, *agreed])}")
        size = same_size(*image.shape[:2])
        plan = size.plan(*image.shape[:2])
        ways: dict[str, Callable[[], object]] = {
            key: functools.partial(detector.detect, image, size=size)
            for key, detector in ours.items()
        } | {peer.name: functools.partial(peer.detect, image, plan) for peer in peers}
        rounds = affordable(functools.partial(_run_all, ways), repeats, 30)
        times = {key: summary(each) for key, each in interleaved(ways, rounds, warm_ups=1).items()}
        texts = len(ours["dbnet_trt"].detect(image, size=size))
        rows.append({"photo": name, "size": list(plan.padded), "texts": texts, "ms": times})
    return {
        "rows": rows,
        "agreed": agreed,
        "differs": {peer.name: peer.differs for peer in peers},
        "geometric_mean_ratios": {way: _ratio(rows, way) for way in rows[0]["ms"]},
        "missing": missing or {},
    }


def _agreement(photos: dict[str, Image], detector: Detector, peer: Peer) -> list[float]:
    """Compute the shares of the other's texts that ours overlap, and of ours that it overlaps."""
    shares = []
    for image in photos.values():
        size = same_size(*image.shape[:2])
        ours = list(detector.detect(image, size=size).quads)
        theirs = peer.detect(image, size.plan(*image.shape[:2]))
        shares.append((share_overlapped(theirs, ours), share_overlapped(ours, theirs)))
    mean = [round(float(share), 3) for share in np.mean(shares, axis=0)]
    if min(mean) < MIN_AGREED:
        raise SystemExit(
            f"{peer.name}: ours overlap {mean[0]:.0%} of its texts, and its {mean[1]:.0%} of ours: "
            "not the same work, nothing was timed"
        )
    return mean


def _run_all(ways: dict[str, Callable[[], object]]) -> None:
    for way in ways.values():
        way()


def _ratio(rows: list[dict[str, Any]], way: str) -> float:
    """Compute a detector's time divided by ours, as the geometric mean over all photos."""
    ratios = [row["ms"][way]["p50_ms"] / row["ms"]["dbnet_trt"]["p50_ms"] for row in rows]
    return round(geometric_mean(ratios), 2)


def comparison_tables(result: dict[str, Any]) -> list[Table]:
    """Make the tables: medians in ms of each photo, and the ratios."""
    ways = list(result["geometric_mean_ratios"])
    photos = [row["photo"] for row in result["rows"]]
    times = Table("median ms (p99)", *photos, title=f"whole detection, weights of {MODEL}")
    for way in ways:
        cells = [row["ms"][way] for row in result["rows"]]
        times.add_row(way, *(f"{cell['p50_ms']:.0f} ({cell['p99_ms']:.0f})" for cell in cells))
    summary_table = Table("", "times as long", "same texts", "differences", title="all photos")
    for way in ways:
        agreed = result["agreed"].get(way)
        shares = "" if agreed is None else f"{agreed[0]:.0%}, {agreed[1]:.0%}"
        ratio = f"{result['geometric_mean_ratios'][way]:.2f}"
        summary_table.add_row(way, ratio, shares, result["differs"].get(way, ""))
    return [times, summary_table]
