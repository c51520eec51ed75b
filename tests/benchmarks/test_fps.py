# SPDX-License-Identifier: Apache-2.0
"""benchmarks/fps.py runs with all its options, and times nothing that gives other results."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import CpuConfig, Detector
from dbnet_trt.pipeline.postprocess import postprocess
from fakes.tiny_model import CARD, make_model

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(FOLDER))  # last, as some names also occur in tests

import fps  # noqa: E402
import paper  # noqa: E402
import peers  # noqa: E402
import stages  # noqa: E402
import start  # noqa: E402
import sweeps  # noqa: E402
from model_choice import ModelChoice  # noqa: E402
from peers import Peer  # noqa: E402
from scenes import text_scene  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path: Path) -> ModelChoice:
    """Write a network of two operators."""
    return ModelChoice(str(make_model(tmp_path / "tiny.onnx")), size=64, backend="onnxruntime")


@pytest.fixture
def image(rng: np.random.Generator) -> np.ndarray:
    return text_scene(120, 200, 4, rng)


def test_script_writes_numbers_and_a_picture(model: ModelChoice, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report, picture = tmp_path / "out" / "fps.json", tmp_path / "out" / "fps.png"
    command = [sys.executable, str(FOLDER / "fps.py"), "--engine", str(model.engine)]
    command += ["--backend", "onnxruntime", "--size", "64", "--repeats", "1", "--batch", "2"]
    command += ["--sweep", "threads", "--json", str(report), "--plot", str(picture)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "threads of the network" in done.stdout
    written = json.loads(report.read_text())
    assert "--engine tiny.onnx" in written["command"]
    assert str(tmp_path) not in report.read_text()
    assert written["machine"]["versions"]["numpy"] == np.__version__
    assert written["sweeps"]["threads"]["rows"][0]["ms"]["detect"]["p99_ms"] > 0
    assert picture.read_bytes().startswith(b"\x89PNG")


# ---- stages ------------------------------------------------------------------------------------


def test_stages_of_photos_of_a_folder(
    model: ModelChoice, image: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), image)
    report = tmp_path / "fps.json"
    fps.main(model=model, images=tmp_path / "photos", repeats=2, batch=2, json=report)
    row = json.loads(report.read_text())["stages"]["a.png"]
    assert row["size"] == [64, 128]
    assert all(row[stage]["p50_ms"] > 0 for stage in stages.CPU_STAGES if stage != "overhead")
    assert row["overhead"]["p50_ms"] < row["detect"]["p50_ms"]
    assert "batch 2" in capsys.readouterr().out


def test_stages_that_find_other_text_are_not_timed(image: np.ndarray) -> None:
    class Fickle:
        card, description, num_calls = CARD, "other text at every call", 0

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            self.num_calls += 1
            maps: np.ndarray = np.full((1, *batch.shape[2:]), -9, np.float32)
            maps[:, 10:30, 10 : 20 + 10 * self.num_calls] = 9
            return maps

    with pytest.raises(SystemExit, match="differ from the"):
        stages.cpu_stages(Detector(Fickle()), image, 1)


# ---- sweeps ------------------------------------------------------------------------------------


def test_sweeps_give_one_row_per_step(model: ModelChoice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "DENSITY_SIZE", (192, 320))
    density = sweeps.density(model, 1, (0, 12))
    assert [row["texts"] for row in density["rows"]] == [0, 12]
    size = sweeps.size(model, 1, (64, 96))
    assert set(size["grows_as_pixels_to"]) == {"network", "preprocess", "postprocess", "detect"}
    concurrency = sweeps.concurrency(model, 1, (1, 2))
    assert [row["callers"] for row in concurrency["rows"]] == [1, 2]
    streams = sweeps.streams(model, 1, (1, 2))
    steps = [(row["threads"], row["streams"]) for row in streams["rows"]]
    assert steps == [(1, 1), (2, 1), (2, 2)]
    assert all(row["images_per_s"]["detect_batch"] > 0 for row in streams["rows"])
    threads = sweeps.threads(model, 1, (1, 2))
    assert threads["rows"][0]["times_as_fast"] == 1


def test_density_is_not_timed_if_post_processing_is_wrong(
    model: ModelChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(*args: Any, **options: Any) -> Any:
        return [found[::2] for found in postprocess(*args, **options)]

    monkeypatch.setattr(sweeps, "postprocess", half)
    with pytest.raises(SystemExit, match="drawn map"):
        sweeps.density(model, 1, (12,))


# ---- comparison with other detectors -----------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SHORT_SIDE", 160)


def make_peer(shift: float, share: float = 1.0) -> Peer:
    """Make a detector that finds a share of our texts, moved to the right by some pixels."""
    detector = Detector(peers.MODEL, cpu=CpuConfig(backend="onnxruntime"))

    def run(image: np.ndarray, plan: object) -> list[np.ndarray]:
        quads = detector.detect(image, size=peers.same_size(*image.shape[:2])).quads
        return [
            quad + np.array([shift, 0], np.float32) for quad in quads[: round(share * len(quads))]
        ]

    return Peer("peer", "moves its texts", run)


@pytest.mark.usefixtures("small")
def test_comparison_measures_the_agreement(image: np.ndarray) -> None:
    result = peers.compare({"a": image}, 1, [make_peer(1)], {"other": "pip install other"})
    assert result["rows"][0]["texts"] > 0
    assert result["agreed"] == {"peer": [1, 1]}
    assert result["geometric_mean_ratios"]["dbnet_trt"] == 1
    assert result["missing"] == {"other": "pip install other"}
    assert len(peers.comparison_tables(result)) == 2


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("shift", "share"), [(500, 1), (0, 0), (0, 0.5)])
def test_a_peer_that_finds_other_text_is_not_timed(
    image: np.ndarray, shift: float, share: float
) -> None:
    with pytest.raises(SystemExit, match="not the same work"):
        peers.compare({"a": image}, 1, [make_peer(shift, share)])


@pytest.mark.parametrize("name", peers.OPENERS)
def test_peers_find_our_text(name: str, rng: np.random.Generator) -> None:
    image = text_scene(320, 400, 6, rng)
    open_them, _ = peers.OPENERS[name]
    try:
        opened = open_them()
    except ImportError as error:
        pytest.skip(str(error))
    for peer in opened:
        assert min(peers._agreement({"a": image}, Detector(peers.MODEL), peer)) > 0.7


def test_peers_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_them() -> list[Peer]:
        raise ImportError("No module named 'other'")

    monkeypatch.setattr(peers, "OPENERS", {"Other": (open_them, "pip install other")})
    assert peers.open_peers() == ([], {"Other": "No module named 'other'; pip install other"})


# ---- the paper, the start ----------------------------------------------------------------------


def test_settings_of_the_paper_beside_its_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    import untrained
    from dbnet_trt.network.config import ModelConfig

    pair = (paper.Setting("set", (120, 160), 96, 2, {"small": {"plain": 9, "both": 9}}),)
    small = ModelConfig("resnet18", 16)
    names = {"untrained-small": small, "untrained-small-nodb": dataclasses.replace(small, db=False)}
    monkeypatch.setattr(untrained, "NAMES", names)
    monkeypatch.setattr(paper, "VARIANTS", {"plain": "-nodb", "both": ""})
    result = paper.paper(ModelChoice(), 1, pair)
    (row,) = result["rows"]
    assert (result["threads"], row["size"], row["texts"]) == (1, [96, 128], 2)
    assert row["ms"]["both"] == row["ms"]["plain"]  # equal in inference, so timed once
    assert len(paper.paper_tables(result)) == 2
    monkeypatch.setattr(untrained, "DARK_SHARE", 0.0)  # now the map has no text
    with pytest.raises(SystemExit, match="found 0 of 2"):
        paper.paper(ModelChoice(), 1, pair)


def test_only_binarization_does_not_change_inference() -> None:
    import untrained

    assert untrained.same_network("untrained-resnet18", "untrained-resnet18-nodb")
    assert not untrained.same_network("untrained-resnet18", "untrained-resnet18-dcn")


def test_all_numbers_of_the_paper_are_present() -> None:
    rates = {
        (each.data_set, each.height, backbone): rate["both"]
        for each in paper.SETTINGS
        for backbone, rate in each.fps.items()
    }
    assert len(rates) == 12
    assert rates["MSRA-TD500", 736, "resnet18"] == 62
    assert rates["ICDAR 2015", 1152, "resnet50"] == 12


def test_start_of_a_process(model: ModelChoice) -> None:
    result = start.start(dataclasses.replace(model, size=256), 1)
    assert result["texts"] > 0
    whole = result["warm_cache"][start.STARTED]["p50_ms"]
    assert whole > result["warm_cache"]["first detection"]["p50_ms"] > 0
    with pytest.raises(SystemExit, match="a new process failed"):
        start.start(dataclasses.replace(model, engine="nowhere.onnx"), 1)
