# SPDX-License-Identifier: Apache-2.0
"""The examples run, and give what they say; the GPU's own part is run by its loop on the CPU."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector, cuda_available
from dbnet_trt.images.video import read_frames
from fakes.tiny_model import make_model, scene

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def load(name: str) -> Any:
    """An example as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "tiny.onnx")


def test_every_example_is_short_and_listed() -> None:
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES:
        text = path.read_text(encoding="utf-8")
        assert f"python examples/{path.name}" in table
        assert f"Usage: python examples/{path.name}" in text
        assert len(text.splitlines()) <= 60, path


def test_folder_to_json(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    (folder / "sub").mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), scene())
    cv2.imwrite(str(folder / "sub" / "b.jpg"), scene(num_texts=1))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    results = tmp_path / "found.jsonl"
    done = run("folder_to_json", folder, results, "--model", model)
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [(record["image"], len(record["texts"])) for record in records] == [
        ("a.png", 2),
        (str(Path("sub", "b.jpg")), 1),
    ]
    assert np.shape(records[0]["texts"][0]["quad"]) == (4, 2)


def test_video_has_the_outlines_of_each_frame(model: Path, tmp_path: Path) -> None:
    clip, drawn = tmp_path / "clip.avi", tmp_path / "drawn.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (200, 120))
    for num_texts in (2, 1, 0, 2):
        writer.write(scene(num_texts=num_texts))
    writer.release()
    example, detector = load("video_on_gpu"), Detector(model)
    assert example.draw_video(detector, str(clip), str(drawn)) == 4
    frames = [frame for _, frame in read_frames(str(clip))]
    for frame, (_, with_outlines) in zip(frames, read_frames(str(drawn)), strict=True):
        expected = detector.detect(frame).plot(frame)
        assert np.abs(with_outlines.astype(int) - expected).mean() < 8


@pytest.mark.skipif(cuda_available(), reason="there is a GPU")
def test_video_says_that_it_needs_a_gpu(tmp_path: Path) -> None:
    done = run("video_on_gpu", "clip.mp4", tmp_path / "drawn.mp4", "none.engine")
    assert done.returncode == 1
    assert done.stderr.strip().startswith("this example needs a CUDA GPU")


@pytest.mark.slow
def test_finetune_on_drawn_scenes(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # fastest for so small a run, and the same everywhere
    from training.scenes import draw_scenes

    data = draw_scenes(tmp_path / "scenes", 7)
    file = load("finetune").finetune(data, tmp_path / "run", steps=4, crop_size=96, workers=0)
    assert file == tmp_path / "run" / "model.onnx"
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["step"] == 4
    scene_file = min((tmp_path / "scenes" / "images").iterdir())
    assert len(Detector(file).detect(scene_file)) > 0


def test_read_text_of_the_demo() -> None:
    pytest.importorskip("rapidocr", reason="the extra pretrained is not installed")
    done = run("read_text", ROOT / "tests" / "data" / "demo.jpg")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 10
    assert any("Corner Bakery" in line for line in lines), done.stdout
