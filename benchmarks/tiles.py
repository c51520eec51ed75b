# SPDX-License-Identifier: Apache-2.0
"""Measure large images in tiles: against whole images, on sheets, in memory, on photos.

    python benchmarks/tiles.py PART... [--engine MODEL] [--json FILE]

PART is one or more of: pages (tiles against the whole page in the network), joins (ways to join
maps), sheets (drawings with small labels), memory (20,000x15,000 pixels), canvas (photos pasted on
a large sheet), photos (photos of ordinary sizes). Other parts that the file has are kept.
"""

from __future__ import annotations

import json as json_module
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import shapely
from cyclopts import App
from dbnet_trt import CpuConfig, Detections, Detector, SizePolicy, Tiles
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.samples import Sample, load_sample_image
from dbnet_trt.evaluation.evaluate import score_image
from dbnet_trt.evaluation.scores import Score
from dbnet_trt.images.load import load_image
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.pipeline.tiles import TilePlan, must_tile, plan_tiles
from dbnet_trt.settings import ResizePlan
from measure import machine, tell
from numpy.typing import NDArray
from sheets import draw_labels, draw_page, num_found, sheets

app = App(help="Measure large images in tiles.")
Part = Literal["pages", "joins", "sheets", "memory", "canvas", "photos"]
Picture = NDArray[np.uint8]

LARGE = (15000, 20000)
MANY = 10**6
"""Limit on texts that none of the images reaches."""


