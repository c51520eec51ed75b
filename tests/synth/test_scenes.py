# SPDX-License-Identifier: Apache-2.0
"""Synthetic scenes, and training crops of samples."""

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt.data.checks import clip_polygon
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.samples import Text
from dbnet_trt.errors import ImageError
from dbnet_trt.synth.scenes import SynthConfig, load_materials, make_scene, write_scenes
from dbnet_trt.training.augment import AugmentConfig, augment, cut_prob_map
from training.scenes import FONTS

CONFIG = SynthConfig(size=256, fonts=FONTS, max_blocks=4, seed=3)


def test_same_seed_same_scene_whatever_came_before() -> None:
    materials = load_materials(CONFIG)
    first = make_scene(materials, CONFIG, 5)
    make_scene(materials, CONFIG, 6)
    second = make_scene(materials, CONFIG, 5)
    np.testing.assert_array_equal(first[0], second[0])
    assert len(first[1]) == len(second[1])
    other, _ = make_scene(materials, dataclasses.replace(CONFIG, seed=4), 5)
    assert (other != first[0]).any()


def test_scenes_are_written_the_same_by_several_processes(tmp_path: Path) -> None:
    one = write_scenes(tmp_path / "one", 4, config=CONFIG)
    two = write_scenes(tmp_path / "two", 4, config=CONFIG, processes=2)
    assert one.read_text() == two.read_text()
    for name in ("000000.jpg", "000003.jpg"):
        assert (tmp_path / "one/images" / name).read_bytes() == (
            tmp_path / "two/images" / name
        ).read_bytes()


@pytest.mark.parametrize("text_level", ["word", "line"])
def test_written_scenes_are_read_without_problems(tmp_path: Path, text_level: str) -> None:
    config = dataclasses.replace(CONFIG, text_level=text_level)  # type: ignore[arg-type]
    found = read_dataset(f"jsonl:{write_scenes(tmp_path, 12, config=config)}")
    assert found.problems == []
    texts = [text for sample in found.samples for text in sample.texts]
    assert len(found.samples) == 12
    assert len(texts) > 12
    assert any(" " in text.content for text in texts) == (text_level == "line")
    for text in texts:
        assert text.polygon.min() >= 0
        assert text.polygon.max() <= 255


def test_a_data_set_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text("by hand")
    with pytest.raises(ValueError, match="holds a data set; choose another folder"):
        write_scenes(tmp_path, 1, config=CONFIG)
    assert list(tmp_path.iterdir()) == [file]


def test_letters_lie_inside_their_outlines() -> None:
    """On a plain surface, nearly all pixels that differ from it are inside the outlines."""
    materials = load_materials(CONFIG)
    shares = []
    for index in range(30):
        image, texts = make_scene(materials, CONFIG, index)
        inside = np.zeros(image.shape[:2], np.uint8)
        for text in texts:
            cv2.fillPoly(inside, [np.rint(text.polygon).astype(np.int32)], 1)
        edges = cv2.Laplacian(cv2.GaussianBlur(image, (0, 0), 1).max(axis=2), cv2.CV_32F)
        strength = np.abs(edges)
        if inside.any():
            shares.append(strength[inside > 0].mean() / strength[inside == 0].mean())
    assert np.median(shares) > 2


def test_tiny_text_is_ignored() -> None:
    config = dataclasses.replace(CONFIG, tiny_px=1000)
    materials = load_materials(config)
    _, texts = make_scene(materials, config, 0)
    assert texts
    assert all(text.ignore for text in texts)


def test_without_fonts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no font below"):
        load_materials(dataclasses.replace(CONFIG, fonts=(tmp_path,)))


