# SPDX-License-Identifier: Apache-2.0
"""The open inference protocol, by hand and by Triton's own client."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detector
from dbnet_trt.building.triton import pack
from dbnet_trt.serving.app import create_app
from dbnet_trt.serving.config import ServerConfig
from dbnet_trt.serving.protocol import HEADER_LENGTH, model_name, split_bytes
from fakes.engines import photo
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

INFER = "/v2/models/green/infer"


@pytest.fixture(scope="module")
def client(detector: Detector) -> Iterator[TestClient]:
    with TestClient(create_app(detector, ServerConfig(max_images=3))) as client:
        yield client


def request(*images: bytes, **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(each).decode() for each in images]
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [len(images), 1], "data": data}
    return {"inputs": [tensor], **more}


def as_binary(fields: dict[str, Any], *images: bytes) -> tuple[bytes, dict[str, str]]:
    binary = b"".join(struct.pack("<I", len(each)) + each for each in images)
    (tensor,) = fields["inputs"]
    del tensor["data"]
    tensor["parameters"] = {"binary_data_size": len(binary)}
    header = json.dumps(fields).encode()
    return header + binary, {HEADER_LENGTH: str(len(header))}


def tensors(answer: Any) -> dict[str, np.ndarray]:
    dtypes = {"FP32": np.float32, "INT32": np.int32}
    return {
        each["name"]: np.array(each["data"], dtypes[each["datatype"]]).reshape(each["shape"])
        for each in answer.json()["outputs"]
    }


def test_metadata_and_health(client: TestClient) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/green/ready"):
        assert client.get(path).status_code == 200
    model = client.get("/v2/models/green").json()
    assert model["inputs"] == [{"name": "IMAGE", "datatype": "BYTES", "shape": [-1, 1]}]
    assert [each["name"] for each in model["outputs"]] == ["QUADS", "SCORES", "COUNT"]
    missing = client.get("/v2/models/other")
    assert missing.status_code == 404
    assert missing.json() == {"error": 'there is no model "other"; there is "green"'}


def test_json_gives_the_tensors_of_the_triton_model(
    client: TestClient, detector: Detector, image: np.ndarray, png: bytes
) -> None:
    black = cv2.imencode(".png", np.zeros_like(image))[1].tobytes()
    answer = client.post(INFER, json=request(png, black, id="seven"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["id"] == "seven"
    expected = pack([detector.detect(png), detector.detect(black)])
    for name, tensor in tensors(answer).items():
        np.testing.assert_array_equal(tensor, expected.pop(name))
    assert not expected


def test_binary_data_in_and_out(client: TestClient, detector: Detector, png: bytes) -> None:
    asked = request(png, outputs=[{"name": "SCORES", "parameters": {"binary_data": True}}])
    body, headers = as_binary(asked, png)
    answer = client.post(INFER, content=body, headers=headers)
    length = int(answer.headers[HEADER_LENGTH])
    (output,) = json.loads(answer.content[:length])["outputs"]
    scores = np.frombuffer(answer.content[length:], np.float32)
    assert output["parameters"] == {"binary_data_size": scores.nbytes}
    np.testing.assert_array_equal(scores, detector.detect(png).scores)


def test_parameters_are_options(client: TestClient, detector: Detector, png: bytes) -> None:
    answer = client.post(INFER, json=request(png, parameters={"score_threshold": 0.9}))
    found = detector.detect(png, score_threshold=0.9)
    assert tensors(answer)["COUNT"].item() == len(found) < len(detector.detect(png))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": None}, "inputs must be a list"),
        ({"inputs": []}, 'expected one input, "IMAGE", got 0'),
        ({"inputs": [7]}, "the input must be an object"),
        ({"name": "INPUT"}, 'name "IMAGE"'),
        ({"datatype": "FP32"}, 'datatype "BYTES"'),
        ({"shape": None}, "shape must be a list"),
        ({"shape": [-1, 1]}, "whole numbers"),
        ({"shape": [2, 1]}, "asks for 2 images, got 1"),
        ({"shape": [4, 1]}, "1 to 3 images"),
        ({"shape": [10**9] * 1000}, "1 to 3 images"),
        ({"data": None}, "data must be a list"),
        ({"data": ["http://a/b"]}, "never fetched"),
        ({"data": ["aGVsbG8="]}, "image 0: not an image"),
        ({"data": ["aGVsbG8="] * 4}, "at most 3 images"),
        ({"parameters": []}, None),
        ({"parameters": 7}, "parameters must be an object"),
        ({"parameters": {"binary_data_size": 10}}, "but none bytes follow"),
        ({"outputs": [{"name": "QUAD"}]}, "there is no output 'QUAD'"),
        ({"outputs": [{}]}, "there is no output 'None'"),
        ({"id": 7}, "id must be a text"),
        ({"options": {"threshold": 1}}, "parameter threshold"),
        ({"options": {"short_side": 9000}}, "at most 2048"),
    ],
)
def test_a_wrong_request_is_the_clients_fault(
    change: dict[str, Any], message: str | None, client: TestClient, png: bytes
) -> None:
    fields = request(png)
    for name, value in change.items():
        if name == "options":
            fields["parameters"] = value
        elif name in ("inputs", "outputs", "id"):
            fields[name] = value
        else:
            fields["inputs"][0][name] = value
    answer = client.post(INFER, json=fields)
    if message is None:
        assert answer.status_code == 200
        return
    assert 400 <= answer.status_code < 500, answer.text
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"", None, "not JSON"),
        (b"[]", None, "must be an object"),
        (b"{}", "3", "at most the 2 bytes"),
        (b"{}", "-1", "at most the 2 bytes"),
        (b"{}", "x", "at most the 2 bytes"),
        (b"{}", "9" * 5000, "at most the 2 bytes"),
        (b"[" * 9000, None, "nested too deeply"),
        (b'{"inputs": [' + b"{}," * 9000 + b"0]}", None, "more than 10000 values"),
    ],
)
def test_a_wrong_body_is_the_clients_fault(
    body: bytes, length: str | None, message: str, client: TestClient
) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


@pytest.mark.parametrize("data", [b"\1\0", b"\5\0\0\0abc", b"\xff\xff\xff\xffabc"])
def test_cut_off_elements_are_refused(data: bytes) -> None:
    with pytest.raises(HTTPException):
        split_bytes(data)


def test_elements_are_split() -> None:
    assert split_bytes(b"\1\0\0\0a\0\0\0\0\2\0\0\0bc") == [b"a", b"", b"bc"]


def test_names_are_those_of_the_folder() -> None:
    assert model_name("dbnet r18/words") == "dbnet_r18_words"


@pytest.mark.filterwarnings("default")  # of gevent, which the client brings
def test_tritons_client_works_unchanged(
    address: str, detector: Detector, png: bytes, rng: np.random.Generator
) -> None:
    http = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is not installed")
    client = http.InferenceServerClient(address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("green")
    assert client.get_server_metadata()["name"] == "dbnet_trt"
    assert client.get_model_metadata("green")["inputs"][0]["name"] == "IMAGE"
    other = cv2.imencode(".jpg", photo(70, 200, rng))[1].tobytes()
    for images in ([png, other], [cv2.imencode(".png", np.zeros((9, 9)))[1].tobytes()]):
        tensor = http.InferInput("IMAGE", [len(images), 1], "BYTES")
        tensor.set_data_from_numpy(np.array(images, object)[:, None])
        result = client.infer("green", [tensor])
        for name, expected in pack([detector.detect(image) for image in images]).items():
            np.testing.assert_array_equal(result.as_numpy(name).reshape(expected.shape), expected)
    tensor = http.InferInput("IMAGE", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b"broken"]], object))
    with pytest.raises(Exception, match="image 0: not an image") as error:
        client.infer("green", [tensor])
    assert error.value.status() == "400"  # type: ignore[attr-defined]
    client.close()
