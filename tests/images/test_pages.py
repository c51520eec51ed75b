# SPDX-License-Identifier: Apache-2.0
import logging
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from dbnet_trt import ImageError, Page, read_pages
from dbnet_trt.images import pages as module
from dbnet_trt.images.formats import tiff
from dbnet_trt.images.load import load_image
from dbnet_trt.images.pages import parse_pages
from fakes.documents import make_pdf

GRAYS = (40, 90, 140, 190, 240)


def plain(gray: int, height: int = 60, width: int = 80) -> np.ndarray:
    return np.full((height, width, 3), gray, np.uint8)


def make_tiff(path: Path) -> None:
    cv2.imwritemulti(str(path), [plain(gray) for gray in GRAYS])


def make_frames(path: Path) -> None:
    animation = cv2.Animation()
    animation.frames = [plain(gray) for gray in GRAYS]
    animation.durations = np.full(len(GRAYS), 100, np.int32)
    assert cv2.imwriteanimation(str(path), animation)


def make_gif(path: Path) -> None:
    first, *others = (PIL.Image.fromarray(plain(gray)) for gray in GRAYS)
    first.save(path, save_all=True, append_images=others)


def make_document(path: Path) -> None:
    pytest.importorskip("pypdfium2")
    make_pdf(path, [plain(gray) for gray in GRAYS])


KINDS: dict[str, Callable[[Path], None]] = {
    ".tif": make_tiff,
    ".pdf": make_document,
    ".gif": make_gif,
    ".webp": make_frames,
    ".png": make_frames,
}


