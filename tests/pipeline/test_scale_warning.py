# SPDX-License-Identifier: Apache-2.0
"""Images that the network sees too small are warned of; small ones are not enlarged for ever."""

from pathlib import Path

import numpy as np
import pytest
from dbnet_trt import Detector, SizePolicy
from dbnet_trt.settings import MAX_ENLARGEMENT
from fakes.tiny_model import make_model, scene


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    return Detector(make_model(tmp_path / "tiny.onnx"))


@pytest.mark.parametrize(("height", "width"), [(32, 160), (1, 1), (20, 60), (5, 3000), (183, 500)])
def test_enlarging_is_bounded(height: int, width: int) -> None:
    rows, columns = SizePolicy(736).plan(height, width).resized
    assert rows <= max(1, MAX_ENLARGEMENT * height)
    assert columns <= MAX_ENLARGEMENT * width


@pytest.mark.parametrize(("height", "width"), [(184, 300), (480, 640), (720, 1280), (3024, 4032)])
def test_ordinary_photos_are_resized_as_asked(height: int, width: int) -> None:
    assert min(SizePolicy(736).plan(height, width).resized) == 736
    assert not SizePolicy(736).bounds_enlargement(height, width)


def test_small_crop_is_one_warning_per_detector(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        detector.detect(scene(20, 60))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "60x20 pixels is enlarged 4 times only, to 240x80" in record.getMessage()
    assert "--short-side" in record.getMessage()


def test_large_image_is_one_warning_per_detector(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    large = np.zeros((1000, 1400, 3), np.uint8)
    detector.detect_batch([large, large])
    (record,) = caplog.records
    assert "1400x1000 pixels is shrunk 7.8 times, to 179x128" in record.getMessage()
    assert "text less than about 63 pixels high" in record.getMessage()
    assert "--short-side 200" in record.getMessage()


def test_the_remedy_helps(detector: Detector, caplog: pytest.LogCaptureFixture) -> None:
    detector.detect(np.zeros((1000, 1400, 3), np.uint8), size=SizePolicy(200))
    detector.detect(scene(20, 60), size=SizePolicy(80))
    detector.detect(scene())
    assert caplog.records == []
