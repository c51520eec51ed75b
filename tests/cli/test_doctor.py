# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet doctor`."""

import pytest
from dbnet_trt.cli import doctor
from dbnet_trt.cli.app import main
from dbnet_trt.detector import Detector
from dbnet_trt.errors import EngineError


def test_everything_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    for expected in ("dbnet_trt ", "numpy ", "gpu usable", "(default)", "onnxruntime  works:"):
        assert expected in page
    assert "not working" not in page


def test_what_does_not_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Detector, image: object, **options: object) -> None:
        raise EngineError("the weights are damaged")

    monkeypatch.setattr(Detector, "detect", fail)
    monkeypatch.setattr(doctor, "_installed", lambda package: "1.0")
    assert main(["doctor"]) == 1
    page = capsys.readouterr().out
    assert "not working  onnxruntime: EngineError: the weights are damaged" in page
    assert "4 builds of OpenCV overwrite each other" in page
    assert "4 builds of ONNX Runtime overwrite each other: onnxruntime, onnxruntime-gpu," in page


def test_no_library_runs_networks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_has", lambda library: library not in doctor.BACKENDS)
    assert main(["doctor"]) == 1
    assert "pip install 'dbnet-trt[cpu]'" in capsys.readouterr().out
