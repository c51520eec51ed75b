# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of video files, streams and cameras."""

import itertools
import json
import socket
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.errors import ImageError
from dbnet_trt.images import video
from dbnet_trt.images.sources import find_sources
from dbnet_trt.images.video import VideoFile
from fakes.tiny_model import make_model

FRAMES = [np.full((40, 60, 3), value, np.uint8) for value in (0, 60, 120, 180, 240)]


def write(path: Path, rate: float = 10) -> Path:
    film = VideoFile(path, rate)
    for frame in FRAMES:
        film.add(frame)
    film.close()
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_written_video_is_read_back(suffix: str, tmp_path: Path) -> None:
    path = str(write(tmp_path / "sub" / f"film{suffix}"))
    assert video.is_video(path)
    assert not video.is_live(path)
    assert video.count_frames(path) == 5
    assert video.frame_rate(path) == 10
    for expected, (_, frame) in zip(FRAMES, video.read_frames(path), strict=True):
        np.testing.assert_allclose(frame, expected, atol=8)


def test_files_that_are_not_videos(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no file"):
        next(video.read_frames(str(tmp_path / "none.mp4")))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    with pytest.raises(ImageError, match="delivers no frame"):
        next(video.read_frames(str(broken)))
    assert video.count_frames(str(broken)) is None
    assert video.frame_rate(str(broken)) == 25


def test_video_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = VideoFile(tmp_path / "file" / "film.mp4", 25)
    for frame in FRAMES[:2]:  # losing the second one is reported
        with pytest.raises(ImageError, match="cannot be written"):
            nowhere.add(frame)
    film = VideoFile(tmp_path / "film.mp4", 25)
    film.add(FRAMES[0])
    with pytest.raises(ImageError, match="60x30 does not fit into a video of 60x40"):
        film.add(FRAMES[1][:30])
    film.close()
    assert video.count_frames(str(tmp_path / "film.mp4")) == 1


def test_lost_frames_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "count_frames", lambda path: 3)  # as after a full disk
    with pytest.raises(ImageError, match="lacks frames at its end"):
        write(tmp_path / "film.avi")


def test_live_sources() -> None:
    address = "rtsp://user:secret@10.0.0.7/live?channel=1"
    assert list(find_sources([address, "0"])) == [address, "0"]
    for source in (address, "0"):
        assert video.is_video(source)
        assert video.is_live(source)
        assert video.count_frames(source) is None
        assert video.frame_rate(source) == 25
    assert not video.is_live("https://example.com/a.mp4")


@pytest.mark.parametrize("place", ["cv2", "cv2.utils.logging"])
def test_log_level_of_opencv(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("cv2.setLogLevel", raising=False)
    levels: list[int] = []
    if place == "cv2":  # before 4.13
        monkeypatch.setattr("cv2.setLogLevel", levels.append, raising=False)
    else:
        fake = SimpleNamespace(setLogLevel=levels.append)
        monkeypatch.setattr("cv2.utils.logging", fake, raising=False)
    video.silence_opencv()
    assert levels == [0]


@pytest.fixture
def stream() -> Iterator[str]:
    """Serve a stream of JPEG pictures, and return its address."""
    pictures = b"".join(cv2.imencode(".jpg", frame)[1].tobytes() for frame in FRAMES)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(pictures)

        threading.Thread(target=serve, daemon=True).start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_stream(stream: str) -> None:
    frames = [(number, frame.shape) for number, frame in video.read_frames(stream)]
    assert frames == [(number, (40, 60, 3)) for number in range(5)]


def detect_live(stream: str, folder: Path, *options: str) -> list[int]:
    """Run `dbnet detect` on a stream; returns the numbers of the frames it processed."""
    model, lines, film = make_model(folder / "m.onnx"), folder / "found.jsonl", folder / "film.avi"
    outputs = ["--json", str(lines), "--save", str(film)]
    assert main(["detect", stream, "--model", str(model), *outputs, *options]) == 0
    assert video.count_frames(str(film)) == 5
    return [json.loads(line)["frame"] for line in lines.read_text().splitlines()]


def test_detect_keeps_up_with_a_stream(stream: str, tmp_path: Path) -> None:
    numbers = detect_live(stream, tmp_path)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 4


def test_detect_every_frame_of_a_stream(stream: str, tmp_path: Path) -> None:
    assert detect_live(stream, tmp_path, "--every-frame") == [0, 1, 2, 3, 4]


def test_newest_skips_stale_frames() -> None:
    taken = [threading.Event() for _ in range(5)]

    def camera() -> Generator[int, None, None]:
        yield 0
        taken[0].wait()
        for number in range(1, 5):
            yield number
            taken[number].set()  # when the next one is requested, this one has been stored

    frames = video.newest(camera())
    assert next(frames) == 0
    taken[0].set()
    taken[3].wait()
    rest = list(frames)
    assert rest[0] >= 3
    assert rest[-1] == 4


def test_newest_passes_errors_on_after_the_last_frame() -> None:
    def camera() -> Generator[int, None, None]:
        yield 7
        raise ImageError("unplugged")

    frames = video.newest(camera())
    assert next(frames) == 7
    with pytest.raises(ImageError, match="unplugged"):
        next(frames)


def test_newest_closes_the_camera() -> None:
    closed = threading.Event()

    def camera() -> Generator[int, None, None]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    frames = video.newest(camera())
    next(frames)
    frames.close()
    assert closed.wait(10)


def test_frames_of_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "MAX_PIXELS", 100)
    with pytest.raises(ImageError, match="are too many pixels, at most 100"):
        next(video.read_frames(str(write(tmp_path / "film.mp4"))))
