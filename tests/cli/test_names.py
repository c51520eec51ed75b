# SPDX-License-Identifier: Apache-2.0
"""Names of files are data: printed as they are, and unable to do anything to a terminal."""

import json
import logging
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import cv2
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.cli.console import line, out, visible
from fakes.tiny_model import make_model, scene
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names that POSIX allows")


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


def write_images(folder: Path, names: list[str | bytes]) -> None:
    data = bytes(cv2.imencode(".png", scene())[1])
    folder.mkdir()
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(data)


@given(st.text())
def test_nothing_in_a_name_is_markup(name: str) -> None:
    with out.capture() as capture:
        out.print(line((name, "bold"), ": 2 texts"), soft_wrap=True)
    assert capture.get() == f"{visible(name)}: 2 texts\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_control_characters_are_shown(name: str) -> None:
    shown = visible(name)
    assert not any(unicodedata.category(each) == "Cc" for each in shown)
    assert len(shown.splitlines()) <= 1


def test_ordinary_names_stay() -> None:
    for name in (
        "a b.jpg",
        "caf\u00e9.jpg",
        "\u56fe\u7247.png",
        ":car:.png",
        "Shot\u202f9.png",
        "\U0001f600",
    ):
        assert visible(name) == name
    assert visible("a\x1b[31m\n\u202egpj.exe") == "a\\x1b[31m\\n\\u202egpj.exe"


def test_names_are_printed_as_they_are(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names: list[str | bytes] = [
        ":car:.png", "old\\[x].png", "a[bold]b.png", "m\\[/red].png", "[/].png", "x\\.png",
    ]  # fmt: skip
    write_images(tmp_path / "in", names)
    assert main(["detect", str(tmp_path / "in"), "--model", model]) == 0
    printed = capsys.readouterr().out
    for name in names:
        assert f"/in/{name!s}: 2 texts\n" in printed


def test_errors_and_warnings_show_control_characters(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "in", ["a\x1b]0;owned\x07.png", "b\nz.png: 9 texts.png"])
    (tmp_path / "in" / "c\x1b[2J\n.jpg").write_bytes(b"x")
    assert main(["detect", str(tmp_path / "in"), "--model", model]) == 1
    assert main(["detect", str(tmp_path / "none\x1b[2J"), "--model", "no\x1b[2J.onnx"]) == 2
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert not any(each.startswith("z.png") for each in printed.out.splitlines())
    assert "c\\x1b[2J\\n.jpg" in printed.err


def test_log_lines_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        assert main(["models"]) == 0
        logging.getLogger("dbnet_trt").warning("%s has 3 pages", "a\x1b[2J\nb.tif")
    finally:
        root.handlers = handlers
    assert "WARNING: a\\x1b[2J\\nb.tif has 3 pages\n" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8:strict", "cp1252:strict", "ascii"])
def test_names_that_the_terminal_cannot_show(encoding: str, model: str, tmp_path: Path) -> None:
    write_images(tmp_path / "in", [b"caf\xe9.png", "\u56fe\u7247.png", "z.png"])
    command = [sys.executable, "-m", "dbnet_trt", "detect", str(tmp_path / "in"), "--model", model]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": 2 texts") == 3


def test_json_has_every_name(model: str, tmp_path: Path) -> None:
    write_images(tmp_path / "in", [b"caf\xe9.png", "a\nb.png"])
    lines = tmp_path / "found.jsonl"
    arguments = ["detect", str(tmp_path / "in"), "--model", model, "--json", str(lines)]
    assert main(arguments) == 0
    assert len(lines.read_bytes().splitlines()) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny.onnx")
    cv2.imwrite(str(tmp_path / "a.png"), scene())
    lines = tmp_path / "found.jsonl"
    command = f"'{sys.executable}' -m dbnet_trt detect '{tmp_path}/a.png' --model '{model}'"
    done = subprocess.run(
        f"{command} --backend onnxruntime --json '{lines}' {closed}",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    (record,) = map(json.loads, lines.read_text().splitlines())
    assert len(record["quads"]) == 2
