# SPDX-License-Identifier: Apache-2.0
"""The page without a server, in Chromium: outlines beside Python's, bytes, time to the first one.

    python web/build.py && python benchmarks/browser.py [--images DIR] [--json FILE]

Chromium runs without a window, driven by Selenium. CPU seconds are those of all its processes.
"""

from __future__ import annotations

import json as json_module
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import CpuConfig, Detections, Detector
from measure import tell, write_report
from scenes import text_scene
from tiles import best_ious

app = App(help="Compare the page for browsers with Python.")
PAGE = Path(__file__).parents[1] / "build" / "web"
TIMEOUT = 120.0
SAME_IOU = 0.98
DONE = """
const busy = !document.getElementById("progress").hidden;
const told = !document.getElementById("notice").hidden;
return !busy && (told || (found !== null && file.name === arguments[0]));
"""


class Site:
    """A server of files on this machine, for a `with` block.

    `requests` are the lines of what was asked of it, `sizes` the bytes of its answers.
    """

    def __init__(self, folder: Path) -> None:
        site = self
        self.requests: list[str] = []
        self.sizes: list[int] = []

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, code: Any = "-", size: Any = "-") -> None:
                site.requests.append(self.requestline.rpartition(" ")[0])

            def copyfile(self, source: Any, outputfile: Any) -> None:
                data = source.read()
                outputfile.write(data)
                site.sizes.append(len(data))

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def open_chromium(width: int, downloads: Path) -> Iterator[Any]:
    """Start Chromium without a window and with an empty cache; gives Selenium's driver."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", f"window-size={width},900"):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    browser = webdriver.Chrome(
        options=options, service=webdriver.ChromeService("/usr/bin/chromedriver")
    )
    browser.set_script_timeout(TIMEOUT)
    try:
        yield browser
    finally:
        browser.quit()


def wait(condition: Callable[[], Any]) -> Any:
    """Wait until a condition holds, and return what it gives.

    Raises:
        TimeoutError: It does not.
    """
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {TIMEOUT:.0f} s for the browser")
        time.sleep(0.02)
    return found


def show(browser: Any, photo: Path) -> dict[str, Any]:
    """Give a photo to the page, and return what the page found, down to score 0.

    Raises:
        RuntimeError: The page says that something went wrong.
    """
    browser.find_element("id", "file").send_keys(str(photo.resolve()))
    wait(lambda: browser.execute_script(DONE, photo.name))
    found = browser.execute_script("return found && {...found, took}")
    if found is None:
        raise RuntimeError(browser.find_element("id", "notice").text)
    return dict(found)


def shown_quads(found: dict[str, Any], score_threshold: float) -> np.ndarray:
    """Return the outlines of this score or a better one, (N, 4, 2) float32."""
    scores = np.array(found["scores"])
    return np.array(found["quads"], np.float32).reshape(-1, 4, 2)[scores >= score_threshold]


def cpu_seconds(process: int) -> dict[str, float]:
    """CPU time of a process and of all that it started, and the part of workers' own threads."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            fields = path.read_text("ascii", "replace").rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(fields[1])
    used, family = {"all": 0.0, "worker": 0.0}, {process}
    while family:
        for path in (each for one in family for each in Path(f"/proc/{one}/task").glob("*/stat")):
            name, _, rest = path.read_text("ascii", "replace").rpartition(")")
            seconds = sum(map(int, rest.split()[11:13])) / os.sysconf("SC_CLK_TCK")
            used["all"] += seconds
            used["worker"] += seconds if "DedicatedWorker" in name else 0
        family = {child for child, parent in parents.items() if parent in family}
    return used


