# SPDX-License-Identifier: Apache-2.0
"""The routes of the server: what goes in, what comes out, what is refused."""

from __future__ import annotations

import base64
import json
import logging
import re
import socket
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from dbnet_trt import Detections, Detector
from dbnet_trt.serving.app import create_app
from dbnet_trt.serving.config import ServerConfig
from dbnet_trt.serving.pages import reference_html
from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def client(detector: Detector) -> Iterator[TestClient]:
    with TestClient(create_app(detector)) as client:
        yield client


def assert_found(text: str, expected: Detections) -> None:
    found = Detections.from_json(text)
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.quads, expected.quads, atol=0.006)
    np.testing.assert_allclose(found.scores, expected.scores, atol=0.00006)


# ---- bodies and answers --------------------------------------------------------------------------


def test_every_kind_of_body_gives_the_detections(
    client: TestClient, detector: Detector, image: np.ndarray, png: bytes
) -> None:
    text = base64.b64encode(png).decode()
    answers = [
        client.post("/detect", files={"file": ("a.png", png)}),
        client.post("/detect", content=png),
        client.post("/detect", content=png, headers={"Content-Type": "image/png"}),
        client.post("/detect", content=png, headers={"Content-Type": "application/octet-stream"}),
        client.post("/detect", json={"image": text}),
        client.post("/detect", json={"image": f"data:image/png;base64,{text}"}),
    ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        assert_found(answer.text, detector.detect(image))
        fields = answer.json()
        assert (fields["model"], fields["width"], fields["height"]) == ("green", 120, 90)


def test_options_are_those_of_the_detector(
    client: TestClient, detector: Detector, image: np.ndarray, png: bytes
) -> None:
    query = {"score_threshold": 0.2, "polygons": True, "unclip_ratio": 1.1, "max_candidates": 3}
    answer = client.post("/detect", params=query, content=png)
    expected = detector.detect(
        image, score_threshold=0.2, polygons=True, unclip_ratio=1.1, max_candidates=3
    )
    assert_found(answer.text, expected)
    assert len(answer.json()["polygons"]) == len(expected)


def test_the_short_side_is_that_of_the_network(client: TestClient, png: bytes) -> None:
    small, large = (
        client.post("/detect", params={"short_side": side, "score_threshold": 0}, content=png)
        for side in (32, 320)
    )
    assert small.json()["quads"] != large.json()["quads"]


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_picture_has_the_outlines_drawn_on_it(
    kind: str, client: TestClient, detector: Detector, image: np.ndarray, png: bytes
) -> None:
    answer = client.post("/detect", params={"format": kind}, content=png)
    assert answer.headers["content-type"] == f"image/{kind}"
    drawn = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    expected = detector.detect(image).plot(image)
    assert drawn.shape == expected.shape
    if kind == "png":
        np.testing.assert_array_equal(drawn, expected)


def test_a_picture_too_wide_for_jpeg_says_so(client: TestClient) -> None:
    wide = cv2.imencode(".png", np.zeros((1, 70000, 3), np.uint8))[1].tobytes()
    answer = client.post("/detect", params={"format": "jpeg"}, content=wide)
    assert answer.status_code == 422
    assert "ask for png or json" in answer.json()["detail"]


# ---- clients' faults -----------------------------------------------------------------------------

PART = 'Content-Disposition: form-data; name="{}"; filename="a"\r\n\r\n{}\r\n'


def multipart(*parts: tuple[str, str], end: str = "--x--\r\n") -> tuple[str, bytes]:
    body = "".join("--x\r\n" + PART.format(*part) for part in parts) + end
    return "multipart/form-data; boundary=x", body.encode()


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        ("", b"", 400, "the body is empty"),
        ("image/png", b"", 400, "the body is empty"),
        ("text/html", b"x", 415, "got 'text/html'"),
        ("application/octet-stream", b"hello", 422, "not an image"),
        ("image/jpeg", b"\xff\xd8\xff\xe0", 422, "the image: "),
        ("application/pdf", b"%PDF-1.7", 415, "application/pdf"),
        ("", b"%PDF-1.7", 422, "a PDF, which has pages"),
        ("application/json", b"", 400, "not JSON"),
        ("application/json", b"\xff", 400, "not JSON"),
        ("application/json", b"[" * 9000, 400, "nested too deeply"),
        ("application/json", b"[" + b"[]," * 9000 + b"0]", 400, "more than 10000 values"),
        ("application/json", b"[]", 400, 'the one field "image"'),
        ("application/json", b'{"url": "http://10.0.0.1/"}', 400, 'the one field "image"'),
        ("application/json", b'{"image": 7}', 400, "must be the base64 text"),
        ("application/json", b'{"image": ""}', 400, "must be the base64 text"),
        ("application/json", b'{"image": "http://10.0.0.1/a.png"}', 400, "is never fetched"),
        ("application/json", b'{"image": "file:///etc/passwd"}', 400, "is never fetched"),
        ("application/json", b'{"image": "data:,x"}', 400, 'no ";base64,"'),
        ("application/json", b'{"image": "a?b"}', 400, "not base64"),
        ("application/json", '{"image": "\u00e4"}'.encode(), 400, "not base64"),
        ("application/json", b'{"image": "aGVsbG8="}', 422, "not an image"),
        ("multipart/form-data", b"x", 400, "boundary"),
        ("multipart/form-data; boundary=" + "x" * 300, b"x", 400, "boundary"),
        ("multipart/form-data; boundary=x", b"", 400, "got no complete part"),
        ("multipart/form-data; boundary=x", b"junk", 400, "malformed"),
        (*multipart(("file", "hello")), 422, "not an image"),
        (*multipart(("file", "")), 400, "is empty"),
        (*multipart(("photo", "hello")), 400, "got one named 'photo'"),
        (*multipart(("file", "a"), ("file", "b")), 400, "one request for each image"),
        (*multipart(*[("file", "")] * 5000), 400, "one request for each image"),
        (*multipart(("file", "hello"), end=""), 422, "not an image"),
    ],
)
def test_a_wrong_body_is_the_clients_fault(
    kind: str, body: bytes, status: int, message: str, client: TestClient
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post("/detect", content=body, headers=headers)
    assert answer.status_code == status
    assert message in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("score_threshold=2", "score_threshold: "),
        ("score_threshold=nan", "score_threshold: "),
        ("binary_threshold=x", "got 'x'"),
        ("unclip_ratio=-1", "unclip_ratio: "),
        ("max_candidates=99999999", "max_candidates: "),
        ("polygons=perhaps", "polygons: "),
        ("short_side=31", "short_side: "),
        ("short_side=4096", "at most 2048 pixels"),
        ("format=gif", "format: "),
        ("threshold=0.4", "threshold: "),
    ],
)
def test_a_wrong_option_is_named(query: str, message: str, client: TestClient, png: bytes) -> None:
    answer = client.post(f"/detect?{query}", content=png)
    assert answer.status_code == 422
    assert message in answer.json()["detail"]


