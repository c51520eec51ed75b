# SPDX-License-Identifier: Apache-2.0
"""Servers in processes of their own, and a client that costs next to nothing beside them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO

TIMEOUT_S = 300.0
READY_S = 120.0
STOP_S = 20.0


def request_bytes(
    path: str, body: bytes, content_type: str = "application/octet-stream", method: str = "POST"
) -> bytes:
    """Prepare a request, which is then sent as often as wanted."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def multipart(name: str, data: bytes, **fields: str) -> tuple[bytes, str]:
    """Return the body of a form with one file and further fields, and its content type."""
    disposition = "--part\r\nContent-Disposition: form-data; name="
    head = "".join(f'{disposition}"{key}"\r\n\r\n{value}\r\n' for key, value in fields.items())
    head += f'{disposition}"{name}"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head.encode() + data + b"\r\n--part--\r\n", "multipart/form-data; boundary=part"


class Connection:
    """Connection that is kept alive.

    `http.client` takes seven times as much CPU for a request with a photo, 0.3 ms on one core of
    an AMD EPYC, which would be counted as the server's where both share the cores.
    """

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; returns the status, 0 if the connection was closed, and the body."""
        # A server that refuses a body may close before it has been sent.
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(request)
        try:
            status = self._answers.readline()
            num_bytes = 0
            while (line := self._answers.readline()) not in (b"\r\n", b""):
                if line[:15].lower() == b"content-length:":
                    num_bytes = int(line[15:])
            return int(status.split(b" ", 2)[1]) if status else 0, self._answers.read(num_bytes)
        except ConnectionError:
            return 0, b""


@dataclass(frozen=True)
class Server:
    """A server on loopback."""

    process: subprocess.Popen[bytes]
    port: int
    ready_s: float = 0.0
    """Seconds from its start until it answered."""

    log: IO[str] | None = field(default=None, repr=False)

    def connect(self) -> Connection:
        """Open a connection, for a `with` block."""
        return Connection(self.port)

    def cpu_ms(self) -> float:
        """CPU time of the server's processes so far, of which none may have ended."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return 1000 * ticks / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        """Memory of the server's processes in RAM; what they share counts for each."""
        statm = (Path(f"/proc/{pid}/statm").read_text("ascii").split() for pid in self._pids())
        return sum(int(fields[1]) for fields in statm) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def _pids(self) -> list[int]:
        """Processes of the server: its own, and all that it has started."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text("ascii").split())
        return found


@contextlib.contextmanager
def serving(
    command: Sequence[str | Path], port: int = 0, health: str = "/health/ready"
) -> Iterator[Server]:
    """Start a server, and stop it after the `with` block.

    Args:
        command: Its command.
        port: Port at which it listens; 0 reads it from the line "serving on http://...".
        health: Path that answers when it is ready.
    """
    with tempfile.TemporaryFile("w+") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            request = request_bytes(health, b"", method="GET")
            while not (found := port or _port(log)) or not _answers(found, request):
                if process.poll() is not None or time.perf_counter() - start > READY_S:
                    raise SystemExit(f"{command} does not serve:\n{_read(log)}")
                time.sleep(0.02)
            yield Server(process, found, time.perf_counter() - start, log)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            with contextlib.suppress(ProcessLookupError):  # what it has started and left behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int, request: bytes) -> bool:
    try:
        with Connection(port) as connection:
            return connection.ask(request)[0] == 200
    except OSError:
        return False


def _port(log: IO[str]) -> int:
    found = re.search(r"serving on http://127.0.0.1:(\d+)", _read(log))
    return int(found[1]) if found else 0


def _read(log: IO[str]) -> str:
    log.seek(0)
    return log.read()