def first_result(page: Path, photo: Path) -> dict[str, Any]:
    """Open the page with an empty cache, and give it a photo at once."""
    with Site(page) as site, open_chromium(1200, page) as browser:
        process = browser.service.process.pid
        before = cpu_seconds(process)
        browser.get(site.address)
        found = show(browser, photo)
        seconds = browser.execute_script("return performance.now()") / 1000
        after = cpu_seconds(process)
        version = browser.capabilities["browserVersion"]
    return {
        "chromium": version,
        "first_result_s": round(seconds, 2),
        "first_result_cpu_s": round(after["all"] - before["all"], 2),
        "of_which_the_worker_s": round(after["worker"], 2),
        "of_which_after_the_photo_s": round(found["took"] / 1000, 2),
        "loaded_mb": round(sum(site.sizes) / 1e6, 2),
        "requests": sorted(site.requests),
    }


def compare(found: np.ndarray, expected: Detections) -> dict[str, Any]:
    """Compare the outlines of one photo, in both directions."""
    both = [best_ious(expected.quads, found), best_ious(found, expected.quads)]
    ious = np.concatenate(both) if len(found) or len(expected) else np.ones(1)
    return {
        "boxes": len(expected),
        "in_browser": len(found),
        "min_iou": round(float(ious.min()), 4),
        "same": int((both[0] >= SAME_IOU).sum()),
    }


def draw_scenes(folder: Path, count: int) -> list[Path]:
    """Draw scenes of different shapes as PNG files."""
    paths = []
    for i in range(count):
        height, width = ((600, 800), (900, 640), (720, 1280))[i % 3]
        paths.append(folder / f"scene-{i:02}.png")
        scene = text_scene(height, width, 6 + i, np.random.default_rng(i))
        cv2.imwrite(str(paths[-1]), scene)
    return paths


@app.default
def main(
    images: Path | None = None, *, count: int = 20, page: Path = PAGE, json: Path | None = None
) -> None:
    """Compare the page for browsers with Python, on ONNX Runtime in fp32.

    Args:
        images: Folder of photos, searched with all below it; without it scenes are drawn.
        count: Number of photos, evenly taken from the folder.
        page: Folder of the page, from web/build.py.
        json: File for the numbers.
    """
    if not (page / "index.html").is_file():
        sys.exit(f"there is no page in {page}; run python web/build.py first")
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_scenes(Path(folder), count) if images is None else _choose(images, count)
        report = _measure(page, photos)
    print(json_module.dumps({name: report[name] for name in report if name != "photos"}, indent=2))
    write_report(report, json)


def _choose(folder: Path, count: int) -> list[Path]:
    kinds = {".jpg", ".jpeg", ".png"}
    photos = sorted(each for each in folder.rglob("*") if each.suffix.lower() in kinds)
    if len(photos) < count:
        sys.exit(f"expected {count} photos or more below {folder}, found {len(photos)}")
    return [photos[i * len(photos) // count] for i in range(count)]


def _measure(page: Path, photos: list[Path]) -> dict[str, Any]:
    tell("first result")
    first = first_result(page, photos[0])
    # As in the page: one look, without tiles.
    detector = Detector(cpu=CpuConfig("onnxruntime", "fp32", num_threads=1), tiles="off")
    threshold = detector.params.score_threshold
    rows = []
    with Site(page) as site, open_chromium(1200, page) as browser:
        browser.get(site.address)
        for photo in photos:
            tell(photo.name)
            found = show(browser, photo)
            row = compare(shown_quads(found, threshold), detector.detect(photo))
            rows.append({"photo": photo.name, **row, "ms": found["took"]})
    boxes = sum(row["boxes"] for row in rows)
    return {
        "model": detector.card.name,
        "load_average": [round(each, 1) for each in os.getloadavg()],
        **first,
        "num_photos": len(rows),
        "boxes": boxes,
        "boxes_in_browser": sum(row["in_browser"] for row in rows),
        f"boxes_iou_{SAME_IOU}": sum(row["same"] for row in rows),
        "min_iou": min(row["min_iou"] for row in rows),
        "median_ms": float(np.median([row["ms"] for row in rows])),
        "photos": rows,
    }


if __name__ == "__main__":
    app()
