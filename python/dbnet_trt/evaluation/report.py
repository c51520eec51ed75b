# SPDX-License-Identifier: Apache-2.0
"""Report of an evaluation as one HTML file: numbers, curve, worst images, JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import cv2
import numpy as np

from .evaluate import Evaluation, ScoredImage, detection_result, stretched
from .scores import Polygon, Score

NUM_WORST = 24
MAX_SIDE_PX = 960
"""Maximum long side of a picture in the gallery, in pixels."""

JPEG_QUALITY = 80

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem;
color:#1b1f24;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.15rem 1.2rem .15rem 0;vertical-align:top}th{font-weight:600}
.big td{font-size:1.7rem;padding-right:2.2rem}.big th{padding-right:2.2rem}
svg{max-width:100%;height:auto}figure{margin:0 0 1.6rem}figcaption{font-weight:600}
.outline{fill:none;stroke-width:2;vector-effect:non-scaling-stroke}
.found{stroke:#1a9c39}.missed{stroke:#e5262b}.ignore{stroke:#8a8f98;stroke-dasharray:4 3}
.hit{stroke:#2f7bf0}.false{stroke:#ff9a00}.ignored{stroke:#8a8f98}
.key i{display:inline-block;width:1.6rem;border-top:3px solid;margin:0 .4rem .2rem 1rem}
.key .found{color:#1a9c39}.key .missed{color:#e5262b}.key .ignore{color:#8a8f98}
.key .hit{color:#2f7bf0}.key .false{color:#ff9a00}
"""

_KEY = (
    '<p class="key">texts:<i class="found"></i>found<i class="missed"></i>missed'
    '<i class="ignore"></i>to ignore &nbsp; detections:<i class="hit"></i>right'
    '<i class="false"></i>wrong<i class="ignore"></i>not counted</p>'
)


def render_report(
    evaluation: Evaluation, facts: Mapping[str, str], threshold: float | None = None
) -> str:
    """Render an HTML document with its pictures inside.

    Args:
        evaluation: What to show.
        facts: What else the reader should know: the model, the data, the settings.
        threshold: The score threshold of the result, marked on the curve.
    """
    return "\n".join(_parts(evaluation, facts, threshold)) + "\n"


def _parts(
    evaluation: Evaluation, facts: Mapping[str, str], threshold: float | None
) -> Iterator[str]:
    score = evaluation.score
    yield '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width">'
    yield f"<title>dbnet eval: F {score.f:.5f}</title><style>{_STYLE}</style></head><body>"
    yield "<h1>Text detection, scored</h1>"
    yield '<table class="big"><tr><th>precision</th><th>recall</th><th>F</th></tr>'
    yield f"<tr><td>{score.precision:.5f}</td><td>{score.recall:.5f}</td><td>{score.f:.5f}</td>"
    yield "</tr></table>"
    yield _table({**facts, **_counts(evaluation)})
    if evaluation.curve:
        yield "<h2>Precision and recall by score threshold</h2>"
        yield _curve(evaluation.curve, score, threshold)
        yield "<p>A point a threshold; the ring is the result above. Point at one for its numbers."
        yield "</p>"
    yield from _gallery(evaluation.worst(NUM_WORST))
    lines = "".join(image.to_json() + "\n" for image in evaluation.images)
    data = base64.b64encode(lines.encode()).decode()
    yield "<h2>Every image</h2>"
    yield f'<p><a download="per_image.jsonl" href="data:application/x-ndjson;base64,{data}">'
    yield f"per_image.jsonl</a>: one line of JSON for each of {len(evaluation.images)} images, "
    yield "its score, its texts, its detections and what became of each.</p>"
    yield "</body></html>"


def _counts(evaluation: Evaluation) -> dict[str, str]:
    score = evaluation.score
    missed = sum(image.num_missed for image in evaluation.images)
    false = sum(image.num_false for image in evaluation.images)
    return {
        "protocol": evaluation.protocol,
        "images": str(len(evaluation.images)),
        "texts": f"{score.num_truths}, of which {missed} missed",
        "detections": f"{score.num_detections}, of which {false} wrong",
    }


def _table(facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items()
    )
    return f"<table>{rows}</table>"


