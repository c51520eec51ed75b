# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser, by keyboard: Chromium without a window, driven by Selenium."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt import Detections, Detector

TIMEOUT = 30.0
DONE = "return document.getElementById('progress').hidden && document.querySelector('#count small')"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no chromium with chromedriver")
    options = webdriver.ChromeOptions()
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "window-size=420,900"):
        options.add_argument(f"--{argument}")
    options.add_experimental_option("prefs", {"download.default_directory": str(tmp_path)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = chromium
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def wait(condition: Any) -> Any:
    """Wait until a condition holds, and return what it gives."""
    end = time.monotonic() + TIMEOUT
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_a_picture_is_searched_filtered_and_saved(
    browser: Any, address: str, detector: Detector, png: bytes, tmp_path: Path
) -> None:
    from selenium.webdriver.common.keys import Keys

    def one(selector: str) -> Any:
        return browser.find_element("css selector", selector)

    def outlines() -> int:
        return len(browser.find_elements("css selector", "#outlines polygon"))

    (tmp_path / "photo.png").write_bytes(png)
    browser.get(f"http://{address}/")
    assert one("h2").is_displayed()
    one("#file").send_keys(str(tmp_path / "photo.png"))
    wait(lambda: browser.execute_script(DONE))
    expected = detector.detect(png)
    assert outlines() == len(expected) > 0
    one("[data-do=save]").send_keys(Keys.ENTER)
    saved = wait(lambda: [*tmp_path.glob("photo.json")])[0]
    found = Detections.from_json(saved.read_text("utf-8"))
    assert sorted(found.scores.tolist()) == pytest.approx(
        sorted(expected.scores.tolist()), abs=1e-4
    )
    assert json.loads(saved.read_text("utf-8"))["image"] == "photo.png"
    one("#score").send_keys(Keys.HOME)  # to 0, without a request
    assert outlines() == len(detector.detect(png, score_threshold=0))
    one("#score").send_keys(Keys.END)
    assert outlines() == 0
    assert browser.execute_script("return document.body.scrollWidth <= innerWidth")
    assert browser.get_log("browser") == [], "the policy stopped something, or a script failed"


def test_a_file_that_is_no_picture_says_so(browser: Any, address: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.png").write_bytes(b"hello")
    browser.get(f"http://{address}/")
    browser.find_element("id", "file").send_keys(str(tmp_path / "wrong.png"))
    notice = browser.find_element("id", "notice")
    assert "not an image" in wait(lambda: notice.text)
    assert browser.find_element("id", "welcome").is_displayed()
