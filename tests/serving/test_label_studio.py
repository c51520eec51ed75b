# SPDX-License-Identifier: Apache-2.0
"""Label Studio's ML backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dbnet_trt import Detector
from dbnet_trt.data.label_studio import local_address, make_prediction, make_task
from dbnet_trt.serving.app import create_app
from dbnet_trt.serving.config import ServerConfig
from starlette.testclient import TestClient


@pytest.fixture
def root(tmp_path: Path, png: bytes) -> Path:
    (tmp_path / "photos" / "in").mkdir(parents=True)
    (tmp_path / "photos" / "in" / "a b.png").write_bytes(png)
    (tmp_path / "photos" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "secret.png").write_bytes(png)
    return tmp_path / "photos"


@pytest.fixture
def client(detector: Detector, root: Path) -> Iterator[TestClient]:
    app = create_app(detector, ServerConfig(max_images=2), label_studio=root)
    with TestClient(app) as client:
        yield client


def test_the_backend_is_found(client: TestClient) -> None:
    assert client.get("/label-studio/health").json()["status"] == "UP"
    assert client.post("/label-studio/setup", json={"project": "1"}).json() == {
        "model_version": "green"
    }
    assert client.post("/label-studio/webhook", json={"action": "START"}).status_code == 200


def test_predictions_are_those_of_the_detector(
    client: TestClient, detector: Detector, root: Path, image: np.ndarray
) -> None:
    expected = make_prediction(detector.detect(image), image.shape[:2], "green")
    task = make_task(local_address(root / "in" / "a b.png", root), expected)
    body = {"tasks": [{"id": 7, **task}], "project": "1.2", "label_config": "<View/>", "params": {}}
    answer = client.post("/label-studio/predict", json=body)
    assert answer.json() == {"results": [expected]}
    assert len(expected["result"]) > 0


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=../secret.png",
        "/data/local-files/?d=/etc/passwd",
        "/data/local-files/?d=in",
        "/data/local-files/?d=none.png",
        "/data/local-files/?d=a%00b",
        "/data/local-files/?d=broken.png",
        "/data/upload/1/a.png",
        "http://example.org/a.png",
        "http://[/?d=in/a b.png",
        7,
    ],
)
def test_other_images_are_refused(address: object, client: TestClient) -> None:
    task = {"id": 1, "data": {"image": address}}
    answer = client.post("/label-studio/predict", json={"tasks": [task]})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (
            {"data": {"image": "/data/local-files/?d=in/../broken.png"}},
            "in/../broken.png: not an image",
        ),
        ({"data": {"image": "/data/local-files/?d=/gone.png"}}, "no file '/gone.png' in"),
        ({"id": 7, "data": {}}, "task 7 names no local file"),
        ({"data": {}}, "tasks[1] names no local file"),
    ],
)
def test_a_fault_is_named_as_the_task_has_it(
    task: object, message: str, client: TestClient, root: Path
) -> None:
    right = {"data": {"image": "/data/local-files/?d=in/a b.png"}}
    answer = client.post("/label-studio/predict", json={"tasks": [right, task]})
    assert answer.status_code == 422
    assert message in answer.json()["detail"]
    assert str(root) not in answer.text


@pytest.mark.parametrize("body", [{}, {"tasks": 3}, {"tasks": [{}, {}, {}]}, {"tasks": [{}]}])
def test_wrong_bodies_are_refused(body: object, client: TestClient) -> None:
    assert client.post("/label-studio/predict", json=body).status_code == 422


def test_without_a_folder_there_is_none(detector: Detector) -> None:
    with TestClient(create_app(detector)) as client:
        assert client.get("/label-studio/health").status_code == 404


def test_keys_are_passwords(detector: Detector, root: Path) -> None:
    with TestClient(create_app(detector, keys=["k:1"], label_studio=root)) as client:
        assert client.get("/label-studio/health").status_code == 401
        assert client.get("/label-studio/health", auth=("any", "k:1")).status_code == 200
        assert client.get("/label-studio/health", auth=("k:1", "no")).status_code == 401
        wrong = {"Authorization": "Basic ???"}
        assert client.get("/label-studio/health", headers=wrong).status_code == 401
