# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest
from dbnet_trt import ImageError
from dbnet_trt.images.sources import Outputs, count_files, find_sources


def test_find_sources(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.PNG", "notes.txt", "sub/c.webp", "sub/film.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [Path(source).name for source in find_sources([str(tmp_path)])]
    assert found == ["a.PNG", "b.jpg", "c.webp", "film.mp4"]
    found = [Path(source).name for source in find_sources([str(tmp_path / "*.*g"), "0"])]
    assert found[-2:] == ["b.jpg", "0"]
    long = f"{'y' * 300}[1].jpg"
    assert list(find_sources(["a\0b.jpg", "y" * 300])) == ["a\0b.jpg", "y" * 300]
    with pytest.raises(ImageError, match="nothing matches"):
        find_sources([long])
    with pytest.raises(ImageError, match=r"the name of an input is empty; name a file"):
        find_sources([str(tmp_path), ""])  # not the working directory
    assert list(find_sources(["missing.jpg"])) == ["missing.jpg"]  # reported when it is read
    with pytest.raises(ImageError, match="nothing matches"):
        find_sources([str(tmp_path / "*.gif")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no image"):
        find_sources([str(tmp_path / "empty")])


def test_what_is_named_twice_is_there_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "a.jpg", "s/b.jpg", "s/t/c.jpg", "st/d.jpg")
    for inputs, found in (
        (["a.jpg", "./a.jpg", str(tmp_path / "a.jpg")], ["a.jpg"]),
        (["s/b.jpg", "s"], ["s/b.jpg", "s/t/c.jpg"]),
        (["s", "s/b.jpg", "s/t", "st"], ["s/b.jpg", "s/t/c.jpg", "st/d.jpg"]),
        (["s/t", "s"], ["s/t/c.jpg", "s/b.jpg"]),
        (["*.jpg", "a.jpg", "."], ["a.jpg", "s/b.jpg", "s/t/c.jpg", "st/d.jpg"]),
        (["0", "rtsp://x/y", "0", "rtsp://x/y"], ["0", "rtsp://x/y"]),
    ):
        assert list(find_sources(inputs)) == found
    touch(tmp_path, "s/scan", "s/e.jpg.bak")
    (tmp_path / "s" / "linked").symlink_to(tmp_path / "st")
    unseen = ["s/scan", "s/e.jpg.bak", "s/linked/d.jpg", f"{tmp_path}/s/missing.jpg"]
    for other in (*unseen, "7", "rtsp://x//y"):  # which the walk of a folder does not come to
        assert list(find_sources(["s", other])) == ["s/b.jpg", "s/t/c.jpg", other]
        assert other in find_sources([".", other])
    assert len(list(find_sources(["rtsp://x/y", "rtsp://x//y", "rtsp://x/z/../y"]))) == 3
    assert list(find_sources(["s", "s/linked"])) == ["s/b.jpg", "s/t/c.jpg", "s/linked/d.jpg"]
    (tmp_path / "link.jpg").symlink_to("a.jpg")  # another name is another image
    assert list(find_sources(["a.jpg", "link.jpg"])) == ["a.jpg", "link.jpg"]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_the_order_is_that_of_the_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/b.jpg", "a/c/d.jpg", "a-b/e.jpg", "a.jpg", "aa.jpg", "A.jpg", "z/\u00e9.png")
    found = list(find_sources([str(tmp_path)]))
    assert found == sorted(found)
    assert len(found) == 7
    monkeypatch.chdir(tmp_path)
    assert list(find_sources(["."])) == [os.path.relpath(path) for path in found]
    assert list(find_sources(["a/"])) == ["a/b.jpg", "a/c/d.jpg"]


def test_a_folder_is_listed_while_files_are_taken(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "b/1.jpg")
    sources = find_sources([str(tmp_path)])
    assert next(sources) == str(tmp_path / "a/1.jpg")
    touch(tmp_path, "b/2.jpg")
    assert list(sources) == [str(tmp_path / "b/1.jpg"), str(tmp_path / "b/2.jpg")]


def test_outputs_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "1.jpg", "drawn/1.jpg", "drawn/sub/2.jpg", "other/drawn/3.jpg", "found.jpg")
    outputs = Outputs([tmp_path / "drawn", tmp_path / "found.jpg"])
    kept = [str(tmp_path / name) for name in ("1.jpg", "other/drawn/3.jpg")]
    assert list(find_sources([str(tmp_path)], outputs)) == kept
    assert list(find_sources([str(tmp_path / "**" / "*.jpg")], outputs)) == kept
    assert count_files([str(tmp_path), "x.jpg"], outputs) == 3
    with pytest.raises(ImageError, match="holds no image"):
        find_sources([str(tmp_path)], Outputs([tmp_path / name for name in os.listdir(tmp_path)]))


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    assert list(find_sources([str(tmp_path)])) == [str(tmp_path / "a/1.jpg")]


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "1.jpg", "shut/2.jpg")
    scan = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(find_sources([str(tmp_path)])) == [str(tmp_path / "1.jpg"), str(tmp_path / "shut")]
