# SPDX-License-Identifier: Apache-2.0
"""Load on `dbnet serve` over loopback: cost of a request, throughput, latency, memory, overload.

    python benchmarks/serve.py [MODEL] [--requests N] [--json FILE]

Server and direct calls take turns. Answers are compared with those of `Detector.detect` before
anything is timed, and in the long run each of them is.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cyclopts import App
from dbnet_trt import CpuConfig, Detections, Detector, SizePolicy
from loopback import Server, request_bytes, serving
from measure import tell, write_report
from scenes import text_scene

app = App(help="Measure dbnet serve under load.")
ROUNDS = 12
LOAD = 0.8
"""Share of the throughput at which latency is measured."""


def detect_path(short_side: int) -> str:
    """Return the path that asks for detection at one size of the network."""
    return f"/detect?short_side={short_side}"


def cost(
    server: Server, detector: Detector, picture: bytes, side: int, requests: int
) -> dict[str, float]:
    """CPU time of a request beyond that of `detect`, one caller, in ms: medians of blocks."""
    size, request = SizePolicy(side), request_bytes(detect_path(side), picture)
    served, direct = [], []
    for _ in range(ROUNDS):
        before = server.cpu_ms()
        with server.connect() as connection:
            for _ in range(requests):
                connection.ask(request)
        served.append((server.cpu_ms() - before) / requests)
        before = time.process_time()
        for _ in range(requests):
            detector.detect(picture, size=size)
        direct.append(1000 * (time.process_time() - before) / requests)
    median_served, median_direct = float(np.median(served)), float(np.median(direct))
    return {
        "short_side": side,
        "served_cpu_ms": round(median_served, 2),
        "direct_cpu_ms": round(median_direct, 2),
        "over_detect_cpu_ms": round(median_served - median_direct, 2),
    }


def throughput(
    server: Server, detector: Detector, picture: bytes, side: int, callers: int, each: int
) -> dict[str, Any]:
    """Images per second of many callers and of as many threads that call `detect`, in turns.

    CPU time is that of the server and its callers, or of the threads, per image.
    """
    size, request = SizePolicy(side), request_bytes(detect_path(side), picture)

    def served(_: int) -> None:
        with server.connect() as connection:  # anew: the server closes those that are idle
            for _ in range(each):
                status = connection.ask(request)[0]
                if status != 200:
                    raise SystemExit(f"status {status}")

    def direct(_: int) -> None:
        for _ in range(each):
            detector.detect(picture, size=size)

    rates: dict[str, list[float]] = {"served": [], "direct": []}
    cpu_ms: dict[str, list[float]] = {"served": [], "direct": []}
    with ThreadPoolExecutor(callers) as threads:
        for _ in range(ROUNDS):
            for name, work in (("served", served), ("direct", direct)):
                start, cpu = time.perf_counter(), server.cpu_ms() + 1000 * time.process_time()
                list(threads.map(work, range(callers)))
                rates[name].append(callers * each / (time.perf_counter() - start))
                cpu = server.cpu_ms() + 1000 * time.process_time() - cpu
                cpu_ms[name].append(cpu / (callers * each))
    ratios = np.array(rates["served"]) / np.array(rates["direct"])
    return {
        "short_side": side,
        "callers": callers,
        "images_per_s": {name: [round(rate, 2) for rate in each] for name, each in rates.items()},
        "cpu_ms": {name: round(float(np.median(each)), 2) for name, each in cpu_ms.items()},
        "served_over_direct": round(float(np.median(ratios)), 3),
    }


def latency(
    server: Server, picture: bytes, side: int, rate: float, requests: int
) -> dict[str, float]:
    """Latency in ms of requests that are sent at a fixed rate, however long each takes."""
    request = request_bytes(detect_path(side), picture)

    def one(index: int) -> float:
        due = start + index / rate
        time.sleep(max(0.0, due - time.perf_counter()))
        with server.connect() as connection:
            status, _ = connection.ask(request)
        if status != 200:
            raise SystemExit(f"status {status}")
        return 1000 * (time.perf_counter() - due)

    with ThreadPoolExecutor(32) as threads:
        start = time.perf_counter() + 0.1
        times = np.array(list(threads.map(one, range(requests))))
    p50, p99 = map(float, np.percentile(times, [50, 99]))
    return {
        "short_side": side,
        "requests_per_s": round(rate, 2),
        "p50_ms": round(p50, 1),
        "p99_ms": round(p99, 1),
        "p99_over_p50": round(p99 / p50, 2),
    }


def overload(server: Server, picture: bytes, side: int, callers: int) -> dict[str, Any]:
    """Statuses of callers that ask at once, and ms until one more is refused meanwhile."""
    request = request_bytes(detect_path(side), picture)

    def one() -> int:
        with server.connect() as connection:
            return connection.ask(request)[0]

    refused = []
    with ThreadPoolExecutor(callers) as threads:
        asked = [threads.submit(one) for _ in range(callers)]
        while not all(each.done() for each in asked):
            with server.connect() as connection:
                start = time.perf_counter()
                if connection.ask(request)[0] == 503:
                    refused.append(1000 * (time.perf_counter() - start))
            time.sleep(0.01)
    times = (
        {"p50": np.percentile(refused, 50), "p99": np.percentile(refused, 99)} if refused else {}
    )
    return {
        "callers": callers,
        "statuses": dict(Counter(str(each.result()) for each in asked)),
        "refused": len(refused),
        "refused_ms": {name: round(float(value), 1) for name, value in times.items()},
    }


def long_run(
    server: Server, picture: bytes, expected: bytes, side: int, requests: int
) -> dict[str, Any]:
    """Answers that are lost or wrong, and growth of memory after the first tenth."""
    request = request_bytes(detect_path(side), picture)
    warm = requests // 10
    counts: Counter[str] = Counter()

    def some(count: int, _: int) -> None:
        with server.connect() as connection:
            for _ in range(count):
                status, body = connection.ask(request)
                counts["right" if (status, body) == (200, expected) else "wrong"] += 1

    memory = []
    with ThreadPoolExecutor(4) as threads:
        for count in (warm, requests - warm):
            list(threads.map(partial(some, count // 4), range(4)))
            memory.append(server.resident_mb())
    return {
        "short_side": side,
        "requests": sum(counts.values()),
        "lost_or_wrong": counts["wrong"],
        "resident_mb": [round(each, 1) for each in memory],
        "growth_mb": round(memory[1] - memory[0], 1),
    }


@app.default
def main(
    model: str = "dbnet-lines",
    /,
    *,
    short_side: int = 320,
    callers: int = 16,
    requests: int = 10_000,
    parallel: int = 2,
    json: Path | None = None,
) -> None:
    """Measure the server.

    Parameters
    ----------
    model
        Name or path of a model, on the CPU, one thread per network.
    short_side
        Short side of the network's input in pixels, for throughput and latency.
    callers
        Number of simultaneous callers.
    requests
        Number of requests of the long run; the other parts take a part of it.
    parallel
        Images that the server detects at the same time.
    json
        File for the numbers.
    """
    _, encoded = cv2.imencode(".jpg", text_scene(480, 640, 5, np.random.default_rng(0)))
    picture = encoded.tobytes()
    detector = Detector(model, device="cpu", cpu=CpuConfig(num_threads=1))
    small, some = 128, max(callers, requests // 100)
    report: dict[str, Any] = {"model": model}
    options = ["--port", "0", "--num-threads", "1", "--parallel", str(parallel)]
    with serving([sys.executable, "-m", "dbnet_trt", "serve", model, *options]) as server:
        report["ready_s"] = round(server.ready_s, 2)
        answers = {}
        for side in (small, short_side):
            with server.connect() as connection:
                status, body = connection.ask(request_bytes(detect_path(side), picture))
            answers[side] = body
            found = Detections.from_json(body.decode())
            expected = detector.detect(picture, size=SizePolicy(side))
            if status != 200 or len(found) != len(expected):
                raise SystemExit(f"status {status}, {len(found)} texts instead of {len(expected)}")
            if not np.allclose(found.quads, expected.quads, atol=0.01):
                raise SystemExit("the server's outlines are not those of detect")
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "cost": lambda: cost(server, detector, picture, small, max(2, some // 4)),
            "throughput": lambda: throughput(
                server, detector, picture, short_side, callers, max(2, some // callers)
            ),
            "latency": lambda: latency(server, picture, short_side, LOAD * rate(), some * 2),
            "overload": lambda: overload(server, picture, short_side, 5 * callers),
            "long_run": lambda: long_run(server, picture, answers[small], small, requests),
        }

        def rate() -> float:
            return float(np.median(report["throughput"]["images_per_s"]["served"]))

        for name, part in parts.items():
            tell(name)
            report[name] = part()
            print(name, report[name], flush=True)
    write_report(report, json)


if __name__ == "__main__":
    app()
