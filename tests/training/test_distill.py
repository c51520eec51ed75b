# SPDX-License-Identifier: Apache-2.0
"""Data sets that `dbnet distill` labels with the maps of detectors."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector, ImageError, ModelCard
from dbnet_trt.cli.app import main
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.samples import Sample, load_prob_map
from dbnet_trt.training.distill import DistillConfig, distill, mean_map
from fakes.engines import CARD, GreenOnCpu
from fakes.tiny_model import make_model

SEEN, UNSEEN, UNSURE = (20, 20, 180, 60), (20, 100, 180, 140), (20, 150, 180, 190)
OWN, TEACHER = DistillConfig(shrink_ratio=0.7), DistillConfig("teacher", 0.62, 0.4)


class DarkOnCpu(GreenOnCpu):
    """Engine that finds nothing, at twice the size."""

    card = ModelCard(name="dark", mean=(0, 0, 0), std=(1, 1, 1), short_side=2 * CARD.short_side)
    runs = 0

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.runs += 1
        return np.zeros_like(batch[:, 1])


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Photo with two outlined texts, of which the teacher finds one, and a dim third text."""
    image = np.zeros((200, 200, 3), np.uint8)
    image[20:61, 20:181, 1] = 255
    image[150:191, 20:181, 1] = 128  # P = 0.5
    cv2.imwrite(str(tmp_path / "photo.png"), image)
    texts = [{"polygon": box(*place)} for place in (SEEN, UNSEEN)]
    (tmp_path / "labels.jsonl").write_text(json.dumps({"image": "photo.png", "texts": texts}))
    return f"jsonl:{tmp_path / 'labels.jsonl'}"


def read(file: Path) -> Sample:
    (sample,) = read_dataset(f"jsonl:{file}").samples
    return sample


def middle(sample: Sample, place: tuple[int, int, int, int]) -> float:
    """Read P in the middle of an area of the photo."""
    assert sample.prob_map is not None
    prob_map = load_prob_map(sample.prob_map)
    x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
    return float(prob_map[int(y * prob_map.shape[0] / 200), int(x * prob_map.shape[1] / 200)] / 255)


def test_own_outlines(data: str, tmp_path: Path) -> None:
    steps = []
    file = distill(
        [Detector(GreenOnCpu())], data, tmp_path / "a", OWN, lambda *step: steps.append(step)
    )
    sample = read(file)
    assert steps == [(1, 1)]
    assert sample.image == tmp_path / "photo.png"  # where it lies
    np.testing.assert_allclose(sample.texts[0].polygon, box(*SEEN))
    np.testing.assert_allclose(sample.texts[1].polygon, box(*UNSEEN))
    assert middle(sample, SEEN) > 0.95
    assert middle(sample, UNSEEN) > 0.95  # drawn into the map
    assert middle(sample, UNSURE) == pytest.approx(0.5, abs=0.05)  # unchanged
    plain = read(tmp_path / "a" / "outlines.jsonl")
    assert plain.prob_map is None
    assert len(plain.texts) == 2


