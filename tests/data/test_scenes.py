# SPDX-License-Identifier: Apache-2.0
"""Photos of one scene, and their side of a data set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt.data import scenes
from dbnet_trt.data.open import read_dataset
from dbnet_trt.data.scenes import join, link_scenes
from dbnet_trt.images.load import write_image

pytestmark = pytest.mark.slow

TEXT = "100,20,200,20,200,60,100,60,text\n"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dbnet_trt" / "scenes"


def draw_place(seed: int) -> np.ndarray:
    """Draw a place with many corners: (240, 320, 3) uint8."""
    rng = np.random.default_rng(seed)
    image = np.full((240, 320, 3), 128, np.uint8)
    for _ in range(80):
        x, y, width, height = rng.integers(0, (320, 240, 40, 40))
        color = rng.integers(0, 256, 3).tolist()
        cv2.rectangle(image, (int(x), int(y)), (int(x + width), int(y + height)), color, -1)
    return cv2.GaussianBlur(image, (3, 3), 0)


def view(place: np.ndarray, shift: float) -> np.ndarray:
    """Look at a place from another angle."""
    corners = np.array([[0, 0], [320, 0], [320, 240], [0, 240]], np.float32)
    seen = corners + np.array(
        [[shift, 2 * shift], [-shift, 0], [0, -shift], [shift, 0]], np.float32
    )
    matrix = cv2.getPerspectiveTransform(corners, seen)
    return np.asarray(cv2.warpPerspective(place, matrix, (320, 240)), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set of 8 places, of which three were photographed twice or thrice."""
    path = tmp_path_factory.mktemp("photos")
    for seed in range(8):
        write_image(path / f"place{seed}.png", draw_place(seed))
    for name, seed, shift in (("x", 0, 10), ("y", 0, 22), ("z", 5, -15), ("w", 6, 8)):
        write_image(path / f"{name}.png", view(draw_place(seed), shift))
    for image in path.glob("*.png"):
        (path / f"gt_{image.stem}.txt").write_text(TEXT)
    return path


SAME = [{"place0", "x", "y"}, {"place5", "z"}, {"place6", "w"}]


def linked(images: list[Path]) -> list[set[str]]:
    scene_of = join(len(images), link_scenes(images))
    groups: dict[int, set[str]] = {}
    for scene, image in zip(scene_of, images, strict=True):
        groups.setdefault(scene, set()).add(image.stem)
    return sorted((group for group in groups.values() if len(group) > 1), key=sorted)


@pytest.mark.parametrize("candidates", [50, 4])
def test_views_of_one_place_are_linked_and_no_others(
    candidates: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where photos are compared only with those that share most visual words."""
    monkeypatch.setattr(scenes, "CANDIDATES", candidates)
    assert linked(sorted(folder.glob("*.png"))) == sorted(SAME, key=sorted)


def test_links_are_kept_for_the_same_files(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = sorted(folder.glob("*.png"))[:6]
    links = link_scenes(images)
    (entry,) = cache.glob("*.blob")
    monkeypatch.setattr(scenes, "_find_keypoints", lambda path: pytest.fail("not kept"))
    assert link_scenes(images) == links
    monkeypatch.undo()
    for damaged in ("[[0, 99]]", "[[", "[[1]]"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache.parents[1]))
        entry.write_text(damaged)
        assert link_scenes(images) == links


def test_damaged_and_empty_photos_are_alone(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", draw_place(1))
    write_image(tmp_path / "b.png", draw_place(1))
    write_image(tmp_path / "c.png", np.zeros((50, 60, 3), np.uint8))
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    names = [tmp_path / f"{name}.png" for name in "abcde"]  # there is no e
    assert link_scenes(names) == [(0, 1)]
    assert link_scenes([]) == []


def test_too_many_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "MAX_PHOTOS", 3)
    with pytest.raises(ValueError, match="at most 3 photos to be compared by scene, got 4"):
        link_scenes([Path("a.png")] * 4)


def test_join() -> None:
    assert join(6, []) == [0, 1, 2, 3, 4, 5]
    assert join(6, [(4, 5), (0, 5), (1, 2)]) == [0, 1, 1, 3, 0, 0]


def sides(folder: Path) -> tuple[set[str], set[str]]:
    parts = (read_dataset(f"icdar2015:{folder}?by-scene#{part}") for part in ("train", "val"))
    train, val = ({sample.image.stem for sample in part.samples} for part in parts)
    return train, val


def test_a_scene_is_on_one_side(folder: Path) -> None:
    train, val = sides(folder)
    assert len(train | val) == 12
    assert not train & val
    assert val
    for group in SAME:
        assert group <= train or group <= val
    with pytest.raises(ValueError, match=r"one of \?by-scene and \?by-position"):
        read_dataset(f"icdar2015:{folder}?by-scene&by-position#val")


def test_a_new_photo_moves_no_other_scene(folder: Path, tmp_path: Path) -> None:
    """It may move the scene that it shows, as its name counts as well."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    train, val = sides(folder)
    for seed in (5, 20):
        write_image(tmp_path / f"new{seed}.png", view(draw_place(seed), 5))
        (tmp_path / f"gt_new{seed}.txt").write_text(TEXT)
    new_train, new_val = sides(tmp_path)
    own = {"place5", "z", "new5", "new20"}
    assert (new_train - own, new_val - own) == (train - own, val - own)
    assert {"place5", "z", "new5"} <= new_train or {"place5", "z", "new5"} <= new_val


def test_signs_of_real_photos(shared_data: Path) -> None:
    """A door plate from two sides is one scene; other plates of the house are not."""
    photos = shared_data / "msra_td500" / "train"
    names = ["IMG_1872", "IMG_1687", "IMG_0594", "IMG_1935", "IMG_1592", "IMG_1667", "IMG_0504"]
    images = [photos / f"{name}.JPG" for name in names]
    assert link_scenes(images) == [(0, 1), (2, 3)]
