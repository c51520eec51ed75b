# SPDX-License-Identifier: Apache-2.0
"""Videos decoded on the GPU: a fake decoder, the real pipeline on the fake CUDA runtime."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import EngineError, ImageError, Nv12Frame
from dbnet_trt.cli.app import main
from dbnet_trt.cli.options import RunOptions
from dbnet_trt.images import nvdec, video
from dbnet_trt.images.gpu_memory import ReadyArray
from dbnet_trt.images.video import read_frames, read_timed_frames
from fakes.cuda import FakeCuda
from fakes.engines import assert_same, photo
from fakes.nvdec import FakeNvdec, PixelFormat, to_nv12, write_clip
from fakes.pairs import Pair, make_pair

av = pytest.importorskip("av")

ILLEGAL_ADDRESS = 700


@pytest.fixture
def fake(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeNvdec:
    module = FakeNvdec(cuda)
    monkeypatch.setitem(sys.modules, "PyNvVideoCodec", module)
    monkeypatch.setattr(nvdec, "_core", cuda.core)
    video._say_on_cpu.cache_clear()
    return module


def clip(folder: Path, rng: np.random.Generator, **options: Any) -> str:
    # Gray, which all standards of colours have in common.
    pictures = [np.repeat(photo(64, 96, rng)[:, :, 1:2], 3, axis=2) for _ in range(9)]
    return write_clip(folder / "clip.mp4", pictures, **options)


def expected_frames(path: str) -> list[np.ndarray]:
    with av.open(path) as file:
        return [to_nv12(frame) for frame in file.decode(video=0)]


def on_host(frame: Any) -> np.ndarray:
    """Read a frame in the fake GPU's memory."""
    assert isinstance(frame, Nv12Frame)
    assert isinstance(frame.luma, ReadyArray)
    num_bytes = int(np.prod(frame.luma.shape))
    return np.frombuffer(ctypes.string_at(frame.luma.pointer, num_bytes), np.uint8).reshape(
        frame.luma.shape
    )


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("colorspace", "color_range", "matrix", "full_range"),
    [(2, 1, "bt601", False), (5, 2, "bt601", True), (1, 1, "bt709", False), (1, 2, "bt709", True)],
)
def test_frames_stay_on_the_gpu(
    fake: FakeNvdec,
    colorspace: int,
    color_range: int,
    matrix: str,
    full_range: bool,
    seed: int,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    fake.cuda.configure(seed)
    path = clip(tmp_path, rng, colorspace=colorspace, color_range=color_range)
    pair = make_pair(fake.cuda)
    frames = list(read_timed_frames(path, gpu=pair.gpu.gpu_number))  # all at once
    assert fake.is_ready  # the copies waited for the decoder
    assert [number for number, _, _ in frames] == list(range(9))
    assert [time for _, time, _ in frames] == pytest.approx([0.04 * i for i in range(9)])
    expected = expected_frames(path)
    for (_, _, frame), planes in zip(frames, expected, strict=True):
        assert isinstance(frame, Nv12Frame)
        np.testing.assert_array_equal(on_host(frame), planes)
        assert (frame.matrix, frame.full_range) == (matrix, full_range)
        assert frame.shape == (64, 96, 3)
    images = (frame for _, frame in read_frames(path, gpu=0))
    num_texts = 0
    found = pair.gpu.stream(images, batch_size=2)
    for (_, detections), planes in zip(found, expected, strict=True):
        same = Nv12Frame(planes, None, matrix, full_range)  # type: ignore[arg-type]
        assert_same(detections, pair.cpu.detect(same))
        num_texts += len(detections)
    assert num_texts > 9


def test_memory_is_used_again(fake: FakeNvdec, tmp_path: Path, rng: np.random.Generator) -> None:
    path = clip(tmp_path, rng)
    before = fake.cuda.usage()
    for each in read_frames(path, gpu=0):
        assert each[1].shape == (64, 96, 3)
        held = fake.cuda.usage().device_bytes - before.device_bytes
        assert held <= 3 * 64 * 96 * 3 // 2  # this one, the next, and the one before
    del each
    gc.collect()
    assert fake.cuda.usage()[:5] == before[:5]


def test_damage_after_some_frames(
    fake: FakeNvdec, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = clip(tmp_path, rng)
    fake.fails_at = 6
    frames = read_frames(path, gpu=0)
    with pytest.raises(ImageError, match=r"clip.mp4 ends after \d frames: HandlePictureDecode"):
        list(frames)


def test_what_the_decoder_refuses_is_decoded_on_the_cpu(
    fake: FakeNvdec, tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    path = clip(tmp_path, rng)
    fake.fails_at = 0
    for _ in range(2):
        assert all(isinstance(frame, np.ndarray) for _, frame in read_frames(path, gpu=0))
    assert [each.message for each in caplog.records] == [
        "the video is decoded on the CPU: PyNvVideoCodec cannot decode it (HandlePictureDecode) "
        "(said once)"
    ]
    fake.fails_at, fake.kind = -1, PixelFormat.P016
    assert all(isinstance(frame, np.ndarray) for _, frame in read_frames(path, gpu=0))
    assert "a frame is P016, not NV12" in caplog.text


def test_a_lost_gpu_is_an_error(fake: FakeNvdec, tmp_path: Path, rng: np.random.Generator) -> None:
    path = clip(tmp_path, rng)
    frames = read_frames(path, gpu=0)
    next(frames)
    fake.cuda.fail("cudaMemcpy2DAsync", ILLEGAL_ADDRESS)
    with pytest.raises(EngineError, match="lost the GPU"):
        list(frames)


def test_frames_on_the_gpu_are_not_drawn(
    fake: FakeNvdec, tmp_path: Path, rng: np.random.Generator
) -> None:
    pair = make_pair(fake.cuda)
    _, frame = next(read_frames(clip(tmp_path, rng), gpu=0))
    with pytest.raises(ImageError, match="needed in main memory"):
        pair.gpu.detect(frame).plot(frame)


def test_frame_of_another_gpu(fake: FakeNvdec, pair: Pair) -> None:
    with pytest.raises(
        ImageError, match=r"in the memory of cuda:1 and the detector runs on cuda:0"
    ):
        pair.gpu.detect(Nv12Frame(ReadyArray(4096, (96, 96), 1, None)))


@pytest.mark.parametrize("arguments", [[], ["--save"]])
def test_the_command_decodes_on_the_gpu(
    fake: FakeNvdec,
    pair: Pair,
    arguments: list[str],
    tmp_path: Path,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The CPU decodes where frames are drawn."""
    decoded = []
    copy = nvdec._copy

    def count(*given: Any) -> ReadyArray:
        decoded.append(given)
        return copy(*given)

    monkeypatch.setattr(RunOptions, "open_detector", lambda self, **options: pair.gpu)
    monkeypatch.setattr(RunOptions, "describe_run", lambda self, detector: {})
    monkeypatch.setattr(nvdec, "_copy", count)
    path, lines = clip(tmp_path, rng), tmp_path / "found.jsonl"
    drawn = [*arguments, *[str(tmp_path / "drawn.mp4") for _ in arguments]]
    assert main(["detect", path, "--json", str(lines), *drawn]) == 0
    assert len(decoded) == (0 if arguments else 9)
    records = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    frames = [record for record in records if "frame" in record]
    assert [record["frame"] for record in frames] == list(range(9))
    assert {(record["height"], record["width"]) for record in frames} == {(64, 96)}
    for record, planes in zip(frames, expected_frames(path), strict=True):
        if arguments:  # FFmpeg converts the colours, a little differently
            continue
        assert len(record["quads"]) == len(pair.cpu.detect(Nv12Frame(planes)))
