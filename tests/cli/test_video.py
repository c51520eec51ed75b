# SPDX-License-Identifier: Apache-2.0
"""Videos on the command line: tracks, texts read once, frames that show the same picture."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.images.video import read_frames
from fakes.tiny_model import make_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_model(tmp_path_factory.mktemp("model") / "tiny.onnx"))


def picture(first: int, second: int) -> np.ndarray:
    """Two bars in which `first` and `second` are the places of their left ends."""
    image = np.zeros((120, 240, 3), np.uint8)
    for y, x in ((25, first), (80, second)):
        image[y : y + 18, x : x + 60] = 255
    return image


def write_clip(path: Path, pictures: list[np.ndarray]) -> str:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (240, 120))
    for each in pictures:
        writer.write(each)
    writer.release()
    return str(path)


@pytest.fixture
def clip(tmp_path: Path) -> str:
    return write_clip(tmp_path / "clip.avi", [picture(10 + 8 * i, 170 - 8 * i) for i in range(8)])


def run(lines: Path, *arguments: str) -> list[dict[str, Any]]:
    assert main(["detect", *arguments, "--json", str(lines)]) == 0
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]


def test_track_gives_numbers_in_every_output(clip: str, model: str, tmp_path: Path) -> None:
    table, drawn = tmp_path / "t.csv", tmp_path / "drawn.avi"
    outputs = ["--csv", str(table), "--save", str(drawn)]
    records = run(tmp_path / "f.jsonl", clip, "--model", model, "--track", *outputs)
    assert [record["frame"] for record in records] == list(range(8))
    rows: list[dict[int, float]] = []
    for record in records:
        tops = [quad[0][1] for quad in record["quads"]]
        rows.append(dict(zip(record["track_ids"], tops, strict=True)))
    assert rows[0].keys() == {1, 2}
    for row in rows:
        assert row == pytest.approx(rows[0], abs=1.5)
    with table.open(encoding="utf-8") as file:
        assert {row["track"] for row in csv.DictReader(file)} == {"1", "2"}
    _, frame = next(read_frames(str(drawn)))
    assert np.ptp(frame.astype(int), axis=2).max() > 80  # in colours


def test_each_clip_has_its_own_numbers(clip: str, model: str, tmp_path: Path) -> None:
    other = write_clip(tmp_path / "other.avi", [picture(100, 20)] * 3)
    again = shutil.copy(clip, tmp_path / "again.avi")
    several = [clip, str(again), str(other), clip]  # the first is not searched once more
    records = run(tmp_path / "f.jsonl", *several, "--model", model, "--track")
    assert len(records) == 8 + 8 + 3
    assert all(sorted(record["track_ids"]) == [1, 2] for record in records)


def test_each_track_is_read_once(
    clip: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crops: list[tuple[int, ...]] = []

    def reader(images: list[np.ndarray]) -> list[tuple[str, float]]:
        crops.extend(image.shape for image in images)
        return [("bar", 0.95)] * len(images)

    monkeypatch.setattr("dbnet_trt.cli.detect.open_reader", lambda **options: reader)
    records = run(tmp_path / "f.jsonl", clip, "--model", model, "--track", "--text")
    assert len(crops) == 2
    tracks = [record for record in records if "track_id" in record]
    assert records[-2:] == tracks
    for number, track in enumerate(tracks, 1):
        assert track["track_id"] == number
        assert (track["first_frame"], track["last_frame"], track["text"]) == (0, 7, "bar")
        assert track["image"] == clip
        assert np.shape(track["quad"]) == (4, 2)
    assert "texts" not in records[0]


def test_frames_of_the_same_picture_are_not_searched_again(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = [picture(10, 100)] * 4 + [picture(40, 100)] * 2 + [picture(10, 100)] * 3
    clip = write_clip(tmp_path / "titles.avi", shown)
    records = run(tmp_path / "f.jsonl", clip, "--model", model, "--skip-same", "--track")
    assert [record.get("same_as") for record in records] == [None, 0, 0, 0, None, 4, None, 6, 6]
    assert records[1]["quads"] == records[0]["quads"]
    assert records[5]["quads"] == records[4]["quads"] != records[0]["quads"]
    assert all(sorted(record["track_ids"]) == [1, 2] for record in records)
    assert "9 images (6 not searched" in " ".join(capsys.readouterr().err.split())
    assert main(["detect", clip, "--model", model, "--skip-same"]) == 0
    assert "frame 3: 2 texts, the same as frame 0" in capsys.readouterr().out


def test_images_have_no_tracks(
    clip: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), picture(10, 10))
    assert main(["detect", str(photo), clip, "--model", model, "--track", "--json", "-"]) == 1
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 8
    assert "photo.png is an image; --track follows text in videos" in printed.err
    lines = str(tmp_path / "f.jsonl")
    assert main(["detect", clip, "--model", model, "--track", "--json", lines, "--resume"]) == 2
    assert "--resume and --track exclude each other" in capsys.readouterr().err
