# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
from dbnet_trt import ImageError
from dbnet_trt.building.calibration import load_calibration, load_photo, spread
from dbnet_trt.data.open import read_photos
from fakes.tiny_model import CARD


def test_calibration_images_fit_and_keep_their_shape(pictures: Path) -> None:
    images = load_calibration(str(pictures), CARD, (64, 96))
    assert images.shape == (3, 3, 64, 96)
    assert images.min() == -1  # black
    assert images.max() == 1  # white, by mean and standard deviation of 0.5
    wide = images[0, 0]  # 60 x 200 becomes 28 x 96, the rest is padding
    assert (wide[:28] != 0).all()
    assert not wide[28:].any()


def test_number_of_calibration_images_is_limited(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbnet_trt.building.calibration.MAX_IMAGES", 2)
    assert len(load_calibration(str(pictures), CARD, (32, 32))) == 2


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        load_calibration(str(tmp_path), CARD, (32, 32))


def test_photos_of_a_data_set(pictures: Path) -> None:
    texts = [{"polygon": [[1, 1], [30, 1], [30, 20], [1, 20]]}]
    lines = [json.dumps({"image": f"{i}/a.png", "texts": texts}) for i in range(3)]
    (pictures / "labels.jsonl").write_text("\n".join(lines))
    photos = read_photos(f"jsonl:{pictures / 'labels.jsonl'}")
    assert [load_photo(photo).shape[:2] for photo in photos] == [(60, 200), (200, 60), (33, 47)]
    assert spread(photos, 2) == [photos[0], photos[2]]
    assert spread(photos, 3) == photos
