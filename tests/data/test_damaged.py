# SPDX-License-Identifier: Apache-2.0
import logging
import struct
import zlib
from pathlib import Path

import pytest
from dbnet_trt.data.damaged import check_images
from dbnet_trt.data.open import read_as_is
from dbnet_trt.data.samples import Sample, load_prob_map, load_sample_image
from dbnet_trt.errors import ImageError
from dbnet_trt.images.load import image_size
from photos import write_lines, write_photo

LINE = "10,20,60,20,60,40,10,40,word"


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def spoil_pixels(path: Path) -> Path:
    """A PNG whose checksums are right and whose compressed pixels are not."""
    data = path.read_bytes()
    at = data.index(b"IDAT")
    (length,) = struct.unpack(">I", data[at - 4 : at])
    body = data[at : at + 8] + bytes(length - 4)
    path.write_bytes(
        data[:at] + body + struct.pack(">I", zlib.crc32(body)) + data[at + 8 + length :]
    )
    return path


def test_damaged_images_are_found_among_others(tmp_path: Path) -> None:
    for number in range(30):
        write_photo(tmp_path / f"{number:02}.{'png' if number % 2 else 'jpg'}")
    cut(tmp_path / "06.jpg", 0.5)
    cut(tmp_path / "13.png", 0.7)
    spoil_pixels(tmp_path / "21.png")
    files = sorted(tmp_path.iterdir())
    for num_threads in (1, 3):
        found = list(check_images((Sample(file, ()) for file in files), num_threads))
        assert len(found) == 30
        damaged = [problem for problem in found if problem is not None]
        assert [problem.file.name for problem in damaged] == ["06.jpg", "13.png", "21.png"]
        assert {problem.kind for problem in damaged} == {"image unreadable"}


def test_a_damaged_probability_map_is_found(tmp_path: Path) -> None:
    image, prob_map = write_photo(tmp_path / "a.png"), cut(write_photo(tmp_path / "b.png"), 0.5)
    (problem,) = check_images([Sample(image, (), prob_map=prob_map)])
    assert problem is not None
    assert (problem.file, problem.image) == (prob_map, image)
    with pytest.raises(ImageError, match=r"b\.png"):
        load_prob_map(prob_map)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("upright", [False, True])
def test_image_and_its_size_agree(
    tmp_path: Path, suffix: str, orientation: int, upright: bool
) -> None:
    if suffix == ".tif" and orientation != 1:
        pytest.skip("Pillow's writer and OpenCV's reader differ on turned TIFF")
    path = write_photo(tmp_path / f"a{suffix}", orientation=orientation)
    shape = load_sample_image(Sample(path, (), upright=upright)).shape[:2]
    assert shape == image_size(path, upright=upright)


def test_half_a_jpeg_is_not_learnt(tmp_path: Path) -> None:
    path = cut(write_photo(tmp_path / "a.jpg"), 0.5)
    write_lines(tmp_path / "a.txt", LINE)
    for sample in read_as_is(f"icdar2015:{tmp_path}").samples:
        assert sample.image == path
        with pytest.raises(ImageError):
            load_sample_image(sample)


def test_training_lists_damaged_images_and_skips_them_on_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loader = pytest.importorskip("dbnet_trt.training.loader")
    for number in range(8):
        write_photo(tmp_path / f"{number}.png")
        write_lines(tmp_path / f"{number}.txt", LINE)
    cut(tmp_path / "3.png", 0.4)
    (tmp_path / "5.png").write_bytes(b"")
    name = f"icdar2015:{tmp_path}"
    with caplog.at_level(logging.WARNING, "dbnet_trt"), pytest.raises(ImageError) as error:
        loader.read_sources((name,))
    assert "2 images of" in str(error.value)
    assert "--skip-damaged" in str(error.value)
    assert "3.png" in caplog.text
    assert "5.png" in caplog.text
    (source,) = loader.read_sources((name,), skip_damaged=True)
    assert [sample.image.name for sample in source.samples] == [
        f"{n}.png" for n in (0, 1, 2, 4, 6, 7)
    ]
    assert "2 damaged images are left out" in caplog.text
