# SPDX-License-Identifier: Apache-2.0
import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.evaluation import evaluate
from fakes.tiny_model import make_model, scene
from photos import write_lines

pytest.importorskip("shapely")

BARS = ["20,15,180,15,180,45,20,45", "20,75,170,75,170,105,20,105"]

TIGHT = ["--unclip-ratio", "0"]  # the tiny model's map shows whole texts, not shrunk ones


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for folder in ("images", "gts", "results"):
        (tmp_path / folder).mkdir()
    for i in (1, 2):
        cv2.imwrite(str(tmp_path / "images" / f"img_{i}.png"), scene())
    lines = [f"{BARS[0]},word", f"{BARS[1]},###", "0,110,60,110,60,119,0,119,small"]
    (tmp_path / "gts" / "gt_img_1.txt").write_text("\n".join(lines[:2]), "utf-8")
    (tmp_path / "gts" / "gt_img_2.txt").write_text("\n".join(lines), "utf-8")
    (tmp_path / "results" / "res_img_1.txt").write_text("\n".join(BARS), "utf-8")
    return tmp_path


def test_a_model_on_a_data_set(model: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", model, "--data", f"icdar2015:{data}", *TIGHT]) == 0
    printed = capsys.readouterr()
    assert printed.out == "precision 1.00000  recall 0.66667  F 0.80000\n"
    assert re.search(r"CPU, (fp32|bf16)\)$", printed.err, re.MULTILINE)  # scores depend on it
    assert "short_side=" in printed.err
    assert "score_threshold=" in printed.err


def test_report_and_json(model: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, lines = data / "out.html", data / "out.jsonl"
    arguments = ["--data", f"icdar2015:{data}", "--report", str(page), "--json", str(lines)]
    assert main(["eval", "--model", model, *arguments, *TIGHT, "--short-side", "160"]) == 0
    assert "recall 0.66667" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert "tiny" in text
    assert "short_side=160" in text
    assert [json.loads(line)["image"] for line in lines.read_text("utf-8").splitlines()] == [
        "img_1.png",
        "img_2.png",
    ]


def test_results_are_written(
    model: str, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["eval", model, "--data", f"icdar2015:{data}", *TIGHT]
    page = data / "new" / "folder" / "out.html"
    assert main([*run, "--report", str(page)]) == 0
    assert page.exists()
    before = page.read_text(encoding="utf-8")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    capsys.readouterr()
    monkeypatch.setattr(Path, "write_text", fail)
    assert main([*run, "--report", str(page)]) == 2
    assert f"{page} cannot be written: No space left" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("option", "target", "message"),
    [
        ("--json", "labels.jsonl", "is read, and would be overwritten"),
        ("--report", "tiny.onnx", "is read, and would be overwritten"),
        ("--report", "images", "got the folder"),
        ("--submission", "labels.jsonl/x.zip", "cannot be written"),
    ],
)
def test_results_that_cannot_be_written(
    model: str,
    data: Path,
    option: str,
    target: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = {"image": "images/img_1.png", "texts": []}
    file = write_lines(data / "labels.jsonl", json.dumps(record))
    monkeypatch.setattr(evaluate, "evaluate_samples", None)  # never called
    run = ["eval", model, "--data", f"jsonl:{file}", option, str(data / target)]
    assert main(run) == 2
    assert message in capsys.readouterr().err


def test_data_set_without_text(model: str, data: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = write_lines(
        data / "labels.jsonl", json.dumps({"image": "images/img_1.png", "texts": []})
    )
    assert main(["eval", model, "--data", f"jsonl:{file}"]) == 0
    assert "there is no text to find" in caplog.text


def test_a_written_submission_scores_the_same(
    model: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(data / "x.zip")
    run = ["eval", model, "--data", f"icdar2015:{data}", *TIGHT, "--submission", target]
    assert main(run) == 0
    score = ["score", str(data / "gts"), target, "--protocol", "icdar2015"]
    assert main(score) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert "recall 0.66667" in first


def test_thresholds_are_options(model: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", model, "--data", f"icdar2015:{data}", "--score-threshold", "1"]
    assert main(arguments) == 0
    assert "recall 0.00000" in capsys.readouterr().out


def found_by(model: str, data: Path, *arguments: str) -> list[list[list[float]]]:
    lines = data / "found.jsonl"
    run = ["eval", model, "--data", f"icdar2015:{data}", "--json", str(lines), *arguments]
    assert main(run) == 0
    record = json.loads(lines.read_text("utf-8").splitlines()[0])
    return [each["polygon"] for each in record["detections"]]


def test_the_short_side_is_an_option(model: str, data: Path) -> None:
    assert found_by(model, data, "--short-side", "32") != found_by(model, data)


def test_protocols_of_curved_text_take_polygons(model: str, data: Path) -> None:
    disc = cv2.circle(scene(num_texts=0), (100, 60), 40, (255, 255, 255), -1)
    cv2.imwrite(str(data / "images" / "img_1.png"), disc)
    for protocol, curved in (("totaltext", True), ("ctw1500", True), ("icdar2015", False)):
        (outline,) = found_by(model, data, "--protocol", protocol)
        assert (len(outline) > 4) == curved
    (outline,) = found_by(model, data, "--polygons")
    assert len(outline) > 4


def test_scoring_of_existing_results(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(data / "gts"), str(data / "results")]
    assert main(["score", *paths, "--protocol", "icdar2015"]) == 0
    assert capsys.readouterr().out == "precision 1.00000  recall 0.33333  F 0.50000\n"
    report = data / "out.html"
    again = ["score", *paths, "--protocol", "ctw1500", "--format", "icdar2015"]
    assert main([*again, "--report", str(report)]) == 0
    assert capsys.readouterr().out == "precision 1.00000  recall 0.33333  F 0.50000\n"
    assert "2: 2 of 2 missed, 0 of 0 wrong" in report.read_text(encoding="utf-8")


def test_results_do_not_replace_what_is_read(
    model: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = next(each for each in data.rglob("*") if each.suffix in (".png", ".jpg"))
    before = image.read_bytes()
    for option in ("--json", "--report", "--submission"):
        assert main(["eval", model, "--data", f"icdar2015:{data}", option, str(image)]) == 2
        assert "in a folder that is read" in capsys.readouterr().err
    assert image.read_bytes() == before
    (data / "samples.jsonl").write_text('{"image": "x", "texts": []}\n')
    assert main(["eval", model, "--data", f"jsonl:{data}", "--json", f"{data}/samples.jsonl"]) == 2
    assert "is read, and would be overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval"], "--data"),
        (["eval", "--data", "icdar2015:none"], "there is no none"),
        (["eval", "--data", "cocos:."], "FORMAT one of"),
        (["score", "a", "b"], "--protocol"),
        (["score", "a", "b", "--protocol", "deteval"], "there is no a"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert message in " ".join(printed.err.split())
    assert len(printed.err.strip().splitlines()) == 1


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--help"]) == 0
    assert "--submission" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "Score a detector" in capsys.readouterr().out


def test_scoring_needs_no_torch(data: Path) -> None:
    program = (
        "import sys; from dbnet_trt.cli.app import main; "
        f"main(['score', {str(data / 'gts')!r}, {str(data / 'results')!r}, "
        "'--protocol', 'icdar2015']); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
