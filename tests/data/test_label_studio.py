# SPDX-License-Identifier: Apache-2.0
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from dbnet_trt import Detections
from dbnet_trt.data.label_studio import CONFIG, local_address, make_prediction, make_task
from dbnet_trt.data.open import read_dataset
from dbnet_trt.images.load import write_image

FOUND = Detections(
    np.array([[10, 20, 90.5, 21, 90, 41.25, 10, 40], [5, 60, 50, 60, 50, 70, 5, 70]],
             np.float32).reshape(2, 4, 2),
    np.array([0.9, 0.7], np.float32),
    texts=('a "b" <c>', ""), confidences=np.array([0.8, 0.2], np.float32),
)  # fmt: skip
SIZE = (123, 457)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "a b" / "ü?#1.png"
    path.parent.mkdir(parents=True)
    write_image(path, np.zeros((*SIZE, 3), np.uint8))
    return path


def test_what_is_exported_is_what_was_found(photo: Path, tmp_path: Path) -> None:
    """A task whose prediction was accepted, as Label Studio exports it, is read back."""
    task = make_task(
        local_address(photo, tmp_path / "photos"), make_prediction(FOUND, SIZE, "tiny")
    )
    accepted = {"result": task.pop("predictions")[0]["result"]}
    export = tmp_path / "export.json"
    export.write_text(json.dumps([{"id": 1, "annotations": [accepted], **task}]))
    dataset = read_dataset(f"labelstudio:{export}")
    assert dataset.problems == []
    (sample,) = dataset.samples
    assert sample.image == photo
    assert [text.content for text in sample.texts] == ['a "b" <c>', ""]
    np.testing.assert_allclose([text.polygon for text in sample.texts], FOUND.quads, atol=0.01)


def test_polygons_are_taken_before_quads() -> None:
    polygon = np.array([[0, 0], [9, 1], [20, 0], [20, 9], [0, 9]], np.float32)
    found = Detections(FOUND.quads[:1], FOUND.scores[:1], (polygon,))
    (region,) = make_prediction(found, (100, 100), "tiny")["result"]
    assert region["value"]["points"] == polygon.tolist()
    assert region["score"] == 0.9


def test_no_text() -> None:
    assert make_prediction(Detections.empty(), SIZE, "m") == {
        "model_version": "m", "score": 0.0, "result": [],
    }  # fmt: skip


def test_names_are_those_of_the_interface() -> None:
    tags = {tag.get("name"): tag for tag in ElementTree.fromstring(CONFIG).iter()}
    values = {label.get("value") for label in tags["label"]}
    for region in make_prediction(FOUND, SIZE, "tiny")["result"]:
        assert tags[region["from_name"]].tag.lower() == region["type"]
        assert tags[region["from_name"]].get("toName") == region["to_name"]
        assert set(region["value"].get("polygonlabels", [])) <= values


def test_images_elsewhere_are_refused(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="name a folder that holds all by --root"):
        local_address(photo, tmp_path / "other")
    link = tmp_path / "other" / "link.png"
    os.symlink(photo, link)
    with pytest.raises(ValueError, match="expected images below"):
        local_address(link, tmp_path / "other")
