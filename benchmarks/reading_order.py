# SPDX-License-Identifier: Apache-2.0
"""Reading order on drawn pages of two to four columns, and a picture of 20 layouts.

A page counts if all of its lines come in the order in which a person reads them; lines that the
detector misses are left out, and one that it joins with a line of the next column is an error.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dbnet_trt import Detections, Detector
from measure import write_report
from numpy.typing import NDArray
from pages import LAYOUTS, Line, Page, columns_page, layout_page, turn

COLORS = ((180, 90, 20), (30, 30, 200), (30, 140, 30), (170, 30, 150), (20, 130, 190))


def exact(lines: list[Line], rng: np.random.Generator) -> Detections:
    """Return the outlines as a detector might: up to 2 pixels off, in arbitrary order."""
    quads = np.stack([line.quad for line in lines]).astype(np.float64)
    corners = rng.uniform(-2, 2, (len(quads), 4, 1))
    quads += corners * [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    order = rng.permutation(len(quads))
    return Detections(quads[order].astype(np.float32), np.ones(len(quads), np.float32))


def numbers(found: Detections, lines: list[Line]) -> list[int] | None:
    """Return the number of the drawn line of each text; None if one covers two lines."""
    centers = np.stack([line.quad.mean(axis=0) for line in lines]).astype(np.float32)
    boxes = [cv2.boxPoints(cv2.minAreaRect(line.quad)) for line in lines]
    sequence = []
    for quad in found.quads:
        inside = [cv2.pointPolygonTest(quad, center.tolist(), False) > 0 for center in centers]
        if sum(inside) > 1:
            return None
        x, y = quad.mean(axis=0).tolist()
        own = [i for i, box in enumerate(boxes) if cv2.pointPolygonTest(box, (x, y), False) >= 0]
        sequence += own[:1]
    return sequence


def is_right(found: Detections, lines: list[Line]) -> bool:
    """Test whether texts come in the order in which the lines were drawn."""
    sequence = numbers(found, lines)
    return sequence is not None and sequence == sorted(sequence)


def by_rows(found: Detections) -> Detections:
    """Sort from top to bottom, then from left to right: the order of rows alone, to compare."""
    centers = found.quads.mean(axis=1)
    heights = np.linalg.norm(found.quads[:, 3] - found.quads[:, 0], axis=1)
    rows: list[list[int]] = []
    for i in np.argsort(centers[:, 1]).tolist():
        if rows and centers[i, 1] - centers[rows[-1][-1], 1] < heights[i] / 2:
            rows[-1].append(i)
        else:
            rows.append([i])
    return found[[i for row in rows for i in sorted(row, key=lambda i: centers[i, 0])]]


def run(count: int, model: str | None, seed: int) -> dict[str, Any]:
    """Count the pages in the right order, with exact and with detected outlines."""
    right = {"exact": 0, "exact, slanted": 0, "exact, turned by 90": 0, "by rows": 0}
    if model is not None:
        right["detected"] = 0
    detector = None if model is None else Detector(model)
    wrong: dict[str, list[int]] = {name: [] for name in right}
    seconds, texts = 0.0, 0
    for index in range(count):
        page = columns_page(index, seed)
        rng = np.random.default_rng((seed, index, 1))
        image, lines = page.image, page.lines
        slanted = turn(image, lines, rng.uniform(-8, 8))[1]
        sideways = turn(image, lines, 90)[1]
        found = exact(lines, rng)
        start = time.process_time()
        ordered = found.in_reading_order()
        seconds, texts = seconds + time.process_time() - start, texts + len(found)
        results = {
            "exact": is_right(ordered, lines),
            "exact, slanted": is_right(exact(slanted, rng).in_reading_order(), slanted),
            "exact, turned by 90": is_right(exact(sideways, rng).in_reading_order(), sideways),
            "by rows": is_right(by_rows(found), lines),
        }
        if detector is not None:
            results["detected"] = is_right(detector.detect(image).in_reading_order(), lines)
        for name, ok in results.items():
            right[name] += ok
            if not ok:
                wrong[name].append(index)
    layouts = {}
    for number, layout in enumerate(LAYOUTS):
        page = layout_page(number)
        found = exact(page.lines, np.random.default_rng(number))
        layouts[layout.__name__] = is_right(found.in_reading_order(), page.lines)
    del wrong["by rows"]
    return {
        "pages": count,
        "pages_in_order": right,
        "wrong_pages": wrong,
        "layouts_in_order": layouts,
        "cpu_ms_per_page": round(1e3 * seconds / count, 2),
        "texts_per_page": round(texts / count, 1),
    }


def draw(page: Page, number: int) -> NDArray[np.uint8]:
    """Draw the blocks and their order on a page."""
    canvas = page.image
    found = exact(page.lines, np.random.default_rng(number))
    before = None
    for i, block in enumerate(found.blocks()):
        color = COLORS[i % len(COLORS)]
        for line in block:
            cv2.polylines(canvas, [quad.astype(int) for quad in line.quads], True, color, 2)
            for quad in line.quads:
                center = quad.mean(axis=0).astype(int).tolist()
                if before is not None:
                    cv2.arrowedLine(canvas, before, center, color, 2, cv2.LINE_AA, 0, 0.06)
                before = center
        boxes = np.concatenate([line.boxes for line in block])
        x, y = boxes[:, 0].min(), boxes[:, 1].min()
        at = (max(2, int(x) - 26), int(y) + 14)
        cv2.putText(canvas, str(i + 1), at, cv2.FONT_HERSHEY_SIMPLEX, 0.9, color, 2, cv2.LINE_AA)
    return canvas


def plot(path: Path) -> None:
    """Draw the 20 layouts, five in a row."""
    tiles = []
    for number, layout in enumerate(LAYOUTS):
        tile = cv2.resize(draw(layout_page(number), number), (350, 380), interpolation=3)
        tile = cv2.copyMakeBorder(tile, 24, 4, 4, 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
        cv2.rectangle(tile, (3, 23), (354, 404), (170, 170, 170))
        name = layout.__name__.replace("_", " ")
        cv2.putText(tile, name, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        tiles.append(tile)
    sheet = np.concatenate([np.concatenate(tiles[i : i + 5], 1) for i in range(0, len(tiles), 5)])
    palette = sheet // 32 * 32 + 16  # a small file
    palette[sheet > 240] = 255
    cv2.imwrite(str(path), palette, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="also detect the lines with this model")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, help="PNG file for the 20 layouts")
    arguments = parser.parse_args()
    results = run(arguments.pages, arguments.model, arguments.seed)
    print(json.dumps(results, indent=1))
    write_report(results, arguments.json)
    if arguments.plot is not None:
        plot(arguments.plot)


if __name__ == "__main__":
    main()
