# SPDX-License-Identifier: Apache-2.0
"""Text read from drawn scenes and pages, beside RapidOCR's own pipeline: character error and CPU
time.

Both use the same networks, PP-OCRv6 small for detection and recognition, and read each image in
turn. A found text belongs to the drawn line that it covers most; what is missing, what is too much
and what is wrong all count as errors. Spaces are not compared.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dbnet_trt import CpuConfig, Detector
from dbnet_trt.reading import rapidocr_reader, read_text
from dbnet_trt.reading.reading import MARGIN, UNSURE
from dbnet_trt.synth.scenes import SynthConfig, load_materials, make_scene
from measure import machine_line, tell, write_report
from numpy.typing import NDArray
from pages import Page

Image = NDArray[np.uint8]
Found = list[tuple[NDArray[np.float32], str]]
"""Corners and text of each."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A drawn line: outline (K, 2), text, and whether it is too small or hidden to count."""

    polygon: NDArray[np.float32]
    text: str
    ignore: bool = False


@dataclass(slots=True)
class Score:
    """Sums over images."""

    errors: int = 0
    missed: int = 0
    characters: int = 0
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)


def draw_scenes(count: int, seed: int) -> Iterator[tuple[Image, list[Truth]]]:
    """Draw scenes as `dbnet synth` does, with the outlines of lines."""
    config = SynthConfig(text_level="line", chinese=0, seed=seed)
    materials = load_materials(config)
    for index in range(count):
        image, texts = make_scene(materials, config, index)
        yield (
            image,
            [
                Truth(text.polygon.astype(np.float32), text.content or "", text.ignore)
                for text in texts
            ],
        )


def draw_pages(count: int, seed: int) -> Iterator[tuple[Image, list[Truth]]]:
    """Draw small pages: a headline over two columns of prose, in letters of 13 to 18 pixels."""
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        page = Page(640, 520, rng)
        y = page.rows(30, 20, [page.words(3)], 30, "DejaVuSansCondensed-Bold") + 10
        size = int(rng.integers(13, 19))
        font = str(rng.choice(["DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSerif-Bold"]))
        for x in (30, 335):
            top = y + rng.uniform(0, size)
            for _ in range(2):
                top = page.paragraph(x, top, 270, int(rng.integers(3, 8)), size, font) + size
        image = cv2.GaussianBlur(page.image, (0, 0), rng.uniform(0.3, 0.8))
        lines = [Truth(line.quad, line.text) for line in page.lines]
        yield np.asarray(image, np.uint8), lines


def distance(one: str, other: str) -> int:
    """Count the insertions, deletions and replacements between two texts (Levenshtein)."""
    letters = np.array(list(map(ord, other)), np.int64)
    steps = np.arange(len(other) + 1)
    row = steps.copy()
    for i, letter in enumerate(map(ord, one)):
        new = np.empty_like(row)
        new[0] = i + 1
        new[1:] = np.minimum(row[:-1] + (letters != letter), row[1:] + 1)
        row = np.minimum.accumulate(new - steps) + steps
    return int(row[-1])


def compare(found: Found, truth: list[Truth]) -> tuple[int, int, int]:
    """Count the errors, the characters of missed lines, and the characters of an image."""
    parts: list[list[tuple[float, str]]] = [[] for _ in truth]
    errors = missed = 0
    for quad, text in found:
        shares = [_share(quad, each.polygon) for each in truth]
        best = int(np.argmax(shares)) if shares else -1
        if best < 0 or shares[best] < 0.3:
            errors += len(_letters(text))
            continue
        along = truth[best].polygon[1] - truth[best].polygon[0]
        parts[best].append((float(quad.mean(axis=0) @ along), text))
    total = 0
    for each, read in zip(truth, parts, strict=True):
        if each.ignore:
            continue
        wanted = _letters(each.text)
        total += len(wanted)
        errors += distance(_letters("".join(text for _, text in sorted(read))), wanted)
        missed += 0 if read else len(wanted)
    return errors, missed, total


def _letters(text: str) -> str:
    return "".join(text.split())


def _share(quad: NDArray[np.float32], polygon: NDArray[np.float32]) -> float:
    """Return the share of a quad that an outline covers, both taken as convex."""
    hull = cv2.convexHull(polygon)
    area, _ = cv2.intersectConvexConvex(cv2.convexHull(quad), hull)
    return float(area / max(min(cv2.contourArea(quad), cv2.contourArea(hull)), 1.0))


def open_ours(margin: float, unsure: float) -> Callable[[Image], Found]:
    """Open our pipeline on one thread."""
    detector = Detector("ppocrv6-small", cpu=CpuConfig(num_threads=1))
    reader = rapidocr_reader(CpuConfig(num_threads=1))

    def read(image: Image) -> Found:
        found = detector.detect(image, polygons=True)
        found = read_text(found, image, reader, margin=margin, unsure=unsure)
        return list(zip(found.quads, found.texts or (), strict=True))

    return read


def open_rapidocr() -> Callable[[Image], Found]:
    """Open RapidOCR as installed, on one thread."""
    from rapidocr import RapidOCR

    threads = {"EngineConfig.onnxruntime.intra_op_num_threads": 1}
    ocr = RapidOCR(params={"Global.log_level": "critical", **threads})

    def read(image: Image) -> Found:
        found = ocr(image)
        if found.boxes is None or found.txts is None:
            return []
        return [
            (np.asarray(q, np.float32), t) for q, t in zip(found.boxes, found.txts, strict=True)
        ]

    return read


def run(
    images: Iterator[tuple[Image, list[Truth]]], systems: dict[str, Callable[[Image], Found]]
) -> dict[str, Any]:
    """Read every image by every system in turn, the first one in each turn changing."""
    scores = {name: Score() for name in systems}
    warm = np.full((640, 640, 3), 255, np.uint8)
    cv2.putText(warm, "warm up", (60, 300), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 4)
    for read in systems.values():
        read(warm)
    count = 0
    for image, truth in images:
        names = list(systems) if count % 2 == 0 else list(systems)[::-1]
        for name in names:
            score = scores[name]
            start = time.process_time()
            found = systems[name](image)
            score.times.append(time.process_time() - start)
            errors, missed, characters = compare(found, truth)
            score.errors += errors
            score.missed += missed
            score.characters += characters
        count += 1
    return {
        "images": count,
        **{
            name: {
                "character_error": round(score.errors / max(score.characters, 1), 4),
                "missed": round(score.missed / max(score.characters, 1), 4),
                "characters": score.characters,
                "cpu_s": round(sum(score.times), 2),
                "cpu_ms_per_image": round(1e3 * float(np.median(score.times)), 1),
            }
            for name, score in scores.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--unsure", type=float, default=UNSURE)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    ours = functools.partial(open_ours, arguments.margin, arguments.unsure)
    systems = {"dbnet_trt": ours(), "rapidocr": open_rapidocr()}
    print(machine_line())
    report: dict[str, Any] = {"threads": 1}
    for name, draw, count in (
        ("scenes", draw_scenes, arguments.scenes),
        ("pages", draw_pages, arguments.pages),
    ):
        if count == 0:
            continue
        tell(f"{name} …")
        result = run(draw(count, arguments.seed), systems)
        ratio = result["dbnet_trt"]["cpu_s"] / result["rapidocr"]["cpu_s"]
        report[name] = result | {"cpu_ratio": round(ratio, 3)}
        print(name, report[name])
    write_report(report, arguments.json)


if __name__ == "__main__":
    main()
