# SPDX-License-Identifier: Apache-2.0
"""Training validates as `dbnet eval` scores the same data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.evaluation import evaluate as evaluation
from dbnet_trt.training import train as training
from dbnet_trt.training.train import train
from photos import write_lines, write_photo

from .scenes import tiny_run

pytest.importorskip("shapely")


def write_set(folder: Path, form: str) -> str:
    write_photo(folder / "Images" / "Test" / "img1.png", 96, 128)
    if form == "totaltext":
        line = "x: [[10 60 60 10]], y: [[20 20 50 50]], ornt: [u'h'], transcriptions: [u'word']"
        write_lines(folder / "gt" / "Test" / "poly_gt_img1.txt", line)
    else:
        write_lines(folder / "gt" / "Test" / "gt_img1.txt", "10,20,35,15,60,20,60,50,10,50,word")
    return f"{form}:{folder / 'Images' / 'Test'}"


@pytest.mark.parametrize(
    ("form", "protocol", "polygons"),
    [("totaltext", "totaltext", True), ("polygons", "icdar2015", True)],
)
def test_protocol_and_outlines_are_those_of_eval(
    tmp_path: Path, form: str, protocol: str, polygons: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_set(tmp_path / "set", form)
    seen: list[tuple[str, bool]] = []

    def score(detector: Any, samples: Any, chosen: str = "icdar2015", **_: Any) -> Any:
        seen.append((chosen, detector.params.polygons))
        images = [
            evaluation.score_image(chosen, each.image.name, [], [], [np.zeros((4, 2))])
            for each in samples
        ]
        return evaluation.Evaluation(chosen, tuple(images))

    monkeypatch.setattr(training, "evaluate_samples", score)
    monkeypatch.setattr(evaluation, "evaluate_samples", score)
    config = tiny_run(data, tmp_path / "run", steps=1, validation=(data,))
    last = train(config)
    assert main(["eval", str(last), "--data", data]) == 0
    assert seen == [(protocol, polygons)] * 2