def test_without_backgrounds(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no image in"):
        load_materials(dataclasses.replace(CONFIG, backgrounds=tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size must lie between 32 and"),
        ({"text_height": (0, 5)}, "text_height must be 1 or more"),
        ({"text_height": (50, 5)}, "text_height must be 1 or more and not fall"),
        ({"max_blocks": 0}, "max_blocks must be 1 or more"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"chinese": 7}, "chinese must lie between 0 and 1"),
        ({"tiny_px": float("nan")}, "tiny_px must be 0 or more"),
    ],
)
def test_configurations_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_words_of_other_encodings(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    config = dataclasses.replace(CONFIG, words=file)
    file.write_bytes("caf\u00e9\nword\n".encode("utf-16"))
    assert load_materials(config).words == ["caf\u00e9", "word"]
    for data, message in ((b"caf\xe9", "words.txt to be UTF-8"), (b"\n\n", "there is no word in")):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            load_materials(config)


def test_a_damaged_background_is_named(tmp_path: Path, rng: np.random.Generator) -> None:
    photo = rng.integers(0, 255, (90, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.jpg"), photo)
    (tmp_path / "notes.txt").write_text("where the photos are from")
    config = dataclasses.replace(CONFIG, backgrounds=tmp_path)
    assert [each.shape for each in load_materials(config).photos] == [(90, 120, 3)]
    half = cv2.imencode(".png", photo)[1][:9000]
    (tmp_path / "b.png").write_bytes(half.tobytes())
    with pytest.raises(ImageError, match=r"b\.png: .* cut off"):
        load_materials(config)


def marked_image() -> tuple[np.ndarray, list[Text]]:
    """Draw a white square of text on black."""
    image = np.zeros((300, 400, 3), np.uint8)
    polygon = np.array([[120, 90], [260, 90], [260, 170], [120, 170]], np.float64)
    cv2.fillPoly(image, [polygon.astype(np.int32)], (255, 255, 255))
    return image, [Text(polygon)]


@pytest.mark.parametrize("seed", range(20))
def test_polygons_move_with_the_pixels(seed: int) -> None:
    image, texts = marked_image()
    config = AugmentConfig(crop_size=256, color_prob=0, degrade_prob=0, quarter_turn_prob=0.3)
    crop, moved, _ = augment(image, texts, (1.2, 0.9), config, np.random.default_rng(seed))
    assert crop.shape == (256, 256, 3)
    inside = np.zeros((256, 256), np.uint8)
    for text in moved:
        cv2.fillPoly(inside, [np.rint(text.polygon).astype(np.int32)], 1)
    # The area outside the photo has a random colour; the square is pure white.
    white = (crop == 255).all(axis=2)
    if moved and white.any():
        overlap = (white & (inside > 0)).sum() / (white | (inside > 0)).sum()
        assert overlap > 0.9


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.25])
def test_prob_maps_move_with_the_pixels(factor: float) -> None:
    image, texts = marked_image()
    prob_map = cv2.resize(image[:, :, 0], None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    config = AugmentConfig(crop_size=256, color_prob=0, degrade_prob=0, quarter_turn_prob=0.3)
    largest = 0.0
    for seed in range(10):
        crop, _, matrix = augment(image, texts, (1.2, 0.9), config, np.random.default_rng(seed))
        cut = cut_prob_map(prob_map, image.shape[:2], matrix, 256)
        assert cut.shape == (256, 256)
        assert cut.dtype == np.float32
        inside = warp_inside(image.shape[:2], matrix)
        white = crop[:, :, 0].astype(np.float32) / 255
        difference = np.where(inside, cut - white, 0.0)
        # Edges are blurred by the coarse map, but equally on both sides.
        assert abs(float(difference.sum())) < 0.02 * float(white[inside].sum() + 100)
        assert (cut[~inside] < 1).all()
        largest = max(largest, float(cut.max()))
    assert largest > 0.99


def warp_inside(size: tuple[int, int], matrix: np.ndarray) -> np.ndarray:
    """Mark the crop's pixels that lie well inside the image: (256, 256) bool."""
    whole = np.zeros(size, np.uint8)
    whole[2:-2, 2:-2] = 255
    return np.asarray(cv2.warpAffine(whole, matrix, (256, 256)) == 255)


def test_crops_keep_text() -> None:
    image, texts = marked_image()
    config = AugmentConfig(crop_size=128, scale=(2.0, 3.0), text_prob=1.0)
    found = [augment(image, texts, (1, 1), config, np.random.default_rng(s))[1] for s in range(50)]
    assert sum(bool(texts) for texts in found) >= 45


def test_text_cut_off_is_ignored() -> None:
    image, texts = marked_image()
    config = AugmentConfig(crop_size=128, scale=(3.0, 3.0), min_visible=1.1)
    for seed in range(20):
        _, found, _ = augment(image, texts, (1, 1), config, np.random.default_rng(seed))
        assert all(text.ignore for text in found)


def test_units_of_text_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match='must be "word" or "line", got \'lines\''):
        SynthConfig(text_level="lines")  # type: ignore[arg-type]


def test_clip_polygon() -> None:
    square = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]], np.float64)
    clipped = clip_polygon(square, 10)
    assert sorted(map(tuple, clipped.tolist())) == [(0, 0), (0, 5), (5, 0), (5, 5)]
    assert len(clip_polygon(square - 20, 10)) == 0
    inside = square + 6  # up to 11, past the last pixel 9
    assert clip_polygon(inside, 12).tolist() == inside.tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"crop_size": 100}, "multiple of 32"),
        ({"scale": (2, 1)}, "low and high"),
        ({"stretch": 0.5}, "stretch must be a factor of 1 or more"),
        ({"flip_prob": 3}, "flip_prob must lie between 0 and 1"),
    ],
)
def test_bad_augmentation(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**arguments)  # type: ignore[arg-type]
