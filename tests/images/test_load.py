# SPDX-License-Identifier: Apache-2.0
import io
import struct
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
from dbnet_trt import ImageError
from dbnet_trt.images import load
from dbnet_trt.images.decode import HEADER_BYTES, MAX_PIXELS, check_file
from dbnet_trt.images.load import image_size, load_image


@pytest.fixture
def photo(rng: np.random.Generator) -> np.ndarray:
    """Image, red at the left and blue at the right, with a little noise: (40, 60, 3) uint8."""
    image = rng.integers(0, 30, (40, 60, 3), dtype=np.uint8)
    image[:, :30, 2] += 200
    image[:, 30:, 0] += 200
    return image


def encode(image: np.ndarray, suffix: str = ".png") -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Add an EXIF block with one entry, the orientation, to a JPEG."""
    tiff = b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)
    block = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def test_bgr_array_is_not_copied(photo: np.ndarray) -> None:
    assert np.shares_memory(load_image(photo), photo)


def test_other_arrays(photo: np.ndarray) -> None:
    gray = photo[:, :, 0]
    opaque = np.dstack([photo, np.full_like(gray, 77)])
    expected = np.repeat(gray[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(load_image(gray), expected)
    np.testing.assert_array_equal(load_image(gray[:, :, None]), expected)
    np.testing.assert_array_equal(load_image(opaque), photo)


def test_arrays_that_are_not_contiguous(photo: np.ndarray) -> None:
    for view in (photo[::-1], photo[:, ::-1], photo[::2, ::3], photo.transpose(1, 0, 2)):
        np.testing.assert_array_equal(load_image(view), view)
        assert load_image(view).strides[1:] == (3, 1)
    fortran = np.asfortranarray(photo)
    np.testing.assert_array_equal(load_image(fortran), photo)


def test_read_only_array(photo: np.ndarray) -> None:
    photo.flags.writeable = False
    np.testing.assert_array_equal(load_image(photo), photo)


def test_files_bytes_and_pil_give_the_same_pixels(photo: np.ndarray, tmp_path: Path) -> None:
    data = encode(photo)
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    pil = PIL.Image.open(io.BytesIO(data))
    for source in (path, str(path), data, bytearray(data), memoryview(data), pil):
        np.testing.assert_array_equal(load_image(source), photo)


def test_exif_orientation_is_followed(photo: np.ndarray, tmp_path: Path) -> None:
    jpeg = with_orientation(encode(photo, ".jpg"), 6)  # to be displayed rotated clockwise
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg)
    for source in (path, jpeg, PIL.Image.open(io.BytesIO(jpeg))):
        image = load_image(source)
        assert image.shape == (60, 40, 3)
        assert image[5, 20, 2] > 150  # red is now at the top
        assert image[55, 20, 0] > 150  # blue is now at the bottom


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_avifs_are_turned(orientation: int, mode: str, photo: np.ndarray) -> None:
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    pil = PIL.Image.fromarray(photo).convert(mode)
    pil.putpixel((59, 39), (0, 0, 0, 0)[: len(mode)])  # a colour like the ground's, or transparent
    target = io.BytesIO()
    pil.save(target, "AVIF", exif=exif.tobytes(), quality=100)
    image = load_image(target.getvalue())
    with PIL.Image.open(target) as opened:
        turned = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    different = np.abs(image[:, :, ::-1].astype(int) - np.asarray(turned)) > 24
    assert different.mean() < 0.01
    assert load_image(target.getvalue(), upright=False).shape == (40, 60, 3)


def test_sixteen_bit_and_gray_files(photo: np.ndarray) -> None:
    gray = photo[:, :, 0]
    for stored in (gray, gray.astype(np.uint16) * 257):
        np.testing.assert_array_equal(load_image(encode(stored))[:, :, 1], gray)


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 5, 3), (5, 0)])
def test_empty_arrays(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="at least one pixel"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3)])
def test_wrong_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="must be \\(H, W\\)"):
        load_image(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int32, bool])
def test_wrong_types_say_how_to_convert(dtype: type) -> None:
    with pytest.raises(ImageError, match=r"must be uint8, got .*astype\(numpy.uint8\)"):
        load_image(np.zeros((4, 4, 3), dtype))


def test_shift_is_for_sixteen_bits_alone() -> None:
    for dtype, hint in ((np.uint16, ">> 8"), (np.int64, "from 0 to 255"), (object, "0 to 255")):
        with pytest.raises(ImageError, match=hint):
            load_image(np.zeros((4, 4, 3), dtype))


def test_hints_for_objects_that_are_not_images() -> None:
    with pytest.raises(TypeError, match="detect_batch takes many"):
        load_image([np.zeros((4, 4), np.uint8)])
    with pytest.raises(TypeError, match="getvalue"):
        load_image(io.BytesIO(b"x"))
    with pytest.raises(ImageError, match=r"https://a\.b/c\.jpg is not on this machine"):
        load_image("https://a.b/c.jpg")


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pil_images_of_any_range_are_refused(dtype: type) -> None:
    with pytest.raises(ImageError, match=r"must be uint8, got .*astype"):
        load_image(PIL.Image.fromarray(np.ones((4, 4), dtype)))


@pytest.mark.parametrize("source", [None, 3, [[1, 2]], {"a": 1}])
def test_objects_of_unknown_types(source: object) -> None:
    with pytest.raises(TypeError, match="an image must be"):
        load_image(source)


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no file"):
        load_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        load_image(tmp_path)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(ImageError, match="empty"):
        load_image(empty)


@pytest.mark.parametrize("data", [b"no image", b"\xff\xd8\xff\xd9", bytes(1000)])
def test_corrupt_bytes(data: bytes) -> None:
    with pytest.raises(ImageError, match="not an image|decoded"):
        load_image(data)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"%PDF-1.7\n", "read_pages"), (b"\0\0\0\x18ftypheic\0\0\0\0", "pillow-heif")],
)
def test_unsupported_formats_get_a_remedy(data: bytes, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        load_image(data)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_truncated_files(rng: np.random.Generator, suffix: str, share: float) -> None:
    data = encode(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8), suffix)
    with pytest.raises(ImageError, match="cut off"):
        load_image(data[: int(len(data) * share)])


def test_bytes_after_the_end_are_ignored(photo: np.ndarray, rng: np.random.Generator) -> None:
    film = rng.bytes(300_000) + b"\xff\xda"  # phones append a film, which contains every marker
    for behind in (bytes(100), film):
        assert load_image(encode(photo, ".jpg") + behind).shape == photo.shape
    with pytest.raises(ImageError, match="cut off"):
        load_image(with_orientation(encode(photo, ".jpg"), 1)[:-2])


def test_pil_images_of_other_kinds(photo: np.ndarray) -> None:
    class Scan(PIL.Image.Image):
        pass

    scan = PIL.Image.fromarray(photo)
    scan.__class__ = Scan
    np.testing.assert_array_equal(load_image(scan), photo[:, :, ::-1])
    deep = photo[:, :, 0].astype(np.uint16) * 257
    np.testing.assert_array_equal(load_image(PIL.Image.fromarray(deep))[:, :, 1], photo[:, :, 0])


def test_progressive_jpeg(photo: np.ndarray) -> None:
    data = bytes(cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1])
    assert load_image(data).shape == photo.shape
    with pytest.raises(ImageError, match="cut off"):
        load_image(data[:-40])


def test_broken_pil_image(photo: np.ndarray) -> None:
    data = encode(photo, ".jpg")
    with pytest.raises(ImageError, match="PIL"):
        load_image(PIL.Image.open(io.BytesIO(data[: len(data) // 2])))


def test_write_image(photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "out.png"
    load.write_image(path, photo)
    np.testing.assert_array_equal(load_image(path), photo)
    with pytest.raises(ImageError, match=r"written as \.jpg"):
        load.write_image(tmp_path / "out.xyz", photo)
    with pytest.raises(ImageError, match=r"written as \.jpg"):
        load.write_image(tmp_path / "out", photo)
    with pytest.raises(ImageError, match="cannot be written"):
        load.write_image(path / "inside.png", photo)


# ---- files of others -----------------------------------------------------------------------------


def pages(kind: str, count: int) -> bytes:
    target = io.BytesIO()
    first, *others = (PIL.Image.new("RGB", (40, 30), (60 * i, 9, 9)) for i in range(count))
    first.save(target, kind, save_all=True, append_images=others)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "WEBP", "PNG", "AVIF"])
def test_pages_left_out_are_named(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scan"
    path.write_bytes(pages(kind, 3))
    assert load_image(path).shape == (30, 40, 3)
    (record,) = caplog.records
    assert f"{path} has 3 pages or frames" in record.getMessage()
    assert "2 are left out" in record.getMessage()


def test_one_page_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    for kind in ("TIFF", "GIF", "WEBP", "PNG"):
        load_image(pages(kind, 1))
    assert caplog.records == []


def test_frames_of_a_pil_image(caplog: pytest.LogCaptureFixture) -> None:
    with PIL.Image.open(io.BytesIO(pages("GIF", 3))) as image:
        load_image(image)
        assert "only the first of the PIL image's 3 frames" in caplog.text
        caplog.clear()
        image.seek(1)
        load_image(image)
        assert caplog.text == ""


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_pixels(
    photo: np.ndarray, kind: str, orientation: int, tmp_path: Path
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo"
    PIL.Image.fromarray(photo).save(path, kind, exif=exif)
    for upright in (False, True):
        image = load_image(path, upright=upright)
        assert image_size(path, upright=upright) == image.shape[:2]
    if kind != "TIFF":  # which its decoder turns in either case
        assert image_size(path) == (40, 60)
    assert image_size(path, upright=True) == ((60, 40) if orientation > 4 else (40, 60))


def test_size_that_stands_at_the_end(rng: np.random.Generator, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    path.write_bytes(encode(rng.integers(0, 256, (700, 500, 3), dtype=np.uint8), ".tif"))
    assert path.stat().st_size > 2 * HEADER_BYTES
    assert image_size(path) == (700, 500)


def test_limit_can_be_raised(photo: np.ndarray, tmp_path: Path) -> None:
    data = encode(photo)
    with pytest.raises(ImageError, match=r"60x40 are too many pixels, at most 2399.*--max-pixels"):
        load_image(data, max_pixels=2399)
    np.testing.assert_array_equal(load_image(data, max_pixels=2400), photo)
    with pytest.raises(ImageError, match="60x40 are too many pixels"):
        load_image(PIL.Image.fromarray(photo), max_pixels=2399)


def test_limit_is_pillows() -> None:
    assert PIL.Image.MAX_IMAGE_PIXELS is not None
    assert pytest.approx(2 * PIL.Image.MAX_IMAGE_PIXELS, abs=2) == MAX_PIXELS


def test_paths_that_no_file_can_have(photo: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\\0b.jpg cannot be read"):
        load_image("a\0b.jpg")
    with pytest.raises(ImageError, match="cannot be written"):
        load.write_image(tmp_path / "a\0b.png", photo)
    with pytest.raises(ImageError, match="cannot be read"):
        load_image("a" * 5000)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no endless file")
def test_endless_file() -> None:
    with pytest.raises(ImageError, match="not an image"):
        load_image("/dev/zero")


def test_check_file_finds_what_is_damaged(photo: np.ndarray, tmp_path: Path) -> None:
    for suffix in (".jpg", ".png"):
        data = encode(photo, suffix)
        path = tmp_path / f"whole{suffix}"
        path.write_bytes(data)
        assert (check_file(path).width, check_file(path).height) == (60, 40)
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(data[:-20])
        with pytest.raises(ImageError, match=f"cut{suffix}: the file is cut off"):
            check_file(cut)


def test_picture_stays_where_the_new_one_cannot_be_written(
    photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.png"
    load.write_image(path, photo)

    def fill_the_disk(target: Path, data: bytes) -> None:
        with target.open("wb") as file:
            file.write(memoryview(data)[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    with pytest.raises(ImageError, match=r"out.png cannot be written: No space left"):
        load.write_image(path, 255 - photo)
    np.testing.assert_array_equal(load_image(path), photo)
    assert list(tmp_path.iterdir()) == [path]


def smooth(rng: np.random.Generator) -> np.ndarray:
    """(480, 640, 3) uint8, as compressible as a photo."""
    small = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (640, 480)), np.uint8)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_half_a_jpeg_with_its_end_marker(
    rng: np.random.Generator, share: float, orientation: int
) -> None:
    data = with_orientation(encode(smooth(rng), ".jpg"), orientation)
    cut = data[: int(share * len(data))] + b"\xff\xd9"
    for upright in (True, False):
        with pytest.raises(ImageError, match=r"lacks [2-7]\d% of its pixels"):
            load_image(cut, upright=upright)


@pytest.mark.parametrize("gray", [127, 128, 129])
@pytest.mark.parametrize(
    "options",
    [
        [],
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
        [cv2.IMWRITE_JPEG_QUALITY, 30],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
        [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422],
    ],
)
def test_flat_gray_is_no_lack_of_pixels(
    rng: np.random.Generator, gray: int, options: list[int]
) -> None:
    for top in (0, 100, 230):
        image = smooth(rng)
        image[top:] = gray
        data = bytes(cv2.imencode(".jpg", image, options)[1])
        assert load_image(data).shape == image.shape
        turned = bytes(cv2.imencode(".jpg", np.rot90(image).copy(), options)[1])
        assert load_image(turned).shape == (640, 480, 3)
        monochrome = bytes(cv2.imencode(".jpg", image[:, :, 0], options)[1])
        assert load_image(monochrome).shape == image.shape