def _curve(curve: Sequence[tuple[float, Score]], result: Score, threshold: float | None) -> str:
    """Draw the precision-recall curve in a square of 400 by 400."""

    def place(score: Score) -> str:
        """Return the point "x,y" of a score in the drawing."""
        return f"{50 + 400 * score.recall:.1f},{410 - 400 * score.precision:.1f}"

    parts = ['<svg viewBox="0 0 470 460" width="470" font-size="12" fill="#555">']
    for step in range(0, 11, 2):
        right, up = 50 + 40 * step, 410 - 40 * step
        parts.append(f'<path d="M{right} 10V410M50 {up}H450" stroke="#ddd"/>')
        parts.append(f'<text x="{right}" y="428" text-anchor="middle">{step / 10:g}</text>')
        parts.append(f'<text x="42" y="{up + 4}" text-anchor="end">{step / 10:g}</text>')
    parts.append('<text x="250" y="450" text-anchor="middle">recall</text>')
    parts.append('<text transform="translate(12 210) rotate(-90)">precision</text>')
    shown = [(limit, score) for limit, score in curve if score.num_detections]
    points = " ".join(place(score) for _, score in shown)
    parts.append(f'<polyline points="{points}" fill="none" stroke="#2f7bf0" stroke-width="2"/>')
    for limit, score in shown:
        x, y = place(score).split(",")
        parts.append(f'<circle cx="{x}" cy="{y}" r="3.5" fill="#2f7bf0">')
        parts.append(f"<title>threshold {limit:g}: {score}</title></circle>")
    if threshold is not None:
        x, y = place(result).split(",")
        parts.append(f'<circle cx="{x}" cy="{y}" r="7" fill="none" stroke="#e5262b" ')
        parts.append(f'stroke-width="2"><title>threshold {threshold:g}: {result}</title></circle>')
    return "".join(parts) + "</svg>"


def _gallery(images: Sequence[ScoredImage]) -> Iterator[str]:
    yield "<h2>Worst images</h2>"
    if not images:
        yield "<p>There is no image with an error.</p>"
        return
    yield _KEY
    for image in images:
        score = image.result.score
        missed = f"{image.num_missed} of {score.num_truths} missed"
        false = f"{image.num_false} of {score.num_detections} wrong"
        yield f"<figure><figcaption>{escape(image.name)}: {missed}, {false}</figcaption>"
        yield _picture(image) + "</figure>"


def _picture(image: ScoredImage) -> str:
    left, top, width, height, pixels = _backdrop(image)
    parts = [f'<svg viewBox="{left:g} {top:g} {width:g} {height:g}" width="{width:g}">']
    parts.append(pixels)
    for index, (polygon, skip) in enumerate(zip(image.truths, image.ignore, strict=True)):
        found = "found" if index in image.result.truth_hits else "missed"
        parts.append(_outline(polygon, "ignore" if skip else found))
    for index, polygon in enumerate(image.detections):
        score = "" if image.confidences is None else f" {image.confidences[index]:.2f}"
        parts.append(_outline(polygon, detection_result(image.result, index), score))
    return "".join(parts) + "</svg>"


def _backdrop(image: ScoredImage) -> tuple[float, float, float, float, str]:
    """Return left, top, width, height of the picture in pixels of the image, and the photo."""
    if image.sample is None:
        corners = np.concatenate([np.zeros((1, 2)), *image.truths, *image.detections])
        (left, top), (right, bottom) = corners.min(axis=0) - 10, corners.max(axis=0) + 10
        return left, top, right - left, bottom - top, ""
    from ..data.samples import load_sample_image

    photo = stretched(load_sample_image(image.sample), image.sample.stretch)
    height, width = photo.shape[:2]
    factor = min(1.0, MAX_SIDE_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    code = base64.b64encode(data.tobytes()).decode()
    # Pixel centres are at whole numbers: the picture begins half a pixel before the first.
    place = f'x="-.5" y="-.5" width="{width}" height="{height}" preserveAspectRatio="none"'
    return -0.5, -0.5, width, height, f'<image {place} href="data:image/jpeg;base64,{code}"/>'


def _outline(polygon: Polygon, kind: str, note: str = "") -> str:
    points = " ".join(f"{x:g},{y:g}" for x, y in np.asarray(polygon, np.float64).round(1))
    return (
        f'<polygon class="outline {kind}" points="{points}"><title>{kind}{note}</title></polygon>'
    )
