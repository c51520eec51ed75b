# SPDX-License-Identifier: Apache-2.0
"""Results are whole, or not there: on full disks, at every write, and beside earlier results."""

import errno
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import matplotlib
import pytest
from dbnet_trt.cli.app import main
from fakes.disk import FaultyDisk, assert_whole, contents, put
from fakes.tiny_model import make_model, scene
from photos import write_lines
from training.runs import assert_same_weights
from training.scenes import draw_scenes, tiny_run


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of three images."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.png", "sub/c.png")):
        cv2.imwrite(str(folder / name), scene(num_texts=1 + i))
    return folder


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_write_of_detect_may_fail(
    code: int, model: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["detect", str(photos), "--model", model, "--backend", "onnxruntime"]
    lines, pictures = tmp_path / "found.jsonl", tmp_path / "out"
    outputs = ["--json", str(lines), "--overwrite", "--save", str(pictures)]
    assert main([*arguments, *outputs]) == 0
    expected, before = lines.read_bytes(), contents(pictures)
    assert len(before) == 3

    disk = FaultyDisk(monkeypatch, code)
    for number in itertools.count(1):
        with disk.failing_at(number):
            answer = main([*arguments, *outputs])
        written = lines.read_bytes()
        assert written == b"" or written.endswith(b"\n")
        for line in written.splitlines():
            assert "picture" in json.loads(line) or answer == 1
        assert contents(pictures) == before
        if disk.num_writes < number:
            break
        assert answer in (1, 2)
    assert answer == 0
    assert number > 3 * 4  # a line and a picture (bytes, sync, name) for each image
    assert lines.read_bytes() == expected


FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")

COMMANDS = {
    "eval": "eval {model} --data icdar2015:{data} --backend onnxruntime "
    "--json {out}/a.jsonl --report {out}/a.html --submission {out}/a.zip",
    "score": "score {data} {data} --protocol icdar2015 --json {out}/a.jsonl --report {out}/a.html",
    "data": "data check icdar2015:{data} --report {out}",
    "synth": "synth {out} 3 --size 64 --fonts {font}",
    "build": "build {model} --rtx --compute-capability 86 --precision fp32 "
    "--shapes 32x32/64x64/96x96 --output {out}/a.engine --triton {out}/triton",
}
"""Commands that write, with the outputs below {out}."""


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_write_may_fail(
    command: str,
    code: int,
    model: str,
    photos: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is written is whole or as it was, and one line says what was not."""
    if command == "build":
        for fixture in ("rtx", "no_gpu"):
            request.getfixturevalue(fixture)
    for image in photos.rglob("*.png"):
        write_lines(image.with_suffix(".txt"), "20,15,180,15,180,45,20,45,bar")
    out = tmp_path / "results"
    arguments = COMMANDS[command].format(out=out, model=model, data=photos, font=FONT).split()
    assert main(arguments) == 0
    new = contents(out)
    old = {} if command == "synth" else dict.fromkeys(new, b"old")

    disk = FaultyDisk(monkeypatch, code)
    for number in itertools.count(1):
        put(out, old)
        capsys.readouterr()
        with disk.failing_at(number):
            answer = main(arguments)
        if disk.num_writes < number:
            break
        assert answer == 2
        assert_whole(out, old, new)
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert os.strerror(code) in line
    assert (answer, contents(out)) == (0, new)
    assert number > 2 * len(new)  # sync and name of each file, and bytes of most


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("limit", [100, 1100, 1500])
def test_disk_that_is_full_leaves_whole_lines(limit: int, model: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(12):
        cv2.imwrite(str(folder / f"{i}.png"), scene())
    lines = tmp_path / "found.jsonl"
    code = (
        "import resource, sys; from dbnet_trt.cli.app import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "detect", str(folder), "--model", model]
    command += ["--backend", "onnxruntime", "--json", str(lines)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    named = lines if limit > 1000 else f"{lines}.run.json"
    assert done.stderr.splitlines()[-1] == f"error: {named}: File too large"
    assert "Traceback" not in done.stderr
    written = lines.read_bytes()
    assert written.endswith(b"\n") == (limit > 1000)
    assert 0 <= len(written) <= limit


def test_results_are_not_overwritten(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "found.jsonl"
    arguments = ["detect", str(photos), "--model", model, "--json", str(lines)]
    lines.touch()  # as mktemp does: nothing is lost
    assert main(arguments) == 0
    found = lines.read_bytes()
    assert main(arguments) == 2
    assert "exists and holds results" in capsys.readouterr().err
    assert lines.read_bytes() == found
    lines.write_text("another\n")
    assert main([*arguments, "--overwrite"]) == 0
    assert lines.read_bytes() == found


def test_resume_goes_on_behind_whole_lines(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines, pictures = tmp_path / "found.jsonl", tmp_path / "out"
    arguments = ["detect", str(photos), "--model", model, "--json", str(lines)]
    arguments += ["--save", str(pictures), "--resume"]
    assert main(arguments) == 0
    whole = lines.read_bytes()
    first, second, _ = whole.splitlines(keepends=True)
    lines.write_bytes(first + second[:20])
    capsys.readouterr()
    assert main(arguments) == 0
    assert "2 images" in capsys.readouterr().err
    assert lines.read_bytes() == whole
    assert main(arguments) == 0
    assert "0 images" in capsys.readouterr().err
    assert lines.read_bytes() == whole


def test_resume_behind_something_else(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "notes.txt"
    arguments = ["detect", str(photos), "--model", model]
    lines.write_text('{"image": "a"}\nmy notes\n')
    for wrong, message in (
        (["--json", str(lines), "--resume"], "line 2 of"),
        (["--json", str(lines), "--resume", "--overwrite"], "exclude each other"),
        (["--resume"], "are for the file of --json"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert lines.read_text() == '{"image": "a"}\nmy notes\n'


def test_limit_on_pixels_is_an_option(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", str(photos), "--model", model, "--max-pixels", "100"]) == 1
    assert "0 images, 0 texts, 3 skipped" in capsys.readouterr().err
    assert main(["detect", str(photos), "--model", model, "--max-pixels", "24000"]) == 0


@pytest.mark.slow
def test_every_write_of_training_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is written is whole, and the run goes on from it as if nothing had happened."""
    data = draw_scenes(tmp_path / "scenes", count=2)

    def command(output: Path) -> list[str]:
        run = tiny_run(data, output, steps=1, batch_size=1, validate_every=1, validation=(data,))
        file = write_lines(output.with_suffix(".json"), json.dumps(run.to_json()))
        return ["train", "--config", str(file)]

    assert main(command(tmp_path / "whole")) == 0
    whole = contents(tmp_path / "whole")
    disk = FaultyDisk(monkeypatch)
    for number in itertools.count(1):
        output = tmp_path / str(number)
        arguments = command(output)
        capsys.readouterr()
        disk.code = (errno.ENOSPC, errno.EIO)[number % 2]
        with disk.failing_at(number):
            code = main(arguments)
        if disk.num_writes < number:
            break
        assert code == 2
        *_, line = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert os.strerror(disk.code) in line
        left = contents(output)
        assert {name for name in left if "tensorboard" not in name} <= whole.keys()
        lines = left.get("metrics.jsonl", b"").decode().split("\n")
        assert [json.loads(each)["step"] for each in lines[:-1]] == [1, 1][: len(lines) - 1]
        assert lines[-1] == ""
        assert main(arguments) == 0
        for name in ("last.safetensors", "best.safetensors"):
            assert_same_weights(output / name, tmp_path / "whole" / name)
    assert code == 0
    assert number > 3 * 4  # bytes, sync and name of a configuration, a state and two checkpoints