def test_damaged_files_are_never_the_servers_fault(
    client: TestClient, png: bytes, rng: np.random.Generator
) -> None:
    for _ in range(200):
        data = bytearray(png[: int(rng.integers(1, len(png) + 1))])
        for place in rng.integers(0, len(data), 4):
            data[place] = int(rng.integers(256))
        answer = client.post("/detect", content=bytes(data))
        assert answer.status_code in (200, 422)


def test_an_image_with_too_many_pixels_is_not_decoded(detector: Detector, png: bytes) -> None:
    with TestClient(create_app(detector, max_pixels=120 * 90 - 1)) as client:
        answer = client.post("/detect", content=png)
    assert answer.status_code == 422
    assert "120x90 are too many pixels" in answer.json()["detail"]


def test_a_large_body_is_refused_by_its_length_or_while_it_comes(
    detector: Detector, png: bytes
) -> None:
    with TestClient(create_app(detector, ServerConfig(max_body_mb=0.001))) as client:
        stated = client.post("/detect", content=b"x" * 1001)
        chunked = client.post("/detect", content=iter([b"x" * 600] * 2))
        infer = client.post("/v2/models/green/infer", content=iter([b"x" * 600] * 2))
        length = client.post("/detect", content=b"", headers={"Content-Length": "9" * 5000})
    assert [each.status_code for each in (stated, chunked, infer, length)] == [413] * 4
    assert stated.json() == chunked.json() == {"detail": "expected a body of at most 1000 bytes"}
    assert infer.json() == {"error": "expected a body of at most 1000 bytes"}


@pytest.mark.parametrize(
    "sent",
    [
        b"Content-Length: 100\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 200_000,
    ],
)
def test_a_body_that_breaks_off_is_the_clients_fault(
    sent: bytes, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 20) as connection:
        connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\n" + sent)
    counted = 'dbnet_requests_total{code="400",route="/detect"} 1.0'
    for _ in range(1000):
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            if counted in answer.read().decode():
                break
        time.sleep(0.01)
    else:
        pytest.fail("the request is not counted")
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


