# SPDX-License-Identifier: Apache-2.0
"""benchmarks/models.py scores and times models side by side."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.tiny_model import make_model

from .test_scripts import load, plot_file, read

pytestmark = pytest.mark.slow


def test_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark.py"])
    image = np.zeros((96, 160, 3), np.uint8)
    image[30:60, 20:140] = 255
    cv2.imwrite(str(tmp_path / "a.png"), image)
    outline = [[3, 12], [156, 12], [156, 77], [3, 77]]  # unclipped
    texts = [{"polygon": outline}, {"polygon": [[0, 0], [9, 0], [9, 9], [0, 9]]}]
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "a.png", "texts": texts}))
    model = str(make_model(tmp_path / "tiny.onnx"))
    plot = plot_file(tmp_path)
    load("models").main(
        model, f"{model}@64", data=(f"jsonl:{tmp_path / 'labels.jsonl'}",), photos=1, repeats=1,
        backend="onnxruntime", rapidocr=False, note="drawn", json=tmp_path / "a.json", plot=plot,
    )  # fmt: skip
    report = read(tmp_path / "a.json")
    assert report["photos"] == "drawn"
    own, small = report["models"]
    assert own["times_as_long"] == 1
    assert small["times_as_long"] > 0
    assert own["recall"] == {"labels.jsonl": 50.0}
    assert plot is None or plot.read_bytes().startswith(b"\x89PNG")
