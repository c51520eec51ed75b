# SPDX-License-Identifier: Apache-2.0
"""Large image files, which are decoded to where their pixels stay."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from dbnet_trt import ImageError
from dbnet_trt.images import decode
from dbnet_trt.images.load import load_image


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tiff", ".webp", ".bmp"])
@pytest.mark.parametrize("share", [1, 0.99, 0.5])
def test_pixels_are_those_of_small_files(
    suffix: str, share: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(cv2.imencode(suffix, rng.integers(0, 256, (90, 70, 3), np.uint8))[1])
    data = data[: int(share * len(data))]
    results = []
    for limit in (1 << 40, 1):
        monkeypatch.setattr(decode, "LARGE_PIXELS", limit)
        try:
            results.append(load_image(data).tobytes())
        except ImageError as error:
            results.append(str(error).encode())
    assert results[0] == results[1]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no files in memory")
def test_pixels_are_in_memory_once() -> None:
    def peak() -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    data = bytes(cv2.imencode(".png", np.full((4000, 5000, 3), 255, np.uint8))[1])
    load_image(data)  # what OpenCV keeps
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far is forgotten
    before = peak()
    image = load_image(data)
    assert peak() - before < 1.5 * image.nbytes