def test_a_compressed_body_is_refused(client: TestClient, png: bytes) -> None:
    answer = client.post("/detect", content=png, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 415


def test_unknown_paths_and_methods(client: TestClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/detect").status_code == 405


@pytest.mark.parametrize(("method", "max_batch"), [("detect", 1), ("submit", 2)])
def test_a_fault_of_the_model_tells_the_client_no_details(
    method: str,
    max_batch: int,
    detector: Detector,
    png: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret place")

    monkeypatch.setattr(detector, method, fail)
    with TestClient(create_app(detector, ServerConfig(max_batch=max_batch))) as client:
        answer = client.post("/detect", content=png)
        assert client.get("/health/live").status_code == 200
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret place" in caplog.text


# ---- keys, headers, log, metrics -----------------------------------------------------------------


def test_keys_are_asked_for(detector: Detector, png: bytes) -> None:
    with TestClient(create_app(detector, keys=("first", "second"))) as client:
        cases: list[tuple[Any, int]] = [
            ({}, 401),
            ({"X-API-Key": "wrong"}, 401),
            ({"X-API-Key": "firs\u00e4".encode("latin-1")}, 401),
            ({"X-API-Key": "second"}, 200),
            ({"Authorization": "Bearer first"}, 200),
            ({"Authorization": "Basic first"}, 401),
            ({"Authorization": "first"}, 401),
        ]
        for headers, status in cases:
            assert client.post("/detect", content=png, headers=headers).status_code == status
        assert client.get("/v2").status_code == client.get("/metrics").status_code == 401
        for path in ("/", "/docs", "/openapi.json", "/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200


def test_other_sites_get_nothing(client: TestClient, png: bytes) -> None:
    answer = client.post("/detect", content=png, headers={"Origin": "https://elsewhere.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_other_hosts(path: str, client: TestClient) -> None:
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", answer.text) == []
    assert not re.search(r"<[^>]+\s(style|on\w+)=", answer.text), "the policy would stop these"


def test_the_page_has_the_settings_of_the_model(client: TestClient) -> None:
    found = re.search(r'id="settings">(.*?)</script>', client.get("/").text)
    assert found is not None
    settings = json.loads(found[1])
    assert settings["model"] == "green"
    assert settings["short_side"] == 64
    assert settings["score_threshold"] == 0.6


def test_every_language_of_the_page_has_every_text(client: TestClient) -> None:
    tables = re.findall(r"^  (\w\w): \{(.*?)^  \},", client.get("/").text, re.DOTALL | re.MULTILINE)
    names = {code: re.findall(r'(\w+): "', table) for code, table in tables}
    assert set(names) >= {"en", "de"}
    assert all(each == names["en"] for each in names.values())


def test_the_reference_names_every_route(client: TestClient) -> None:
    api = client.get("/openapi.json").json()
    html = reference_html(api)
    for path, methods in api["paths"].items():
        assert f"<code>{path}</code>" in html
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                assert f"<code>{parameter['name']}</code>" in html


def test_one_line_of_log_per_request(
    client: TestClient, png: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="dbnet_trt.serving"):
        client.post("/detect", content=png)
        client.get("/%0aGET%20/forged")
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("serving")]
    assert len(lines) == 2
    assert re.fullmatch(rf"testclient POST /detect 200 [\d.]+ ms {len(png)} bytes", lines[0])
    assert "\n" not in lines[1]


def test_metrics_count_requests_stages_and_batches(detector: Detector, png: bytes) -> None:
    with TestClient(create_app(detector)) as client:
        client.post("/detect", content=png)
        client.post("/detect", content=b"x")
        text = client.get("/metrics").text
    assert 'dbnet_requests_total{code="200",route="/detect"} 1.0' in text
    assert 'dbnet_requests_total{code="422",route="/detect"} 1.0' in text
    assert "dbnet_active_requests 0.0" in text
    assert "dbnet_batch_size_count 1.0" in text
    for stage in ("wait", "decode", "detect", "answer"):
        assert f'dbnet_stage_seconds_count{{stage="{stage}"}}' in text


def test_health(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}
    assert client.get("/health/ready").json() == {"status": "ready"}


@pytest.mark.parametrize(
    "wrong", [{"port": 70000}, {"workers": 0}, {"deadline_s": 0}, {"max_body_mb": -1}]
)
def test_a_wrong_setting_is_named(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        ServerConfig(**wrong)  # type: ignore[arg-type]
