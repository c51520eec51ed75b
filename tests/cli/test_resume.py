# SPDX-License-Identifier: Apache-2.0
"""Runs that were ended go on: nothing is lost, nothing is there twice."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.cli.json_lines import JsonLines
from fakes.documents import make_folder
from fakes.tiny_model import make_model, scene

RUN = {"model": "tiny"}


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images in folders, a damaged file and a document: 14 records."""
    return make_folder(tmp_path / "in")


def keys(path: Path) -> list[tuple[Any, ...]]:
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [(record["image"], record.get("page")) for record in records]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a child is killed")
def test_killed_and_resumed_again_and_again(model: str, folder: Path, tmp_path: Path) -> None:
    for i in range(30):
        cv2.imwrite(str(folder / "2" / f"z{i:02d}.png"), scene(90, 100, 1 + i % 4))
    lines, pictures, table = tmp_path / "found.jsonl", tmp_path / "out", tmp_path / "found.csv"
    command = ["detect", str(folder), "--model", model, "--save", str(pictures)]
    assert main([*command, "--json", str(tmp_path / "all.jsonl"), "--csv", str(table)]) == 1
    expected, drawn = (tmp_path / "all.jsonl").read_bytes(), read_pictures(pictures)
    table_of_all = table.read_bytes()
    table.unlink()

    command += ["--json", str(lines), "--csv", str(table), "--resume"]
    runner = [sys.executable, str(Path(__file__).with_name("kill_runner.py")), str(lines), *command]
    done = subprocess.run(runner, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr  # for the damaged file
    num_killed, num_torn = map(int, done.stdout.split())
    assert num_killed >= 8
    assert num_torn >= 1
    assert lines.read_bytes() == expected
    assert len(set(keys(lines))) == 44
    assert table.read_bytes() == table_of_all
    assert read_pictures(pictures) == drawn
    assert not list(tmp_path.glob("*.part"))


def read_pictures(folder: Path) -> dict[Path, bytes]:
    """Read all pictures; hidden files are what a killed run left."""
    return {path: path.read_bytes() for path in folder.rglob("[!.]*.*")}


def test_a_torn_line_is_written_anew(model: str, folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "found.jsonl"
    arguments = ["detect", str(folder), "--model", model, "--json", str(lines), "--resume"]
    assert main(arguments) == 1
    whole = lines.read_bytes()
    parts = whole.splitlines(keepends=True)
    for kept, torn in ((0, 30), (5, 100)):
        lines.write_bytes(b"".join(parts[:kept]) + parts[kept][:torn])
        assert main(arguments) == 1
        assert lines.read_bytes() == whole


def test_a_line_may_be_torn_anywhere(tmp_path: Path) -> None:
    lines = tmp_path / "found.jsonl"
    record = {"image": "a", "height": 1, "width": 1, "quads": [[[0.5, 1]]]}
    whole = (json.dumps(record) + "\n" + json.dumps(record | {"image": "b"}) + "\n").encode()
    JsonLines(lines, RUN).close()
    first = whole.index(b"\n") + 1
    for end in range(len(whole) + 1):
        lines.write_bytes(whole[:end])
        JsonLines(lines, RUN, resume=True).close()
        assert lines.read_bytes() == (
            whole if end == len(whole) else whole[:first] * (end >= first)
        )


def test_new_files_are_added(model: str, folder: Path, tmp_path: Path) -> None:
    lines = tmp_path / "found.jsonl"
    arguments = ["detect", str(folder), "--model", model, "--json", str(lines), "--resume"]
    assert main([*arguments, "--pages", "1-3"]) == 1
    assert len(keys(lines)) == 12
    cv2.imwrite(str(folder / "0" / "new.png"), scene())
    (folder / "0" / "00.png").unlink()
    assert main(arguments) == 1
    assert keys(lines)[12] == (str(folder / "0" / "new.png"), None)
    assert len(set(keys(lines))) == len(keys(lines)) == 15


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--short-side", "64"], "was made with short_side null, now it is 64"),
        (["--score-threshold", "0.5"], "was made with score_threshold null, now it is 0.5"),
        (["--dpi", "100"], "was made with dpi 200, now it is 100"),
        (["--polygons"], "was made with polygons"),
    ],
)
def test_other_options_are_refused(
    changed: list[str],
    message: str,
    model: str,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = tmp_path / "found.jsonl"
    arguments = ["detect", str(folder), "--model", model, "--json", str(lines), "--resume"]
    assert main(arguments) == 1
    before = lines.read_bytes()
    capsys.readouterr()
    assert main([*arguments, *changed]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert lines.read_bytes() == before
    assert main([*arguments, "--num-threads", "1", "--device", "cpu"]) == 1  # the same results


def test_another_model_is_refused(
    model: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "found.jsonl"
    arguments = ["detect", str(folder), "--model", model, "--json", str(lines), "--resume"]
    assert main(arguments) == 1
    make_model(Path(model), weight=19.0)  # the same name and card
    capsys.readouterr()
    assert main(arguments) == 2
    assert "was made with network" in " ".join(capsys.readouterr().err.split())
    run = tmp_path / "found.jsonl.run.json"
    for text in (None, "[]", "{"):
        run.unlink() if text is None else run.write_text(text)
        assert main(arguments) == 2
        assert "found.jsonl" in capsys.readouterr().err


def test_something_else_is_not_continued(tmp_path: Path) -> None:
    lines = tmp_path / "notes"
    for text in ("precious", "precious\n", '{"picture": 1}\n', "[]\n", '{"image": 1\n{"image"'):
        lines.write_text(text)
        with pytest.raises(ValueError, match="line 1 of .* is not a result of"):
            JsonLines(lines, RUN, resume=True)
        assert lines.read_text() == text


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_two_runs_do_not_write_to_one_file(tmp_path: Path) -> None:
    lines = tmp_path / "found.jsonl"
    first = JsonLines(lines, RUN)
    first.write({"image": "a", "height": 1, "width": 1})
    for options in ({"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match="another run is writing to this file"):
            JsonLines(lines, RUN, **options)
    first.close()
    second = JsonLines(lines, RUN, resume=True)
    assert second.is_done(("a", None, None))
    second.close()
    assert len(lines.read_text().splitlines()) == 1


def test_keys_of_odd_names_are_read_back(tmp_path: Path) -> None:
    names = ['", "height": 3', "a\nb", "\udce9", "é", "\\", '{"image": "x"}', ""]
    lines = JsonLines(tmp_path / "found.jsonl", RUN)
    for name in names:
        for more in ({}, {"page": 3}, {"frame": 0}):
            lines.write({"image": name, **more, "height": 1, "width": 2, "quads": []})
    lines.close()
    lines = JsonLines(tmp_path / "found.jsonl", RUN, resume=True)
    for name in names:
        for key in ((name, None, None), (name, 3, None), (name, None, 0)):
            assert lines.is_done(key)
        assert not lines.is_done((name, 4, None))
    lines.close()


def test_a_video_goes_on_at_its_next_frame(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, lines = tmp_path / "film.avi", tmp_path / "found.jsonl"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (200, 120))
    for _ in range(5):
        film.write(scene())
    film.release()
    arguments = ["detect", str(path), "--model", model, "--json", str(lines), "--resume"]
    assert main(arguments) == 0
    whole = lines.read_bytes()
    lines.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert main(arguments) == 0
    assert lines.read_bytes() == whole
    assert main([*arguments, "--save", str(tmp_path / "out.mp4")]) == 2
    assert main(["detect", "0", "--model", model, "--json", str(lines), "--resume"]) == 2
    assert "--resume is for files" in " ".join(capsys.readouterr().err.split())
    assert os.path.getsize(lines) == len(whole)