def test_outlines_of_the_teacher(data: str, tmp_path: Path) -> None:
    sample = read(distill([Detector(GreenOnCpu())], data, tmp_path / "a", TEACHER))
    ignored = {int(text.polygon[:, 1].mean()) // 100: text.ignore for text in sample.texts}
    assert ignored == {0: False, 1: True}  # the bright bar, then the dim one
    assert middle(sample, UNSEEN) < 0.05
    (sure,) = (text for text in sample.texts if not text.ignore)
    found = Detector(GreenOnCpu()).detect(tmp_path / "photo.png")
    np.testing.assert_allclose(sure.polygon, found[0].quad, atol=1)  # in pixels of the photo


def test_maps_of_several_teachers_are_averaged(data: str, tmp_path: Path) -> None:
    teachers = [Detector(GreenOnCpu()), Detector(DarkOnCpu())]
    sample = read(distill(teachers, data, tmp_path / "a", TEACHER))
    assert sample.prob_map is not None
    assert load_prob_map(sample.prob_map).shape == (128, 128)  # the larger of 64 and 128
    assert middle(sample, SEEN) == pytest.approx(0.5, abs=0.02)
    assert middle(sample, UNSURE) == pytest.approx(0.25, abs=0.02)
    assert [text.ignore for text in sample.texts] == [True]  # 0.5 lies between 0.4 and 0.62


def test_folder_of_photos_without_labels(data: str, tmp_path: Path) -> None:
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    (tmp_path / "photo.png").rename(tmp_path / "photos" / "sub" / "a.png")
    folder = str(tmp_path / "photos")
    sample = read(distill([Detector(GreenOnCpu())], folder, tmp_path / "a", TEACHER))
    assert sample.image == tmp_path / "photos" / "sub" / "a.png"
    assert len(sample.texts) == 2
    with pytest.raises(ValueError, match="cannot tell the format"):
        distill([Detector(GreenOnCpu())], folder, tmp_path / "b", OWN)


def test_mean_map() -> None:
    small, large = np.full((2, 2), 0.2, np.float32), np.full((4, 6), 0.6, np.float32)
    np.testing.assert_allclose(mean_map([small, large]), np.full((4, 6), 0.4), rtol=1e-6)


def test_stretched_photos_are_written(tmp_path: Path) -> None:
    image = np.zeros((640, 960, 3), np.uint8)
    image[100:200, 100:800, 1] = 255
    cv2.imwrite(str(tmp_path / "img_1.jpg"), image)
    (tmp_path / "gt_img_1.txt").write_text("100,100,800,100,800,200,100,200,text\n")
    name = f"icdar2015:{tmp_path}?stretch"
    sample = read(distill([Detector(GreenOnCpu())], name, tmp_path / "out", OWN))
    assert sample.image == tmp_path / "out" / "images" / "000000.jpg"
    assert cv2.imread(str(sample.image)).shape == (720, 1280, 3)
    np.testing.assert_allclose(sample.texts[0].polygon[0], [100 * 4 / 3, 100 * 9 / 8], atol=0.01)
    assert sample.texts[0].content == "text"


def test_photos_that_exif_turns_are_written_as_they_are_learnt(tmp_path: Path) -> None:
    """ICDAR's points are in pixels as stored, those of JSON Lines in upright ones."""
    pil = pytest.importorskip("PIL.Image", reason="pillow is not installed")
    exif = pil.Exif()
    exif[0x112] = 3  # upside down
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[10:40, 20:180, 1] = 255
    pil.fromarray(pixels).save(tmp_path / "img_1.jpg", exif=exif)
    (tmp_path / "gt_img_1.txt").write_text("20,10,180,10,180,40,20,40,text\n")
    name = f"icdar2015:{tmp_path}"
    sample = read(distill([Detector(GreenOnCpu())], name, tmp_path / "out", OWN))
    assert sample.image.parent.name == "images"
    green = cv2.imread(str(sample.image))[:, :, 1]
    assert green[10:40].mean() > 150
    assert green[60:90].mean() < 20


def test_a_stopped_run_continues(data: str, tmp_path: Path) -> None:
    teacher = DarkOnCpu()
    file = distill([Detector(teacher)], data, tmp_path / "a", TEACHER)
    expected, runs = file.read_bytes(), teacher.runs
    file.unlink()  # as if stopped before it was written
    assert distill([Detector(teacher)], data, tmp_path / "a", TEACHER) == file
    assert file.read_bytes() == expected
    assert teacher.runs == runs  # the map was there
    with pytest.raises(ValueError, match="holds a data set; choose another folder"):
        distill([Detector(teacher)], data, tmp_path / "a", TEACHER)
    file.unlink()
    with pytest.raises(ValueError, match="beginning of another data set: outlines.* differ"):
        distill([Detector(teacher)], data, tmp_path / "a", OWN)
    with pytest.raises(ValueError, match="data set: teachers, digest differ"):
        distill([Detector(GreenOnCpu())], data, tmp_path / "a", TEACHER)


def test_damaged_photo(data: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(ImageError, match=r"photo\.png.*mend or remove"):
        distill([Detector(GreenOnCpu())], data, tmp_path / "a", OWN)
    assert not (tmp_path / "a").exists()  # which would be the beginning of a set of other photos


def test_command(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model(tmp_path / "a.onnx")
    make_model(tmp_path / "b.onnx", card=None)
    (tmp_path / "b.json").write_text(CARD.to_json())
    command = ["distill", "a.onnx", "b.onnx", "--data", data, "--output", "out"]
    assert main([*command, "--outlines", "teacher"]) == 0
    assert "distilled.jsonl  1 photo" in capsys.readouterr().out
    assert json.loads((tmp_path / "out/settings.json").read_text())["teachers"] == [
        "tiny, 128",
        "green, 64",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-model", "--data", "jsonl:none"], 'there is no model "no-model"'),
        (["dbnet-lines", "--data", "jsonl:none"], "there is no none"),
        (["dbnet-lines", "--data", "x", "--outlines", "mine"], "mine"),
        (["dbnet-lines", "--data", "x", "--ignore-threshold", "0.9"], "ignore_threshold"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["distill", *arguments, "--output", "distilled"]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1
