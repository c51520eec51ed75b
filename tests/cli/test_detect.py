# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt import Detections, zoo
from dbnet_trt.cli.app import main
from dbnet_trt.cli.console import INTERRUPTED
from dbnet_trt.images import video
from fakes.tiny_model import make_model, scene


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(make_model(tmp_path / "tiny.onnx"))


@pytest.fixture
def photo(tmp_path: Path) -> str:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), scene())
    return str(path)


def test_save_one_image_to_a_file(model: str, photo: str, tmp_path: Path) -> None:
    target = tmp_path / "out.jpg"
    assert main(["detect", photo, "--model", model, "--save", str(target)]) == 0
    drawn = cv2.imread(str(target))
    assert drawn.shape == (120, 200, 3)
    assert drawn[:, :, 1].astype(int).max() > 0
    assert (drawn[:, :, 1].astype(int) - drawn[:, :, 2] > 80).any()  # a green line


def test_print_a_table(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", photo, "--model", model]) == 0
    printed = capsys.readouterr()
    assert "2 texts" in printed.out
    assert "1 image, 2 texts" in printed.err


def test_json_lines(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copy(photo, f"{photo}.png")
    several = [photo, other, photo]  # the first is not searched once more
    assert main(["detect", *several, "--model", model, "--json", "-", "--polygons"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    record = json.loads(lines[0])
    assert record["image"] == photo
    assert (record["height"], record["width"]) == (120, 200)
    found = Detections.from_json(lines[0])
    assert len(found) == 2
    assert found.polygons is not None


def test_tiles(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = np.zeros((1500, 2000, 3), np.uint8)
    for x in range(100, 1900, 100):
        image[700:712, x : x + 40] = 255
    cv2.imwrite(str(tmp_path / "sheet.png"), image)
    command = ["detect", str(tmp_path / "sheet.png"), "--model", model, "--json", "-", "--tiles"]
    counts = []
    for tiles in ("off", "on", "640"):
        assert main([*command, tiles]) == 0
        counts.append(len(Detections.from_json(capsys.readouterr().out)))
    assert counts[0] < counts[1] == counts[2] == 18
    assert main([*command, "100"]) == 2
    assert "multiple of 32" in capsys.readouterr().err
    assert main([*command, "many"]) == 2


def test_folder_to_folder(model: str, photo: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/a.png", "b.jpg"):
        cv2.imwrite(str(folder / name), scene())
    target = tmp_path / "out"
    results = tmp_path / "results.jsonl"
    assert (
        main(
            ["detect", str(folder), "--model", model, "--save", str(target), "--json", str(results)]
        )
        == 0
    )
    drawn = sorted(str(path.relative_to(target)) for path in target.rglob("*.*"))
    assert drawn == ["a.png", "b.jpg", "sub/a.png"]
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    pictures = {record["image"]: record["picture"] for record in records}
    assert pictures == {str(folder / name): str(target / name) for name in drawn}


def test_pictures_keep_the_folders_of_the_input(model: str, tmp_path: Path) -> None:
    for name in ("in/x/a.png", "in/y/a.png", "more/x/a.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / name), scene())
    target = tmp_path / "out"
    inputs = [str(tmp_path / "in" / "*" / "*.png"), str(tmp_path / "more")]
    assert main(["detect", *inputs, "--model", model, "--save", str(target)]) == 0
    drawn = sorted(str(path.relative_to(target)) for path in target.rglob("*.png"))
    assert drawn == ["x/a.png", "x/a_2.png", "y/a.png"]


def test_coordinates_have_two_decimals(
    model: str, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", photo, "--model", model, "--json", "-", "--polygons"]) == 0
    record = json.loads(capsys.readouterr().out)
    for numbers, decimals in ((record["quads"], 2), (record["polygons"], 2), (record["scores"], 4)):
        for number in np.concatenate([np.ravel(each) for each in numbers]).tolist():
            assert number == round(number, decimals)


def test_many_pictures_do_not_fit_into_one_file(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.jpg"
    other = shutil.copy(photo, f"{photo}.png")
    assert main(["detect", photo, other, "--model", model, "--save", str(target)]) == 2
    assert "name a folder" in capsys.readouterr().err
    assert not target.exists()


def test_video(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "film.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (200, 120))
    for _ in range(3):
        film.write(scene())
    film.release()
    target = tmp_path / "frames"
    arguments = ["detect", str(path), "--model", model, "--json", "-", "--save", str(target)]
    assert main(arguments) == 0
    frames = [json.loads(line)["frame"] for line in capsys.readouterr().out.splitlines()]
    assert frames == [0, 1, 2]
    assert len(list(target.iterdir())) == 3

    drawn = tmp_path / "drawn.mp4"
    assert main(["detect", str(path), "--model", model, "--save", str(drawn)]) == 0
    assert video.count_frames(str(drawn)) == 3
    assert video.frame_rate(str(drawn)) == 10
    _, frame = next(video.read_frames(str(drawn)))
    change = frame.astype(int) - scene()
    assert np.abs(change).max() > 100  # the outlines
    assert main(["detect", str(path), "--model", model, "--save", str(path)]) == 2
    assert "would overwrite the input" in capsys.readouterr().err


def test_unreadable_files_are_skipped_and_counted(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 no picture")
    arguments = ["detect", str(broken), photo, "missing.jpg", "--model", model, "--json", "-"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 1
    assert "broken.jpg" in printed.err
    assert "missing.jpg" in printed.err
    assert "1 image, 2 texts, 2 skipped" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "ppocrv6-smal"], 'did you mean "ppocrv6-small"'),
        (["--model", "none.onnx"], "there is no file none.onnx"),
        (["--device", "gpu"], "device must be"),
        (["--score-threshold", "2"], "score_threshold must lie between 0 and 1"),
        (["--short-side", "0"], "short_side"),
        (["--card", "none.json"], "none.json cannot be read"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    model: str,
    photo: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    assert main(["detect", photo, *arguments]) == 2
    printed = capsys.readouterr()
    assert message in " ".join(printed.err.split())
    assert len(printed.err.strip().splitlines()) == 1


def test_results_that_cannot_be_written(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = str(tmp_path / "none" / "x.jsonl")
    assert main(["detect", photo, "--model", model, "--json", target]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_short_side(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", photo, "--model", model, "--short-side", "64"]) == 0
    assert "2 texts" in capsys.readouterr().out


def test_info_and_models(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model]) == 0
    assert "logit" in capsys.readouterr().out
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for name, packaged in zoo.MODELS.items():
        (line,) = (line for line in printed.splitlines() if line.startswith(f"{name} "))
        assert f" one outline per {packaged.card.text_level}, short side " in line
        assert packaged.file in printed or packaged.install in printed


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupt_leaves_complete_lines(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(400):
        cv2.imwrite(str(folder / f"{i:03d}.jpg"), np.zeros((400, 600, 3), np.uint8))
    results = tmp_path / "results.jsonl"
    command = ["-m", "dbnet_trt", "detect", str(folder), "--model", model, "--json", str(results)]
    process = subprocess.Popen(
        [sys.executable, *command, "--short-side", "800"],
        stderr=subprocess.PIPE,
        # In a background job SIGINT may be ignored, and child processes inherit this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 60
    while not (results.exists() and results.stat().st_size > 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert b"Traceback" not in printed
    lines = results.read_text(encoding="utf-8").splitlines()
    assert 0 < len(lines) < 400
    for line in lines:
        json.loads(line)


def test_messages_of_opencv_are_not_printed(
    model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    broken = tmp_path / "broken.tif"
    broken.write_bytes(cv2.imencode(".tif", noise)[1].tobytes()[:9000])
    assert main(["detect", str(broken), "--model", model]) == 1
    lines = filter(None, capfd.readouterr().err.splitlines())  # rich before 14.3 leaves one empty
    assert [line.split(":")[0] for line in lines] == ["skipped", "0 images, 0 texts, 1 skipped"]


# ---- nothing is lost -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outputs",
    [
        ["--save", "scans"],
        ["--save", "scans/a.png"],
        ["--json", "scans/a.png"],
        ["--save", "scans/../scans"],
    ],
)
def test_inputs_are_not_overwritten(
    outputs: list[str],
    model: str,
    photo: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    scan = tmp_path / "scans" / "a.png"
    scan.parent.mkdir()
    scan.write_bytes(Path(photo).read_bytes())
    assert main(["detect", "scans", "--model", model, *outputs]) == 2
    assert "would overwrite the input scans" in " ".join(capsys.readouterr().err.split())
    assert scan.read_bytes() == Path(photo).read_bytes()


def test_wrong_command_keeps_existing_lines(model: str, photo: str, tmp_path: Path) -> None:
    lines = tmp_path / "found.jsonl"
    lines.write_text("precious")
    arguments = ["detect", photo, photo, "--model", model, "--json", str(lines)]
    assert main([*arguments, "--save", str(tmp_path / "one.png")]) == 2
    assert lines.read_text() == "precious"


def test_pictures_of_formats_that_are_not_written(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = tmp_path / "in" / "b.pgm"
    grey.parent.mkdir()
    cv2.imwrite(str(grey), cv2.imread(photo, cv2.IMREAD_GRAYSCALE))
    folder = tmp_path / "out"
    assert main(["detect", str(grey.parent), "--model", model, "--save", str(folder)]) == 0
    assert [path.name for path in folder.iterdir()] == ["b.jpg"]
    film = str(tmp_path / "out.mp4")
    assert main(["detect", photo, "--model", model, "--save", film]) == 2
    assert "names a video" in capsys.readouterr().err
    film = str(tmp_path / "out.mkv")
    assert main(["detect", photo, "--model", model, "--save", film]) == 2
    printed = capsys.readouterr().err
    assert "pictures are written as .bmp, .jpeg, .jpg" in printed
    assert "videos as .avi, .mp4" in printed


def test_picture_that_cannot_be_written_is_counted(
    model: str, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = tmp_path / "in" / "wide.webp.png"
    wide.parent.mkdir()
    cv2.imwrite(str(wide), np.zeros((8, 17000, 3), np.uint8))
    source = wide.rename(wide.with_name("wide.webp"))
    arguments = ["detect", str(source), photo, "--model", model, "--save", str(tmp_path / "out")]
    assert main(arguments) == 1
    printed = capsys.readouterr().err
    assert "17000x8 pixels are too many for .webp" in printed
    assert "2 images, 2 texts, 1 skipped" in printed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_full_disk_is_one_line(model: str, photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["detect", photo, "--model", model, "--json", "/dev/full"]) == 2
    printed = capsys.readouterr().err
    assert "No space left on device" in printed
    assert "Traceback" not in printed


def test_video_that_is_cut_off_is_counted(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "film.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (200, 120))
    for _ in range(12):
        film.write(scene())
    film.release()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert main(["detect", str(path), "--model", model, "--json", "-"]) == 1
    printed = capsys.readouterr()
    assert 0 < len(printed.out.splitlines()) < 12
    assert "of 12 frames: cut off" in printed.err
