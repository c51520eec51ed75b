# SPDX-License-Identifier: Apache-2.0
"""Pixels of any depth come in 8 bits, with all that can be seen in them."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from dbnet_trt import ImageError
from dbnet_trt.images.load import load_image

STEPS = np.arange(64 * 48).reshape(48, 64) % 16
"""Gray in 16 steps, 0 to 15."""

EXPECTED = np.repeat((STEPS * 17).astype(np.uint8)[:, :, None], 3, axis=2)


def pnm(kind: str, white: int, image: np.ndarray) -> bytes:
    """Write a PNM in text (P2, P3) or bytes (P5, P6), without a newline at its end."""
    if kind in ("P3", "P6"):
        image = np.dstack([image] * 3)
    values = " ".join(map(str, image.ravel())).encode()
    if kind in ("P5", "P6"):
        values = image.astype(">u2" if white > 255 else "u1").tobytes()
    return f"{kind}\n64 48\n{white}\n".encode() + values


@pytest.mark.parametrize("kind", ["P2", "P3", "P5", "P6"])
@pytest.mark.parametrize("white", [15, 255, 4095, 65535])
def test_white_of_a_pnm_is_white(kind: str, white: int) -> None:
    image = load_image(pnm(kind, white, STEPS * (white // 15)))
    np.testing.assert_array_equal(image, EXPECTED)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jp2", ".pgm"])
@pytest.mark.parametrize(("num_bits", "warned"), [(9, 1), (10, 1), (12, 1), (13, 0), (16, 0)])
def test_bits_that_are_not_used(
    suffix: str, num_bits: int, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    stored = (STEPS * (2**num_bits - 1) // 15).astype(np.uint16)
    options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if suffix == ".jp2" else []
    image = load_image(cv2.imencode(suffix, stored, options)[1].tobytes())
    shift = num_bits - 8 if warned else 8
    np.testing.assert_array_equal(image[:, :, 0], stored >> shift)
    assert caplog.text.count(f"uses {num_bits} of its 16 bits") == warned


def test_pil_images_of_12_bits(caplog: pytest.LogCaptureFixture) -> None:
    image = load_image(PIL.Image.fromarray((STEPS * 273).astype(np.uint16)))
    assert image.max() == 255
    assert "uses 12 of its 16 bits" in caplog.text


def test_dark_files_of_8_bits_stay_dark(caplog: pytest.LogCaptureFixture) -> None:
    dark = (EXPECTED // 16).astype(np.uint8)
    np.testing.assert_array_equal(load_image(cv2.imencode(".png", dark)[1].tobytes()), dark)
    deep = dark.astype(np.uint16)  # 8 bits or fewer, in 16: as dark as the file says
    assert load_image(cv2.imencode(".png", deep)[1].tobytes()).max() == 0
    assert caplog.record_tuples == []


@pytest.mark.parametrize("white", [1, 255])
def test_real_numbers_of_a_pfm(white: int) -> None:
    for image in (STEPS, np.dstack([STEPS] * 3)):
        data = cv2.imencode(".pfm", (image / 15 * white).astype(np.float32))[1].tobytes()
        np.testing.assert_array_equal(load_image(data), EXPECTED)


def test_numbers_that_are_none() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, -1, 1]], np.float32)
    data = cv2.imencode(".pfm", odd)[1].tobytes()
    assert load_image(data)[0, :, 0].tolist() == [0, 255, 0, 0, 255]


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int32, np.int16, np.int8])
def test_tiffs_of_other_numbers_are_refused(kind: type) -> None:
    data = cv2.imencode(".tif", STEPS.astype(kind))[1].tobytes()
    with pytest.raises(ImageError, match="signed or real numbers or more than 16 bits"):
        load_image(data)


def test_channels_that_opencv_confuses() -> None:
    head = b"P7\nWIDTH 64\nHEIGHT 48\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n"
    with pytest.raises(ImageError, match="the PAM has 2 channels; 1, 3 and 4 are read"):
        load_image(head + bytes(64 * 48 * 2))


def test_gray_with_alpha_that_pillow_does_not_read() -> None:
    target = io.BytesIO()
    PIL.Image.new("LA", (64, 48)).save(target, "TIFF")
    deep = target.getvalue().replace(
        b"\x02\x01\x03\0\x02\0\0\0\x08\0\x08\0", b"\x02\x01\x03\0\x02\0\0\0\x10\0\x10\0"
    )
    assert deep != target.getvalue()
    with pytest.raises(ImageError, match="gray with alpha, which cannot be decoded .*PNG"):
        load_image(deep)
