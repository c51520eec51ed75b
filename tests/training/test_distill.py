# SPDX-License-Identifier: Apache-2.0
"""Data sets that engines/recipes/distill.py writes from a teacher's maps."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.samples import load_prob_map
from fakes.engines import GreenOnCpu

pytestmark = pytest.mark.slow

SEEN, UNSEEN, UNSURE = (20, 20, 180, 60), (20, 100, 180, 140), (20, 150, 180, 190)


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


@pytest.fixture(scope="module")
def distill() -> Any:
    import importlib.util

    path = Path(__file__).parents[2] / "engines" / "recipes" / "distill.py"
    spec = importlib.util.spec_from_file_location("distill", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Photo with two outlined texts, of which the teacher finds one, and a dim third text."""
    image = np.zeros((200, 200, 3), np.uint8)
    image[20:61, 20:181, 1] = 255
    image[150:191, 20:181, 1] = 128  # P = 0.5
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    texts = [{"polygon": box(*place)} for place in (SEEN, UNSEEN)]
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "photo.png", "texts": texts}))
    return f"jsonl:{tmp_path / 'labels.jsonl'}"


def middle(prob_map: np.ndarray, place: tuple[int, int, int, int]) -> float:
    """Read P in the middle of an area of the photo."""
    x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    return float(prob_map[int(y * prob_map.shape[0] / 200), int(x * prob_map.shape[1] / 200)] / 255)


def test_own_outlines(distill: Any, data: str, tmp_path: Path) -> None:
    distill.distill(Detector(GreenOnCpu()), data, tmp_path / "distilled", "own")
    (sample,) = read_dataset(f"jsonl:{tmp_path / 'distilled' / 'distilled.jsonl'}").samples
    np.testing.assert_allclose(sample.texts[0].polygon, box(*SEEN))
    np.testing.assert_allclose(sample.texts[1].polygon, box(*UNSEEN))
    assert sample.prob_map is not None
    prob_map = load_prob_map(sample.prob_map)
    assert middle(prob_map, SEEN) > 0.95
    assert middle(prob_map, UNSEEN) > 0.95  # drawn into the map
    assert middle(prob_map, UNSURE) == pytest.approx(0.5, abs=0.05)  # unchanged
    (plain,) = read_dataset(f"jsonl:{tmp_path / 'distilled' / 'outlines.jsonl'}").samples
    assert plain.prob_map is None
    assert len(plain.texts) == 2


def test_outlines_of_the_teacher(distill: Any, data: str, tmp_path: Path) -> None:
    distill.distill(Detector(GreenOnCpu()), data, tmp_path / "distilled", "teacher")
    (sample,) = read_dataset(f"jsonl:{tmp_path / 'distilled' / 'distilled.jsonl'}").samples
    ignored = {int(text.polygon[:, 1].mean()) // 100: text.ignore for text in sample.texts}
    assert ignored == {0: False, 1: True}  # the bright bar, then the dim one
    assert sample.prob_map is not None
    assert middle(load_prob_map(sample.prob_map), UNSEEN) < 0.05


@pytest.mark.parametrize(
    ("teacher", "data", "message"),
    [
        ("no-model", "jsonl:none", 'error: there is no model "no-model"'),
        ("dbnet-mobile", "jsonl:none", "error: there is no none"),
    ],
)
def test_errors_of_distill_are_one_line(teacher: str, data: str, message: str) -> None:
    script = Path(__file__).parents[2] / "engines" / "recipes" / "distill.py"
    run = subprocess.run(
        [sys.executable, str(script), teacher, data, "distilled", "own"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 1
    assert run.stderr.startswith(message)
