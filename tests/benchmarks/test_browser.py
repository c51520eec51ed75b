# SPDX-License-Identifier: Apache-2.0
"""The page without a server finds in Chromium what Python finds."""

import json
import runpy
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt import CpuConfig, Detections, Detector

from .test_scripts import FOLDER, load

TOOLS = ("em++", "npm", "chromium", "chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(
        not all(map(shutil.which, TOOLS)) or find_spec("selenium") is None,
        reason=f"needs {', '.join(TOOLS)} and selenium",
    ),
]


@pytest.fixture(scope="module")
def script() -> Any:
    return load("browser")


@pytest.fixture(scope="module")
def site(script: Any) -> Iterator[Any]:
    builder = runpy.run_path(str(FOLDER.parent / "web" / "build.py"))
    try:
        builder["build"](script.PAGE)
    except builder["MissingError"] as error:
        pytest.skip(str(error))
    with script.Site(script.PAGE) as site:
        yield site


def test_the_page_finds_what_python_finds_and_sends_nothing(
    script: Any, site: Any, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    detector = Detector(cpu=CpuConfig("onnxruntime", "fp32", num_threads=1), tiles="off")
    scenes = script.draw_scenes(tmp_path, 2)
    with script.open_chromium(420, tmp_path) as browser:
        browser.get(site.address)
        for scene in scenes:
            found = script.show(browser, scene)
            expected = detector.detect(scene)
            quads = script.shown_quads(found, detector.params.score_threshold)
            row = script.compare(quads, expected)
            assert row["boxes"] == row["in_browser"] > 0
            assert row["min_iou"] >= script.SAME_IOU
        runs = found["num_runs"]
        browser.find_element("id", "unclip").send_keys(Keys.HOME)  # to 0
        found = script.wait(lambda: _other(browser, found))
        smaller = detector.detect(scenes[-1], unclip_ratio=0)
        quads = script.shown_quads(found, detector.params.score_threshold)
        assert script.compare(quads, smaller)["min_iou"] >= script.SAME_IOU
        assert found["num_runs"] == runs, "the network ran again"
        browser.find_element("css selector", "[data-do=save]").send_keys(Keys.ENTER)
        saved = script.wait(lambda: [*tmp_path.glob("scene-01.json")])[0].read_text("utf-8")
        assert len(Detections.from_json(saved)) == len(quads)
        assert json.loads(saved)["image"] == "scene-01.png"
        assert browser.execute_script("return document.body.scrollWidth <= innerWidth")
        assert browser.get_log("browser") == [], "the policy stopped something, or a script failed"
    files = {f"GET /{path.name}" for path in script.PAGE.iterdir()}
    assert set(site.requests) <= {"GET /", *files}


def _other(browser: Any, found: dict[str, Any]) -> Any:
    now = browser.execute_script("return found")
    return now if now and now["quads"] != found["quads"] else None


def test_what_is_no_picture_says_so(script: Any, site: Any, tmp_path: Path) -> None:
    (tmp_path / "wrong.png").write_bytes(b"hello")
    with script.open_chromium(420, tmp_path) as browser:
        browser.get(site.address)
        with pytest.raises(RuntimeError, match="not a picture that your browser can read"):
            script.show(browser, tmp_path / "wrong.png")
        assert browser.find_element("id", "welcome").is_displayed()