@pytest.fixture(params=KINDS)
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file of five gray pages."""
    path = tmp_path / f"scan{request.param}"
    KINDS[request.param](path)
    return path


def check(found: list[Page], numbers: list[int], path: Path, dpi: int = 72) -> None:
    assert [page.number for page in found] == numbers
    for page in found:
        assert page.path == str(path)
        assert page.image.shape == (60 * dpi // 72, 80 * dpi // 72, 3)
        assert page.image.dtype == np.uint8
        assert np.abs(page.image.astype(int) - GRAYS[page.number - 1]).max() <= 3


def test_every_page_comes_in_order(document: Path) -> None:
    check(list(read_pages(document, dpi=72)), [1, 2, 3, 4, 5], document)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [("2-4", [2, 3, 4]), ("5, 1", [1, 5]), ("4-", [4, 5]), (range(3, 9), [3, 4, 5]), ({2}, [2])],
)
def test_pages_are_chosen(document: Path, wanted: str, numbers: list[int]) -> None:
    check(list(read_pages(str(document), dpi=72, pages=wanted)), numbers, document)


def test_a_single_number_is_no_choice_of_pages(document: Path) -> None:
    with pytest.raises(TypeError, match=r'pages must be text as in "3-7", or numbers .*, got 2'):
        read_pages(document, pages=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_chunk", [1, 2, 5])
def test_frames_are_decoded_in_chunks(
    per_chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "film.gif"
    make_gif(path)
    monkeypatch.setattr(module, "CHUNK_BYTES", per_chunk * 60 * 80 * 4)
    check(list(read_pages(path)), [1, 2, 3, 4, 5], path)


def test_an_ordinary_image_is_one_page(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "a.webp", "a.tif", "a.bmp"):
        path = tmp_path / name
        cv2.imwrite(str(path), plain(90))
        ((image, number, _),) = read_pages(path)
        assert number == 1
        np.testing.assert_array_equal(image, load_image(path))


def test_the_next_page_is_read_meanwhile_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scan.tif"
    make_tiff(path)
    begun, next_is_there = [], threading.Event()
    read = module._TiffPages.read

    def count(self: module._TiffPages, number: int) -> np.ndarray:
        begun.append(number)
        if number == 2:
            next_is_there.set()
        return read(self, number)

    monkeypatch.setattr(module._TiffPages, "read", count)
    pages = read_pages(path)
    assert next(pages).number == 1
    assert next_is_there.wait(10)
    assert begun == [1, 2]


@pytest.mark.parametrize("text", ["", "0", "3-2", "a", "1;2", "-3", "1-2-3", "1,,2", "9999999999"])
def test_wrong_numbers_of_pages(text: str, tmp_path: Path) -> None:
    make_tiff(tmp_path / "scan.tif")
    with pytest.raises(ValueError, match=r'from 1 and ranges, as in "1,4,9-", got'):
        read_pages(tmp_path / "scan.tif", pages=text)


def test_an_open_range() -> None:
    pages = parse_pages("2-3,1000000-")
    assert [number in pages for number in (1, 2, 3, 4, 10**6, 10**9)] == [
        *(False, True, True, False, True, True)
    ]


def test_no_such_page(document: Path) -> None:
    with pytest.raises(ImageError, match="has 5 pages, none of which is in 6-8"):
        read_pages(document, pages="6-8")


@pytest.mark.parametrize("dpi", [0, 2401, 72.5, True])
def test_wrong_resolution(dpi: int, tmp_path: Path) -> None:
    make_tiff(tmp_path / "scan.tif")
    with pytest.raises(ValueError, match="dpi must be a whole number between 1 and 2400"):
        read_pages(tmp_path / "scan.tif", dpi=dpi)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no file"):
        read_pages(tmp_path / "none.pdf")
    (tmp_path / "empty.pdf").touch()
    with pytest.raises(ImageError, match="empty"):
        read_pages(tmp_path / "empty.pdf")


# ---- PDF -----------------------------------------------------------------------------------------


def test_resolution(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    make_document(path)
    check(list(read_pages(path, dpi=216)), [1, 2, 3, 4, 5], path, 216)
    assert next(read_pages(path)).image.shape == (167, 223, 3)  # 200 dpi: ceil(60 * 200 / 72)


def test_colours_and_rows_are_in_place(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    image = np.zeros((61, 83, 3), np.uint8)
    image[:30, :, 0], image[30:, :40, 1], image[30:, 40:, 2] = 250, 250, 250
    ((drawn, _, _),) = read_pages(make_pdf(tmp_path / "a.pdf", [image]), dpi=72)
    assert drawn.flags.c_contiguous
    assert np.median(np.abs(drawn.astype(int) - image)) <= 2
    for row, column in ((10, 70), (50, 10), (50, 70)):
        assert np.abs(drawn[row, column].astype(int) - image[row, column]).max() < 12


def test_an_absurd_page_is_drawn_smaller_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("pypdfium2")
    path = make_pdf(tmp_path / "plan.pdf", [plain(90)], page_points=(7200, 3600))
    ((image, _, _),) = read_pages(path, max_pixels=500_000)
    assert image.shape == (500, 1000, 3)
    assert f"{path} page 1 is drawn at 10 dpi, 1000x500 pixels" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        list(read_pages(path, dpi=10, max_pixels=500_000))
    assert caplog.text == ""


def test_pdfs_that_cannot_be_read(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    path = make_pdf(tmp_path / "secret.pdf", [plain(90)], encrypted=True)
    with pytest.raises(ImageError, match=r"secret.pdf is encrypted; save it without"):
        read_pages(path)
    path.write_bytes(b"%PDF-1.4\nnothing")
    with pytest.raises(ImageError, match=r"secret.pdf cannot be read as a PDF: it is damaged"):
        read_pages(path)


def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pypdfium2")
    path = make_pdf(tmp_path / "a.pdf", [plain(gray) for gray in GRAYS])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"/Kids[3 0 R 6 0 R", b"/Kids[3 0 R 5 0 R"))
    pages = read_pages(path, dpi=72)
    assert next(pages).number == 1
    with pytest.raises(ImageError, match=r"a.pdf page 2 is damaged"):
        next(pages)


def test_without_pypdfium2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_pdf(tmp_path / "a.pdf", [plain(90)])
    monkeypatch.setitem(__import__("sys").modules, "pypdfium2", None)
    with pytest.raises(ImageError, match=r"needs pypdfium2; pip install 'dbnet-trt\[pdf\]'"):
        read_pages(path)


# ---- TIFF ----------------------------------------------------------------------------------------


def save_tiff(path: Path, pages: list[PIL.Image.Image], **options: Any) -> None:
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)


@pytest.mark.parametrize("compression", ["raw", "group4", "tiff_lzw", "tiff_deflate"])
@pytest.mark.parametrize("big_tiff", [False, True])
def test_scans_of_one_bit(compression: str, big_tiff: bool, tmp_path: Path) -> None:
    path, rng = tmp_path / "scan.tif", np.random.default_rng(0)
    images = [rng.integers(0, 2, (40 + n, 50), np.uint8) * 255 for n in range(4)]
    bits = [PIL.Image.fromarray(image).convert("1") for image in images]
    save_tiff(path, bits, compression=compression, big_tiff=big_tiff)
    for page, image in zip(read_pages(path), images, strict=True):
        np.testing.assert_array_equal(page.image, np.repeat(image[:, :, None], 3, axis=2))


def test_each_page_has_its_own_alpha_and_orientation(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    clear = np.full((40, 50, 4), 255, np.uint8)
    clear[:, 25:, 3] = 0
    first, second = PIL.Image.fromarray(plain(90, 40, 50)), PIL.Image.fromarray(clear)
    save_tiff(path, [first, second])
    one, two = (page.image for page in read_pages(path))
    assert (one == 90).all()
    assert (two[:, :25] == 255).all()
    assert (two[:, 25:] < 160).all()  # a ground that contrasts with white


def test_smaller_copies_of_a_page_are_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    make_tiff(path)
    data = bytearray(path.read_bytes())
    kinds = {2: 1, 4: 4}  # the third page is a smaller copy, the fifth a mask
    for index, page in enumerate(tiff.find_pages(bytes(data))):
        for entry in range(page.at + 2, page.next_at, 12):
            (tag,) = struct.unpack_from("<H", data, entry)
            if tag == 254 and index in kinds:
                struct.pack_into("<HHII", data, entry, 254, 4, 1, kinds[index])
    path.write_bytes(data)
    found = [int(page.image[0, 0, 0]) for page in read_pages(path)]
    assert found == [GRAYS[0], GRAYS[1], GRAYS[3]]


def test_a_tiff_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    make_tiff(path)
    places = tiff.find_pages(path.read_bytes())
    path.write_bytes(path.read_bytes()[: places[3].at + 1])
    pages = read_pages(path)
    assert [next(pages).number for _ in range(3)] == [1, 2, 3]
    with pytest.raises(ImageError, match=r"scan.tif page 4: "):
        next(pages)


def test_an_animation_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "film.gif"
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (60, 80, 3), np.uint8) for _ in range(5)]
    first, *others = (PIL.Image.fromarray(frame) for frame in frames)
    first.save(path, save_all=True, append_images=others)
    path.write_bytes(path.read_bytes()[: 2 * path.stat().st_size // 3])
    with pytest.raises(ImageError, match=r"film.gif"):
        list(read_pages(path))
