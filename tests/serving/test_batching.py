# SPDX-License-Identifier: Apache-2.0
"""Many callers at once: batches, places, deadlines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import cv2
import httpx2 as httpx
import numpy as np
import pytest
from dbnet_trt import Detections, Detector
from dbnet_trt.images.decode import decode
from dbnet_trt.serving.app import create_app
from dbnet_trt.serving.config import ServerConfig
from fakes.engines import GreenOnCpu, photo


class GatedEngine(GreenOnCpu):
    """Engine that notes the shapes of its batches, and waits while its gate is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert self.gate.wait(20)
        self.shapes.append(batch.shape)
        return super().__call__(batch)


@pytest.fixture
def engine() -> Iterator[GatedEngine]:
    engine = GatedEngine()
    yield engine
    engine.gate.set()


def client(engine: GatedEngine, **config: float) -> httpx.AsyncClient:
    app = create_app(Detector(engine), ServerConfig(**config))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


def encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_callers_share_batches_of_one_size(engine: GatedEngine, rng: np.random.Generator) -> None:
    wide = [photo(64, 128, rng) for _ in range(4)]
    tall = [photo(128, 64, rng) for _ in range(2)]
    images = [wide[0], tall[0], wide[1], wide[2], tall[1], wide[3]]

    async def ask() -> list[httpx.Response]:
        async with client(engine, max_batch=4, max_delay_ms=1000, parallel=4) as asking:
            return await asyncio.gather(
                *(asking.post("/detect", content=encoded(image)) for image in images)
            )

    answers = asyncio.run(ask())
    assert sorted(engine.shapes) == [(2, 3, 128, 64), (4, 3, 64, 128)]
    detector = Detector(GreenOnCpu())
    for image, answer in zip(images, answers, strict=True):
        found = Detections.from_json(answer.text)
        np.testing.assert_allclose(found.quads, detector.detect(image).quads, atol=0.006)


def test_callers_with_other_options_do_not_share_a_batch(
    engine: GatedEngine, rng: np.random.Generator
) -> None:
    data = encoded(photo(64, 128, rng))

    async def ask() -> list[httpx.Response]:
        async with client(engine, max_batch=2, max_delay_ms=20) as asking:
            queries = ({"score_threshold": each} for each in (0, 1))
            return await asyncio.gather(
                *(asking.post("/detect", content=data, params=query) for query in queries)
            )

    all_of_them, none = asyncio.run(ask())
    assert [shape[0] for shape in engine.shapes] == [1, 1]
    assert len(all_of_them.json()["scores"]) > len(none.json()["scores"]) == 0


def test_a_fault_in_one_image_leaves_the_others_alone(
    engine: GatedEngine, rng: np.random.Generator
) -> None:
    data = encoded(photo(64, 128, rng))

    async def ask() -> list[httpx.Response]:
        async with client(engine, max_batch=4, max_delay_ms=50) as asking:
            bodies = (data, b"broken", data)
            return await asyncio.gather(*(asking.post("/detect", content=body) for body in bodies))

    assert [each.status_code for each in asyncio.run(ask())] == [200, 422, 200]


def test_a_full_server_answers_503_at_once_and_recovers(
    engine: GatedEngine, rng: np.random.Generator
) -> None:
    data = encoded(photo(64, 128, rng))
    engine.gate.clear()

    async def ask() -> tuple[httpx.Response, list[httpx.Response], httpx.Response]:
        async with client(engine, max_requests=3) as asking:
            waiting = [asyncio.create_task(asking.post("/detect", content=data)) for _ in range(3)]
            while "dbnet_active_requests 3.0" not in (await asking.get("/metrics")).text:
                await asyncio.sleep(0.01)
            refused = await asking.post("/detect", content=data)
            assert (await asking.get("/health/live")).status_code == 200
            engine.gate.set()
            answered = await asyncio.gather(*waiting)
            return refused, answered, await asking.post("/detect", content=data)

    refused, answered, later = asyncio.run(ask())
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert "busy with 3 requests" in refused.json()["detail"]
    assert [each.status_code for each in (*answered, later)] == [200] * 4


def test_a_deadline_that_passes_is_504_and_the_place_is_free_again(
    engine: GatedEngine, rng: np.random.Generator
) -> None:
    data = encoded(photo(64, 128, rng))
    engine.gate.clear()

    async def ask() -> list[httpx.Response]:
        async with client(engine, max_requests=1, parallel=1, deadline_s=0.2) as asking:
            late = [await asking.post("/detect", content=data) for _ in range(3)]
            engine.gate.set()
            for _ in range(50):
                answer = await asking.post("/detect", content=data)
                if answer.status_code == 200:
                    break
            return [*late, answer]

    answers = asyncio.run(ask())
    assert [each.status_code for each in answers] == [504, 504, 504, 200]
    assert "no result within 0.2 s" in answers[0].json()["detail"]


def test_the_network_does_not_run_after_the_deadline(
    engine: GatedEngine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = threading.Event()

    def slow(data: bytes, name: str, *, max_pixels: int) -> np.ndarray:
        assert decoded.wait(20)
        return decode(data, name, max_pixels=max_pixels)

    monkeypatch.setattr("dbnet_trt.serving.routes.decode", slow)
    data = encoded(photo(64, 128, rng))

    async def ask() -> int:
        async with client(engine, deadline_s=0.1) as asking:
            late = await asking.post("/detect", content=data)
            decoded.set()
            ended = 'dbnet_stage_seconds_count{stage="decode"} 1.0'
            while ended not in (await asking.get("/metrics")).text:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            return late.status_code

    assert asyncio.run(ask()) == 504
    assert engine.shapes == []


def test_a_body_that_does_not_arrive_is_408(engine: GatedEngine) -> None:
    async def slow() -> object:
        yield b"x"
        await asyncio.sleep(10)

    async def ask() -> httpx.Response:
        async with client(engine, deadline_s=0.1) as asking:
            return await asking.post("/detect", content=slow())  # type: ignore[arg-type]

    answer = asyncio.run(ask())
    assert answer.status_code == 408
    assert "did not arrive within 0.1 s" in answer.json()["detail"]


def test_images_that_wait_are_not_decoded(
    engine: GatedEngine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def counted(data: bytes, name: str, *, max_pixels: int) -> np.ndarray:
        decoded.append(name)
        return decode(data, name, max_pixels=max_pixels)

    monkeypatch.setattr("dbnet_trt.serving.routes.decode", counted)
    data = encoded(photo(64, 128, rng))
    engine.gate.clear()

    async def ask() -> int:
        async with client(engine, parallel=2) as asking:
            tasks = [asyncio.create_task(asking.post("/detect", content=data)) for _ in range(20)]
            while "dbnet_active_requests 20.0" not in (await asking.get("/metrics")).text:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            num_decoded = len(decoded)
            engine.gate.set()
            assert {each.status_code for each in await asyncio.gather(*tasks)} == {200}
            return num_decoded

    assert asyncio.run(ask()) <= 4
    assert len(decoded) == 20
