# SPDX-License-Identifier: Apache-2.0
"""Results are whole, or not there: on full disks, at every write, and beside earlier results."""

import errno
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt.cli.app import main
from fakes.tiny_model import make_model, scene


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


class FullDisk:
    """Lets the n-th write fail, after half of its bytes where it has any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_writes, self.fails_at = 0, 0
        for owner, name in ((os, "write"), (os, "fsync"), (os, "replace"), (Path, "write_bytes")):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def write(first: Any, *rest: Any) -> Any:
            self.num_writes += 1
            if self.num_writes != self.fails_at:
                return original(first, *rest)
            if rest and not isinstance(rest[0], (str, Path)):
                original(first, memoryview(rest[0])[: len(rest[0]) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        return write


def test_every_write_may_fail(
    model: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["detect", str(photos), "--model", model, "--backend", "onnxruntime"]
    lines, pictures = tmp_path / "found.jsonl", tmp_path / "out"
    outputs = ["--json", str(lines), "--overwrite", "--save", str(pictures)]
    assert main([*arguments, *outputs]) == 0
    expected = lines.read_bytes()
    before = {path: path.read_bytes() for path in pictures.rglob("*.png")}
    assert len(before) == 3

    disk = FullDisk(monkeypatch)
    for disk.fails_at in itertools.count(1):
        disk.num_writes = 0
        code = main([*arguments, *outputs])
        if disk.num_writes < disk.fails_at:
            break
        assert code in (1, 2)
        written = lines.read_bytes()
        assert written == b"" or written.endswith(b"\n")
        for line in written.splitlines():
            record = json.loads(line)
            assert ("picture" in record) or code == 1
        # No picture is half, and none that was there is gone.
        assert {path: path.read_bytes() for path in pictures.rglob("*") if path.is_file()} == before
    assert code == 0
    assert disk.fails_at > 3 * 4  # a line and a picture (bytes, sync, name) for each image
    assert lines.read_bytes() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("limit", [100, 400, 1500])
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
    assert done.stderr.splitlines()[-1] == f"error: {lines}: File too large"
    assert "Traceback" not in done.stderr
    written = lines.read_bytes()
    assert limit < 400 or written.endswith(b"\n")
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


def test_pages_left_out_are_said(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scan.tif"
    cv2.imwritemulti(str(path), [scene(), scene(), np.zeros((50, 50, 3), np.uint8)])
    assert main(["detect", str(path), "--model", model]) == 0
    assert "3 pages or frames" in caplog.text
