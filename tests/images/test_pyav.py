# SPDX-License-Identifier: Apache-2.0
"""Videos by PyAV: times, H.264, and the same frames as OpenCV's."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.errors import ImageError
from dbnet_trt.images import pyav, video
from dbnet_trt.images.video import VideoFile
from fakes.tiny_model import make_model, scene

av = pytest.importorskip("av")


def write(path: Path, times: list[float | None], size: tuple[int, int] = (120, 200)) -> str:
    film = VideoFile(path, 10)
    for i, time in enumerate(times):
        film.add(scene(*size, num_texts=1 + i % 3), time)
    film.close()
    return str(path)


def opencv_frames(path: str, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    with monkeypatch.context() as without:
        without.setattr(pyav, "import_av", lambda: None)
        return [frame for _, frame in video.read_frames(path)]


def test_mp4_is_h264_and_both_libraries_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "sub" / "film.mp4", [None] * 6)
    with av.open(path) as file:
        codec = file.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
    data = Path(path).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before all of it is there
    frames = list(video.read_timed_frames(path))
    assert [number for number, _, _ in frames] == list(range(6))
    assert [time for _, time, _ in frames] == pytest.approx([0.1 * i for i in range(6)])
    for (_, _, frame), other in zip(frames, opencv_frames(path, monkeypatch), strict=True):
        np.testing.assert_allclose(frame, other, atol=4)
    assert np.abs(frames[0][2].astype(int) - scene(num_texts=1)).mean() < 4


def test_times_are_kept(tmp_path: Path) -> None:
    times: list[float | None] = [0, 0.04, 0.5, 2, None]
    path = write(tmp_path / "film.mp4", times)
    read = [time for _, time, _ in video.read_timed_frames(path)]
    assert read == pytest.approx([0, 0.04, 0.5, 2, 2.1], abs=1e-4)


def test_odd_sizes_become_even(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4", [None] * 2, (121, 199))
    assert {frame.shape for _, frame in video.read_frames(path)} == {(122, 200, 3)}


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_frames_are_turned_as_the_file_says(
    degrees: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write(tmp_path / "film.mp4", [None] * 2))
    data = bytearray(path.read_bytes())
    c, s = round(np.cos(np.radians(degrees))), round(np.sin(np.radians(degrees)))
    matrix = np.array([c, s, 0, -s, c, 0, 0, 0, 0x4000], ">i4") * 0x10000
    at = data.index(b"tkhd") + 4 + 40  # version, times, number, duration, layer, volume
    data[at : at + 36] = matrix.astype(">i4").tobytes()
    path.write_bytes(data)
    _, frame = next(video.read_frames(str(path)))
    np.testing.assert_allclose(frame, opencv_frames(str(path), monkeypatch)[0], atol=4)
    assert frame.shape == ((120, 200, 3) if degrees % 180 == 0 else (200, 120, 3))


def test_files_that_are_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    with pytest.raises(ImageError, match="broken.mp4 delivers no frame: Invalid data"):
        next(video.read_frames(str(broken)))
    path = Path(write(tmp_path / "film.mp4", [None] * 40))
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(ImageError, match="film.mp4"):
        list(video.read_frames(str(path)))
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 8000
        for packet in [*stream.encode(silence), *stream.encode(None)]:
            file.mux(packet)
    with pytest.raises(ImageError, match="has no video in it"):
        next(video.read_frames(str(sound)))


def test_files_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ImageError, match="cannot be written"):
        write(tmp_path / "file" / "film.mp4", [None])
    monkeypatch.setattr(pyav, "ENCODERS", ("none",))
    with pytest.raises(ImageError, match="this PyAV lacks none"):
        write(tmp_path / "film.mp4", [None])


def test_times_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(make_model(tmp_path / "tiny.onnx"))
    clip, drawn = write(tmp_path / "clip.mp4", [0, 0.2, 1.5]), tmp_path / "drawn.mp4"
    arguments = ["detect", clip, "--model", model, "--save", str(drawn), "--json", "-"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    times = [json.loads(line)["time"] for line in printed.out.splitlines()]
    assert times == [0, 0.2, 1.5]
    assert "MPEG-4" not in printed.err
    read = [time for _, time, _ in video.read_timed_frames(str(drawn))]
    assert read == pytest.approx(times, abs=1e-4)
    monkeypatch.setattr(pyav, "import_av", lambda: None)
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "time" not in json.loads(printed.out.splitlines()[0])
    said = " ".join(printed.err.split())
    assert "which browsers do not play; for H.264 pip install 'dbnet-trt[video]'" in said
    assert cv2.VideoCapture(str(drawn)).get(cv2.CAP_PROP_FRAME_COUNT) == 3
