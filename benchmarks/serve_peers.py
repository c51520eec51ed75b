# SPDX-License-Identifier: Apache-2.0
"""`dbnet serve` beside other servers of OCR, over loopback, on the same photos.

    python benchmarks/serve_peers.py --peers-python PYTHON --photos FOLDER [--json FILE]

PYTHON is that of an environment with rapidocr, onnxruntime, litserve and rapidocr-api. All servers
run PP-OCRv6_det_small.onnx in ONNX Runtime. LitServe and `dbnet serve` only detect; RapidOCRAPI
also reads, as it answers 500 when it is asked to detect alone. Servers take turns.
"""

from __future__ import annotations

import json as json_module
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cyclopts import App
from loopback import Server, multipart, request_bytes, serving
from measure import summary, tell, write_report

app = App(help="Compare servers under load.")
LARGE_BYTES = 64_000_000
PACKAGES = ("litserve", "onnxruntime", "rapidocr", "rapidocr-api", "fastapi", "uvicorn")
OURS = (
    *("-m", "dbnet_trt", "serve", "ppocrv6-small", "--port", "0", "--backend", "onnxruntime"),
    *("--num-threads", "1"),
)


@dataclass(frozen=True)
class Peer:
    """A server, and how it is asked."""

    name: str
    does: str
    command: list[str]
    port: int
    health: str
    path: str
    part: str
    count: Callable[[Any], int]
    """Function from its JSON to the number of texts."""

    def request(self, picture: bytes) -> bytes:
        """Prepare the request for one picture."""
        return request_bytes(self.path, *multipart(self.part, picture))


def peers(python: Path) -> list[Peer]:
    """Return the servers."""
    litserve, rapidocr = _free_port(), _free_port()
    script = str(Path(__file__).with_name("serve_litserve.py"))
    return [
        Peer(
            "dbnet serve",
            "detects",
            [sys.executable, *OURS],
            0,
            "/health/ready",
            "/detect",
            "file",
            lambda found: len(found["quads"]),
        ),
        Peer(
            "LitServe, RapidOCR",
            "detects",
            [str(python), script, str(litserve)],
            litserve,
            "/health",
            "/predict",
            "file",
            lambda found: len(found["boxes"]),
        ),
        Peer(
            "RapidOCRAPI",
            "detects and reads",
            [str(python), "-m", "rapidocr_api.main", "-ip", "127.0.0.1", "-p", str(rapidocr)],
            rapidocr,
            "/",
            "/ocr",
            "image_file",
            len,
        ),
    ]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Load:
    """Results of one server under load, over all rounds."""

    seconds: float = 0.0
    cpu_ms: float = 0.0
    times_ms: list[float] = field(default_factory=list)

    def add_round(self, server: Server, requests: list[bytes], callers: int) -> None:
        """Send each request once from each caller."""

        def call(caller: int) -> list[float]:
            times = []
            with server.connect() as connection:
                for place in range(len(requests)):
                    start = time.perf_counter()
                    status, _ = connection.ask(requests[(place + caller) % len(requests)])
                    if status != 200:
                        raise SystemExit(f"a server answers {status}")
                    times.append(1000 * (time.perf_counter() - start))
            return times

        start, cpu_ms = time.perf_counter(), server.cpu_ms()
        with ThreadPoolExecutor(callers) as threads:
            for times in threads.map(call, range(callers)):
                self.times_ms += times
        self.seconds += time.perf_counter() - start
        self.cpu_ms += server.cpu_ms() - cpu_ms

    def report(self) -> dict[str, Any]:
        """Summarise all rounds."""
        number = len(self.times_ms)
        return {
            "requests": number,
            "requests_per_s": round(number / self.seconds, 3),
            "cpu_ms": round(self.cpu_ms / number, 1),
            **summary(np.array(self.times_ms)),
        }


def warm_up(server: Server, peer: Peer, requests: list[bytes]) -> int:
    """Send each request once, which loads what is loaded late; returns the number of texts."""
    with server.connect() as connection:
        answers = [connection.ask(request) for request in requests]
    if any(status != 200 for status, _ in answers):
        raise SystemExit(f"{peer.name} answers {[status for status, _ in answers]}")
    return sum(peer.count(json_module.loads(body)) for _, body in answers)


def faults(server: Server, peer: Peer, picture: bytes) -> dict[str, int]:
    """Statuses for what is no picture; 0 is a connection that was closed without an answer."""
    bodies = {
        "empty request": request_bytes(peer.path, b""),
        "broken image": peer.request(b"no picture"),
        "body of 64 MB": peer.request(bytes(LARGE_BYTES)),
    }
    if peer.name == "RapidOCRAPI":  # last, as the server keeps the option for later requests
        alone = multipart(peer.part, picture, use_rec="false")
        bodies["detection alone"] = request_bytes(peer.path, *alone)
    found = {}
    for name, request in bodies.items():
        with server.connect() as connection:
            found[name] = connection.ask(request)[0]
    return found


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the other servers' packages."""
    command = [str(python), "-m", "pip", "list", "--format", "json"]
    listed = json_module.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return {each["name"]: each["version"] for each in listed if each["name"] in PACKAGES}


@app.default
def main(
    *,
    peers_python: Path,
    photos: Path,
    number: int = 8,
    callers: int = 4,
    rounds: int = 5,
    json: Path | None = None,
) -> None:
    """Compare the servers.

    Parameters
    ----------
    peers_python
        Python of the environment with the other servers.
    photos
        Folder of photos, of which the first `number` are taken.
    number
        Number of photos.
    callers
        Number of simultaneous callers, each of which sends each photo.
    rounds
        Number of rounds, in each of which the servers take turns.
    json
        File for the numbers.
    """
    files = sorted(file for file in photos.iterdir() if file.suffix.lower() in (".jpg", ".png"))
    pictures = [file.read_bytes() for file in files[:number]]
    report: dict[str, Any] = {
        "photos": len(pictures),
        "callers": callers,
        "versions": versions(peers_python),
    }
    with ExitStack() as stack:
        servers = []
        for peer in peers(peers_python):
            tell(peer.name)
            server = stack.enter_context(serving(peer.command, peer.port, peer.health))
            requests = [peer.request(picture) for picture in pictures]
            report[peer.name] = {"does": peer.does, "texts": warm_up(server, peer, requests)}
            servers.append((peer, server, requests, Load()))
        for number_of_round in range(rounds):
            tell(f"round {number_of_round + 1} of {rounds}")
            for _, server, requests, load in servers:
                load.add_round(server, requests, callers)
        for peer, server, _, load in servers:
            report[peer.name] |= {
                **load.report(),
                "resident_mb": round(server.resident_mb(), 1),
                "statuses": faults(server, peer, pictures[0]),
            }
            print(peer.name, report[peer.name], flush=True)
    write_report(report, json)


if __name__ == "__main__":
    app()
