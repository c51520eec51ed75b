# SPDX-License-Identifier: Apache-2.0
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt.images import ahead as module
from dbnet_trt.images import pages
from dbnet_trt.images.ahead import PageOptions, ReadAhead, ReadImage
from dbnet_trt.images.pages import Pages

HEIGHT, WIDTH = 30, 40
NUM_BYTES = 3 * HEIGHT * WIDTH


class Nothing:
    """A register in which nothing is done, or the given images are."""

    def __init__(self, done: set[tuple[str, int | None]] | None = None) -> None:
        self.done = done or set()
        self.reserved: list[tuple[str, int | None]] = []

    def is_done(self, name: str, page: int | None) -> bool:
        return (name, page) in self.done

    def reserve(self, name: str, page: int | None) -> Path | None:
        self.reserved.append((name, page))
        return None


def make_images(folder: Path, count: int) -> list[str]:
    paths = [str(folder / f"{i:03d}.png") for i in range(count)]
    for i, path in enumerate(paths):
        cv2.imwrite(path, np.full((HEIGHT, WIDTH, 3), i % 256, np.uint8))
    return paths


def read_all(ahead: ReadAhead) -> list[ReadImage]:
    found = []
    with ahead:
        for read in ahead:
            if read is not None:
                found.append(ReadImage(read.name, read.page, image=read.image, error=read.error))
                ahead.release(read)
    return found


@pytest.mark.parametrize("num_threads", [1, 3])
def test_images_come_in_order(num_threads: int, tmp_path: Path) -> None:
    paths = make_images(tmp_path, 40)
    read = read_all(ReadAhead(paths, PageOptions(), Nothing(), num_threads=num_threads))
    assert [each.name for each in read] == paths
    assert [int(each.image[0, 0, 0]) for each in read if each.image is not None] == [*range(40)]


def test_pages_videos_and_errors_are_in_their_places(tmp_path: Path) -> None:
    first, last = make_images(tmp_path, 2)
    scan = str(tmp_path / "scan.tif")
    cv2.imwritemulti(scan, [np.full((9, 9, 3), gray, np.uint8) for gray in (1, 2, 3)])
    sources = [first, "none.png", scan, "clip.mp4", last]
    register = Nothing({(scan, 2), (first, None)})
    read = read_all(ReadAhead(sources, PageOptions(), register))
    assert [(each.name, each.page) for each in read] == [
        *(("none.png", None), (scan, 1), (scan, 3), ("clip.mp4", None), (last, None))
    ]
    assert [each.image is None for each in read] == [True, False, False, True, False]
    assert "there is no file none.png" in str(read[0].error)
    assert register.reserved == [(first, None), (scan, 1), (scan, 2), (scan, 3), (last, None)]
    assert [each.page for each in read_all(ReadAhead([scan], PageOptions({2}), Nothing()))] == [2]


def test_memory_is_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = make_images(tmp_path, 20)
    held = most = 0
    lock, read_image = threading.Lock(), pages._OneImage.read

    def count(self: Pages, number: int) -> np.ndarray:
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return read_image(self, number)  # type: ignore[arg-type]

    monkeypatch.setattr(pages._OneImage, "read", count)
    mine: list[ReadImage] = []
    num_told = 0
    max_bytes = 3 * NUM_BYTES
    with ReadAhead(paths, PageOptions(), Nothing(), num_threads=4, max_bytes=max_bytes) as ahead:
        for read in ahead:  # nothing is released until there is no more memory
            if read is not None:
                mine.append(read)
                continue
            num_told += 1
            for each in mine[:]:
                if each.image is not None:
                    with lock:
                        held -= 1
                    ahead.release(each)
    assert [each.name for each in mine] == paths
    assert most == 3
    assert num_told >= 20 // 3


def test_an_image_larger_than_the_bound_is_read_alone(tmp_path: Path) -> None:
    paths = make_images(tmp_path, 5)
    read = read_all(ReadAhead(paths, PageOptions(), Nothing(), num_threads=3, max_bytes=1))
    assert [each.name for each in read if each.image is not None] == paths


def test_few_images_are_read_ahead(tmp_path: Path) -> None:
    taken = itertools.count()
    last = 0

    def listed() -> Iterator[str]:
        nonlocal last
        for path in make_images(tmp_path, 100):
            last = next(taken)
            yield path

    with ReadAhead(listed(), PageOptions(), Nothing(), num_threads=2) as ahead:
        images = iter(ahead)
        next(images)
        time.sleep(0.2)
        assert (
            last <= module.MAX_READY + 2 + 2 + 1
        )  # with the threads, those they hold, and one taken


def test_frames_after_a_damaged_one_are_one_error(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    animation = cv2.Animation()
    rng = np.random.default_rng(0)
    animation.frames = [rng.integers(0, 256, (90, 90, 3), np.uint8) for _ in range(9)]
    animation.durations = np.full(9, 100, np.int32)
    assert cv2.imwriteanimation(str(path), animation)
    data = path.read_bytes()
    middle = data.index(b"fdAT", len(data) // 2)
    path.write_bytes(data[:middle] + b"xxxx" + data[middle + 4 :])
    read = read_all(ReadAhead([str(path)], PageOptions(), Nothing(), num_threads=3))
    assert sum(each.error is not None for each in read) == 1
    assert len(read) < 9 + 1


def test_an_unexpected_error_reaches_the_caller(tmp_path: Path) -> None:
    paths = make_images(tmp_path, 3)

    class Broken(Nothing):
        def reserve(self, name: str, page: int | None) -> Path | None:
            if name == paths[2]:
                raise RuntimeError("a bug")
            return None

    with pytest.raises(RuntimeError, match="a bug"):
        read_all(ReadAhead(paths, PageOptions(), Broken()))


def test_threads_end_with_the_block(tmp_path: Path) -> None:
    paths = make_images(tmp_path, 30)
    with ReadAhead(paths, PageOptions(), Nothing(), num_threads=3) as ahead:
        next(iter(ahead))
    assert not any(thread.name.startswith("dbnet-read") for thread in threading.enumerate())
