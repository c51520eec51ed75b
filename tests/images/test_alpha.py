# SPDX-License-Identifier: Apache-2.0
"""Colours under transparent pixels do not count."""

import io
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
from dbnet_trt import Detections
from dbnet_trt.images.alpha import ROWS_AT_ONCE, choose_ground, flatten
from dbnet_trt.images.load import load_image


def bar(ink: int, hidden: int) -> np.ndarray:
    """(60, 80, 4) uint8: an opaque bar of one gray; beside it transparent pixels of another."""
    image = np.full((60, 80, 4), hidden, np.uint8)
    image[:, :, 3] = 0
    image[20:40, 10:70] = (ink, ink, ink, 255)
    return image


def encoded(image: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    target = io.BytesIO()
    PIL.Image.fromarray(image).convert(mode).save(target, kind, **options)
    return target.getvalue()


def sources(image: np.ndarray) -> dict[str, Any]:
    """The same picture (grays, so that RGBA is BGRA) in every kind of source."""
    pil = PIL.Image.fromarray(image)
    return {
        "array": image,
        "PNG": encoded(image, "PNG"),
        "PNG of gray and alpha": encoded(image, "PNG", "LA"),
        "WebP": encoded(image, "WEBP", lossless=True, exact=True),
        "TIFF": encoded(image, "TIFF"),
        "TIFF of gray and alpha": encoded(image, "TIFF", "LA"),
        "packed TIFF of gray and alpha": encoded(image, "TIFF", "LA", compression="tiff_lzw"),
        "TIFF by OpenCV": bytes(cv2.imencode(".tif", image)[1]),
        "TIFF of 16 bits by OpenCV": bytes(cv2.imencode(".tif", image.astype(np.uint16) * 257)[1]),
        "JPEG 2000": encoded(image, "JPEG2000"),
        "JPEG 2000 of gray and alpha": encoded(image, "JPEG2000", "LA"),
        "GIF": encoded(image, "GIF"),
        "AVIF": encoded(image, "AVIF", quality=100),
        "PNG of 16 bits": bytes(cv2.imencode(".png", image.astype(np.uint16) * 257)[1]),
        "PIL": pil,
        "PIL of gray and alpha": pil.convert("LA"),
        "PIL premultiplied": pil.convert("RGBa"),
    }


@pytest.mark.parametrize("name", sources(bar(0, 0)))
@pytest.mark.parametrize("ink", [0, 255])
def test_visible_pixels_stand_out_from_the_ground(name: str, ink: int) -> None:
    image = load_image(sources(bar(ink, ink))[name])
    assert image.shape == (60, 80, 3)
    inside, outside = int(image[30, 40, 1]), int(image[5, 5, 1])
    assert abs(inside - ink) <= 2
    assert abs(outside - (255 - ink)) <= 2


def test_gray_png_with_one_transparent_value() -> None:
    gray = np.zeros((60, 80), np.uint8)
    gray[20:40, 10:70] = 9
    target = io.BytesIO()
    PIL.Image.fromarray(gray).save(target, "PNG", transparency=0)
    image = load_image(target.getvalue())
    assert (image[30, 40], image[5, 5]) == (pytest.approx(9), pytest.approx(255))


def test_text_of_both_colours_stays_visible() -> None:
    image = np.concatenate([bar(0, 7), bar(255, 7)])
    ground = choose_ground(image)
    assert 90 < ground < 165
    flat = flatten(image)
    assert np.unique(flat).tolist() == [0, ground, 255]


def test_pixels_half_transparent_are_blended() -> None:
    image = np.zeros((1, 2, 4), np.uint8)
    image[0, :, 3] = 255, 51
    np.testing.assert_array_equal(flatten(image)[0, :, 0], [0, 204])  # on white


def test_alpha_that_does_not_vary_is_dropped(rng: np.random.Generator) -> None:
    photo = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    for alpha in (0, 100, 255):  # 0 everywhere: programs that write no alpha, as BMP often has
        image = np.dstack([photo, np.full((30, 40), alpha, np.uint8)])
        np.testing.assert_array_equal(load_image(image), photo)
        data = bytes(cv2.imencode(".png", image)[1])
        np.testing.assert_array_equal(load_image(data), photo)


def test_tall_images_are_blended_throughout() -> None:
    image = np.tile(bar(0, 0), (ROWS_AT_ONCE // 20, 1, 1))
    flat = flatten(image)
    np.testing.assert_array_equal(flat[:, :, 0], 255 - image[:, :, 3])


def test_orientation_and_alpha_together() -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    image = bar(0, 0)
    image[:20] = (0, 0, 0, 255)
    for kind in ("PNG", "WEBP"):
        options: dict[str, Any] = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        data = encoded(image, kind, exif=exif, **options)
        expected = np.rot90(load_image(image), -1)
        np.testing.assert_array_equal(load_image(data), expected)
        np.testing.assert_array_equal(load_image(data, upright=False), load_image(image))


def test_crops_and_plots_show_the_same() -> None:
    image = bar(0, 0)
    quad = np.array([[[5, 15], [75, 15], [75, 45], [5, 45]]], np.float32)
    found = Detections(quad, np.ones(1, np.float32))
    (crop,) = found.crops(image)
    assert crop[0, 0, 0] == 255
    assert crop[15, 35, 0] == 0
    assert found.plot(image)[2, 2, 0] == 255