def best_ious(quads: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the IoU of each quad with the one of the others that it fits best."""
    ours, theirs = shapely.polygons(quads), shapely.polygons(others)
    tree, best = shapely.STRtree(theirs), np.zeros(len(quads))
    for i, j in tree.query(ours).T:
        shared = ours[i].intersection(theirs[j]).area
        best[i] = max(best[i], shared / (ours[i].area + theirs[j].area - shared))
    return best


def compare(found: list[Detections], expected: list[Detections]) -> dict[str, Any]:
    """Compare the boxes of pages, in both directions."""
    there, back = (
        np.concatenate([best_ious(a.quads, b.quads) for a, b in zip(first, second, strict=True)])
        for first, second in ((expected, found), (found, expected))
    )
    return {
        "boxes": len(there),
        "iou_0.9_share": round(float((there >= 0.9).mean()), 4),
        "iou_0.5_share": round(float((there >= 0.5).mean()), 4),
        "boxes_in_tiles": len(back),
        "in_tiles_iou_0.5_share": round(float((back >= 0.5).mean()), 4),
        "mean_iou": round(float(there.mean()), 4),
    }


def page_of(index: int) -> Picture:
    """Draw one of the pages, of three sizes."""
    height, width = [(1408, 1120), (1120, 1504), (1600, 992)][index % 3]
    return draw_page(height, width, index)


def untiled(detector: Detector, image: Picture) -> Detections:
    """Detect at the image's own size, the whole image at once."""
    size = SizePolicy(min(image.shape[:2]), max(image.shape[:2]))
    return detector.detect(image, size=size, tiles="off", max_candidates=MANY)


def measure_pages(detector: Detector, count: int) -> dict[str, Any]:
    """Compare tiles, small enough that each page has seams, with the whole page."""
    found: dict[str, list[Detections]] = {"whole": [], "960": [], "640": []}
    for index in range(count):
        image = page_of(index)
        found["whole"].append(untiled(detector, image))
        for side in (960, 640):
            tiles = Tiles(side)
            found[str(side)].append(detector.detect(image, tiles=tiles, max_candidates=MANY))
    return {
        "pages": count,
        **{f"side {side}": compare(found[side], found["whole"]) for side in ("960", "640")},
    }


def measure_joins(detector: Detector, count: int) -> dict[str, Any]:
    """Compare ways to join maps, by overlap, with the whole page."""
    pages = [page_of(index) for index in range(count)]
    expected = [untiled(detector, page) for page in pages]
    rows = {}
    for overlap in (32, 64, 96, 128):
        results: dict[str, list[Detections]] = {"middle": [], "linear": [], "maximum": []}
        for page in pages:
            plan = plan_tiles(page, SizePolicy(1), Tiles(640, overlap))
            maps = list(_tile_maps(detector, page, plan))
            for name in results:
                joined = _join(maps, plan, overlap, name)
                whole = [ResizePlan(plan.image, plan.resized, plan.resized)]
                results[name] += postprocess(joined[None], whole, detector.params, logits=False)
        for name, found in results.items():
            rows[f"overlap {overlap}, {name}"] = compare(found, expected)
    return {"pages": count, "side": 640, "rows": rows}


def _tile_maps(
    detector: Detector, page: Picture, plan: TilePlan
) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield y, x and the map of each tile, without padding."""
    size = (plan.rows.side, plan.columns.side)
    for y, _ in plan.rows.places:
        for x, _ in plan.columns.places:
            tile = page[y : y + size[0], x : x + size[1]]
            ((values,),) = detector._runner.tile_maps([[tile]], size)
            yield y, x, values[: tile.shape[0], : tile.shape[1]]


def _join(
    maps: list[tuple[int, int, NDArray[np.float32]]], plan: TilePlan, overlap: int, way: str
) -> NDArray[np.float32]:
    joined = np.zeros(plan.resized, np.float32)
    for y, x, values in maps:
        part = joined[y : y + values.shape[0], x : x + values.shape[1]]
        if way == "maximum":
            np.maximum(part, values, out=part)
            continue
        weights = [
            _weights(start, length, side, overlap, way)
            for start, length, side in zip((y, x), values.shape, plan.resized, strict=True)
        ]
        part += values * np.outer(*weights).astype(np.float32)
    return joined


def _weights(start: int, length: int, whole: int, overlap: int, way: str) -> NDArray[np.float64]:
    """Weights along one side of a tile: a ramp over each overlap, or a step in its middle."""
    ramp = (np.arange(overlap) + 0.5) / overlap
    ramp = np.round(ramp) if way == "middle" else ramp
    weights = np.ones(length)
    if start > 0:
        weights[:overlap] = ramp
    if start + length < whole:
        weights[-overlap:] = ramp[::-1]
    return weights


def measure_sheets(detector: Detector) -> dict[str, Any]:
    """Count the texts found on sheets, as the options are by default and without tiles."""
    rows = {}
    for name, image, truth in sheets():
        start = time.process_time()
        found = detector.detect(image)
        seconds = time.process_time() - start
        plan = plan_tiles(image, detector.size, Tiles())
        pixels = plan.num_tiles * plan.rows.side * plan.columns.side / image[..., 0].size
        rows[name] = {
            "texts": len(truth),
            "found": num_found(found.boxes, truth),
            "boxes": len(found),
            "found_without_tiles": num_found(detector.detect(image, tiles="off").boxes, truth),
            "network_pixels": round(pixels, 3),
            "cpu_seconds": round(seconds, 1),
        }
    return rows


def measure_memory(engine: str | None) -> dict[str, Any]:
    """Detect in a file of 20,000x15,000 pixels, in a process of its own."""
    image, truth = draw_labels(*LARGE, (500, 500))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sheet.png")
        cv2.imwrite(str(path), image)
        del image
        command = [sys.executable, __file__, "child", str(path), *([engine] if engine else [])]
        report = json_module.loads(subprocess.check_output(command, text=True))
    boxes = np.array(report.pop("boxes"), np.float32)
    return {"texts": len(truth), "found": num_found(boxes, truth), **report}


def _peak_mb() -> int:
    """Read this process's peak memory in MB, with all that it holds (Linux)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6)


@app.command(show=False)
def child(path: Path, engine: str | None = None) -> None:
    """Detect in one file, and print boxes and peak memory."""
    height, width = LARGE
    detector = Detector(engine, cpu=CpuConfig(num_threads=1), max_pixels=height * width)
    image = load_image(path, max_pixels=height * width)
    decoding = _peak_mb()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak
    start = time.process_time()
    found = detector.detect(image)
    plan = plan_tiles(np.empty((height, width, 0)), detector.size, Tiles())
    pixels = plan.num_tiles * plan.rows.side * plan.columns.side
    report = {
        "boxes": found.boxes.tolist(),
        "tiles": plan.num_tiles,
        "network_pixels": round(pixels / height / width, 3),
        "image_mb": round(image.nbytes / 1e6),
        "peak_mb": _peak_mb(),
        "peak_mb_of_decoding": decoding,
        "cpu_seconds": round(time.process_time() - start, 1),
    }
    print(json_module.dumps(report))


def measure_canvas(detector: Detector, count: int) -> dict[str, Any]:
    """Paste photos on a gray canvas of nine columns, and score them there."""
    photos = {"MSRA-TD500": "td500:../shared/data/msra_td500/train",
              "ICDAR 2015": "icdar2015:../shared/data/icdar2015/test_open"}  # fmt: skip
    return {name: _paste(detector, read_dataset(data).samples[:count])
            for name, data in photos.items()}  # fmt: skip


def _paste(detector: Detector, samples: Sequence[Sample]) -> dict[str, Any]:
    alone, full_size = Score(), Score()
    canvas = np.full((-(-len(samples) // 9) * 1400, 9 * 1400, 3), 128, np.uint8)
    texts: list[tuple[NDArray[Any], bool]] = []
    for index, sample in enumerate(samples):
        image = load_sample_image(sample)
        truth = [(text.polygon, text.ignore) for text in sample.texts]
        alone += _score(truth, detector.detect(image))
        full_size += _score(truth, untiled(detector, image))
        row, column = divmod(index, 9)
        y, x = 1400 * row + 37 * (index % 3), 1400 * column + 29 * (index % 4)
        canvas[y : y + image.shape[0], x : x + image.shape[1]] = image
        texts += [(polygon + np.array([x, y]), ignore) for polygon, ignore in truth]
    pasted = _score(texts, detector.detect(canvas, max_candidates=MANY))
    return {
        "photos": len(samples),
        "canvas": f"{canvas.shape[1]}x{canvas.shape[0]}",
        "f_alone": round(alone.f, 4),
        "f_alone_at_full_size": round(full_size.f, 4),
        "f_on_canvas": round(pasted.f, 4),
    }


def _score(truth: list[tuple[NDArray[Any], bool]], found: Detections) -> Score:
    polygons, ignore = [each for each, _ in truth], [each for _, each in truth]
    outlines = [np.rint(quad) for quad in found.quads]
    return score_image("icdar2015", "", polygons, ignore, outlines).result.score


def measure_photos(detector: Detector, count: int) -> dict[str, Any]:
    """Compare photos, enlarged to 12 and to 48 megapixels, with and without tiles="auto"."""
    samples = read_dataset("td500:../shared/data/msra_td500/train").samples[:count]
    rows = {}
    for name, width in (("as they are", 0), ("12 megapixels", 4032), ("48 megapixels", 8064)):
        same, seconds, in_tiles = 0, [0.0, 0.0], 0
        for sample in samples:
            image = load_sample_image(sample)
            scale = width / max(image.shape[:2]) if width else 1
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale), np.uint8)
            found = []
            for i, tiles in enumerate(("off", "auto")):
                start = time.process_time()
                found.append(detector.detect(image, tiles=tiles))  # type: ignore[arg-type]
                seconds[i] += time.process_time() - start
            same += np.array_equal(found[0].quads, found[1].quads)
            plan = detector.size.plan(*image.shape[:2])
            in_tiles += must_tile(plan, detector.size, "auto") is True
        rows[name] = {
            "photos": len(samples),
            "same": int(same),
            "in_tiles_by_size": in_tiles,
            "cpu_seconds_off": round(seconds[0], 2),
            "cpu_seconds_auto": round(seconds[1], 2),
        }
    return rows


@app.default
def main(
    *parts: Part, engine: str | None = None, count: int = 200, json: Path | None = None
) -> None:
    """Measure parts.

    Parameters
    ----------
    parts
        What to measure; everything if left out.
    engine
        Name of a model or path of a file; by default the default model.
    count
        Number of pages or photos.
    json
        File for the numbers; those of other parts and models that it has are kept.
    """
    detector = Detector(engine, cpu=CpuConfig(num_threads=1))
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "pages": partial(measure_pages, detector, count),
        "joins": partial(measure_joins, detector, count),
        "sheets": partial(measure_sheets, detector),
        "memory": partial(measure_memory, engine),
        "canvas": partial(measure_canvas, detector, count),
        "photos": partial(measure_photos, detector, count),
    }
    for part in parts or get_args(Part):
        tell(part)
        result = measures[part]()
        print(json_module.dumps({part: result}, indent=2), flush=True)
        if json is None:
            continue
        json.parent.mkdir(parents=True, exist_ok=True)
        report = json_module.loads(json.read_text()) if json.exists() else {}
        report["machine"] = machine()
        model = f" --engine {detector.card.name}" if engine else ""
        result = {"command": f"python benchmarks/tiles.py {part}{model} --count {count}", **result}
        report.setdefault("models", {}).setdefault(detector.card.name, {})[part] = result
        json.write_text(json_module.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
