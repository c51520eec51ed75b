# SPDX-License-Identifier: Apache-2.0
"""Videos that the GPU does not decode; tests/kernels/test_nvdec.py decodes."""

from __future__ import annotations

import logging
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import EngineError, ImageError, cuda_available
from dbnet_trt.images import nvdec, pyav, video
from dbnet_trt.images.video import read_frames
from fakes.nvdec import write_clip

av = pytest.importorskip("av")

PICTURES = [np.full((64, 96, 3), 60 + i, np.uint8) for i in range(3)]


@pytest.fixture(autouse=True)
def forget_what_was_said() -> None:
    video._say_on_cpu.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyNvVideoCodec can be imported, but not used."""
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", object())


def read(path: str) -> list[Any]:
    frames = [frame for _, frame in read_frames(path, gpu=0)]
    assert all(isinstance(frame, np.ndarray) for frame in frames)
    return frames


def test_missing_library_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", None)
    path = write_clip(tmp_path / "clip.mp4", PICTURES)
    for _ in range(2):
        assert len(read(path)) == 3
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "PyNvVideoCodec is not installed; pip install 'dbnet-trt[nvdec]'" in record.message


def test_without_a_gpu_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_clip(tmp_path / "clip.mp4", PICTURES)
    assert len(list(read_frames(path, gpu=None))) == 3
    assert not caplog.records


def test_broken_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the driver's libraries its import fails with a RuntimeError of many lines."""

    def fail(name: str) -> None:
        raise RuntimeError("cannot open libnvidia-encode.so.1\n\n=== STEPS ===\n")

    monkeypatch.setattr("importlib.import_module", fail)
    monkeypatch.setattr(pyav, "import_av", lambda: av)
    assert len(read(write_clip(tmp_path / "clip.mp4", PICTURES))) == 3
    assert "PyNvVideoCodec cannot be used (cannot open libnvidia-encode.so.1)" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pix_fmt": "yuv420p10le"}, "its pixels are yuv420p10le, not 4:2:0 of 8 bits"),
        ({"pix_fmt": "yuv444p"}, "its pixels are yuv444p"),
        ({"colorspace": 9}, r"neither BT.601 nor BT.709 \(number 9 of FFmpeg\)"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("installed")
def test_kinds_of_video_that_stay_on_the_cpu(
    options: dict[str, Any], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_clip(tmp_path / "clip.mp4", PICTURES, **options)
    assert len(read(path)) == 3
    caplog.clear()
    with pytest.raises(nvdec.NotOnGpuError, match=message):
        nvdec.open_video(path, 0, max_pixels=10**6)


@pytest.mark.usefixtures("installed")
def test_odd_sizes_stay_on_the_cpu(tmp_path: Path) -> None:
    path = str(tmp_path / "odd.webm")
    with av.open(path, "w") as file:
        stream = file.add_stream("libvpx-vp9", rate=25)
        stream.height, stream.width, stream.pix_fmt = 63, 95, "yuv420p"
        frame = av.VideoFrame.from_ndarray(PICTURES[0][:63, :95].copy(), format="bgr24")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(nvdec.NotOnGpuError, match="odd width or height"):
        nvdec.open_video(path, 0, max_pixels=10**6)
    assert read(path)[0].shape == (63, 95, 3)


@pytest.mark.usefixtures("installed")
def test_frames_that_are_too_large(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", PICTURES)
    with pytest.raises(ImageError, match="96x64"):
        nvdec.open_video(path, 0, max_pixels=1000)


@pytest.mark.usefixtures("installed")
def test_no_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"not a video")
    with pytest.raises(ImageError, match="delivers no frame"):
        read(str(path))


@pytest.mark.skipif(cuda_available(), reason="the GPU can be used")
@pytest.mark.usefixtures("installed")
def test_a_gpu_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """The reason depends on the build."""
    path = write_clip(tmp_path / "clip.mp4", PICTURES)
    with pytest.raises(EngineError, match="no CUDA code|install or update the NVIDIA driver"):
        read(path)


@pytest.mark.parametrize("gpu", [-1, "0", True])
def test_number_of_the_gpu_is_checked(gpu: Any) -> None:
    with pytest.raises(ValueError, match="gpu must be the number of a GPU, 0 or more, or None"):
        next(read_frames("clip.mp4", gpu=gpu))
