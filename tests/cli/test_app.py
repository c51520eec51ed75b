# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet` without optional libraries: help, misspellings, paths, exit codes."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from dbnet_trt import __version__
from dbnet_trt.cli import app
from dbnet_trt.cli.app import COMMANDS, main
from dbnet_trt.cli.console import ERROR, SUCCESS
from dbnet_trt.extras import EXTRAS, PACKAGES

ROOT = Path(__file__).parents[2]

BLOCKED = """
import contextlib, io, json, sys
for library in json.loads(sys.argv[1]):
    sys.modules[library] = None
from dbnet_trt.cli import app, console
results = []
for arguments in json.loads(sys.argv[2]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            code = app.main(arguments)
    results.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(results))
"""
"""Runs commands one after the other in a process without the libraries of the first argument."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run_without(libraries: list[str], *commands: list[str]) -> list[Done]:
    """Run commands in a process where these libraries cannot be imported."""
    arguments = [json.dumps(libraries), json.dumps(commands)]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, *arguments], capture_output=True, text=True, check=True
    )
    return [Done(*each) for each in json.loads(done.stdout)]


def test_every_command_has_its_own_help_without_any_extra() -> None:
    commands = [*([name] for name in COMMANDS), ["data", "check"]]
    helps = run_without([*EXTRAS, *PACKAGES], *([*command, "--help"] for command in commands))
    for (name, *_), done in zip(commands, helps, strict=True):
        example = COMMANDS[name][2]
        assert (done.code, done.err) == (SUCCESS, ""), done
        assert "Usage: dbnet" in done.out
        assert " ".join(done.out.split()).endswith(f"Example: {example}"), done.out


def test_dbnet_alone_prints_the_commands() -> None:
    for done in run_without(["torch"], [], ["--help"]):
        assert done.code == SUCCESS
        for name, (_, purpose, _) in COMMANDS.items():
            assert name in done.out
            assert purpose.rstrip(".") in " ".join(done.out.replace("│", "").split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_command_suggests_the_right_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = name[:-2] + name[-1] + name[-2]
    for wrong in {swapped, name + "x"} - {name}:
        assert main([wrong, "x"]) == ERROR
        printed = capsys.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        assert f'no command "{wrong}"' in line
        assert f'did you mean "{name}"?' in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["xyzzy"], "there are detect, read, bulk, models, info,"),
        (["--hlep"], 'the option --hlep; did you mean "--help"?'),
        (["--save", "out.jpg", "photo.jpg"], "a command or a path before the option --save"),
        (["data", "chekc", "x"], 'Did you mean "check"?'),
        (["detect", "a.jpg", "--precision", "fp3"], 'Did you mean "fp32"?'),
        (["train", "--data", "x", "--presett", "quick"], "Did you mean --preset?"),
        (["synth", "scenes", "1", "--sead", "2"], "Did you mean --seed?"),
        (["detect"], "INPUTS requires an argument"),
        (["export"], "CHECKPOINT requires an argument"),
        (["build"], "MODEL requires an argument"),
    ],
)
def test_errors_of_the_command_line_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_a_path_means_detect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(app, "app", lambda tokens, **_: seen.append(tokens))
    paths = ["photo.jpg", "PHOTO.TIFF", "clip.mp4", "scans", "a/b", "*.png", "rtsp://10.0.0.7/live"]
    for path in paths:
        assert main([path, "--json", "-"]) == SUCCESS
    assert seen == [["detect", path, "--json", "-"] for path in paths]


def test_no_message_names_a_library_that_the_command_does_not_need(tmp_path: Path) -> None:
    photo = str(ROOT / "tests/data/demo.jpg")
    scenes = str(tmp_path / "scenes")
    checkpoint = str(tmp_path / "x.safetensors")
    detect, drawn, trained, exported = run_without(
        [*EXTRAS, *PACKAGES],
        [photo, "--model", "ppocrv6-small"],
        ["synth", scenes, "1"],
        ["train", "--data", "jsonl:x"],
        ["export", checkpoint],
    )
    assert {done.code for done in (detect, drawn, trained, exported)} == {ERROR}
    assert "pip install 'dbnet-trt[pretrained]'" in detect.err
    assert "torch" not in detect.err.replace("dbnet_trt", "")
    assert drawn.err == "error: this command needs pillow; pip install pillow\n"
    assert trained.err == "error: this command needs torch; pip install 'dbnet-trt[train]'\n"
    assert exported.err.endswith("pip install 'dbnet-trt[train]'\n")


def test_scenes_are_drawn_without_torch(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib", reason="its fonts are the same everywhere")
    fonts = f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    (done,) = run_without(
        list(EXTRAS), ["synth", str(tmp_path), "2", "--size", "96", "--fonts", fonts]
    )
    assert done.code == SUCCESS, done.err
    assert len(list((tmp_path / "images").iterdir())) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == SUCCESS
    assert capsys.readouterr().out.strip() == __version__


# ---- libraries that are not there ----------------------------------------------------------------


def test_every_extra_is_known() -> None:
    """Those of pyproject.toml, but for the developers' own, and gpu, which replaces two others."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert set(EXTRAS.values()) == set(extras) - {"dev", "docs", "gpu", "release"}
    for module, extra in EXTRAS.items():
        library = module.replace("_", "-")
        assert any(library in requirement for requirement in extras[extra]), module


@pytest.mark.parametrize(
    ("module", "remedy"),
    [
        ("shapely", "needs shapely; pip install 'dbnet-trt[eval]'"),
        ("torch", "needs torch; pip install 'dbnet-trt[train]'"),
        ("modelopt.onnx", "needs modelopt.onnx; pip install 'dbnet-trt[quantize]'"),
        ("PIL.Image", "needs pillow; pip install pillow"),
        ("somewhere.else", "needs somewhere.else, which is not installed"),
    ],
)
def test_missing_library_names_what_installs_it(
    module: str,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def miss() -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(app, "app", lambda *_, **__: miss())
    assert main(["models"]) == ERROR
    assert capsys.readouterr().err.strip() == f"error: this command {remedy}"


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ([""], " is empty"),
        (["detect", ""], " after detect"),
        (["detect", ".", "--json", ""], " after --json"),
        (["score", "a.zip", ""], " after a.zip"),
        (["build", "tiny.onnx", "--output", ""], " after --output"),
    ],
)
def test_empty_arguments(
    arguments: list[str], where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a path one would mean the working directory: `dbnet detect "$PHOTOS"`."""
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the argument{where}" in line
