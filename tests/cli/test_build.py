# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dbnet_trt.cli import build
from dbnet_trt.cli.app import main
from fakes.tiny_model import make_model


def test_command(
    rtx: Any,
    no_gpu: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "a.onnx")
    arguments = ["build", "a.onnx", "--precision", "fp32", "--shapes", "32x32/64x64/96x96"]
    arguments += ["--rtx", "--compute-capability", "86", "--verbose", "--output", "x.engine"]
    assert main([*arguments, "--triton", "models"]) == 0
    printed = capsys.readouterr().out
    assert "x.engine" in printed
    assert "boxes the same" in printed
    assert "reduce float" in printed
    assert (tmp_path / "models" / "tiny" / "1" / "x.engine").is_file()
    assert main(["info", "x.engine"]) == 0
    printed = capsys.readouterr().out
    assert "built by tensorrt_rtx" in printed
    assert "1x32x32, 1x64x64, 1x96x96" in printed
    assert main(["build", "b.onnx"]) == 2
    assert "there is no file b.onnx" in capsys.readouterr().err
    assert main(["build", "a.onnx", "--card", "mmocrr"]) == 2


def test_help_is_of_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "Example: dbnet-build" in printed
    assert "dbnet detect" not in printed


def test_progress_is_told_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with build._BuildProgress() as progress:
        progress("distilling", 1, 3)
        monkeypatch.setattr(build, "LINE_SECONDS", 0.0)
        progress("distilling", 2, 3)
        progress("distilling", 3, 3)
    assert capsys.readouterr().err.splitlines() == ["distilling: 2 of 3", "distilling: 3 of 3"]
