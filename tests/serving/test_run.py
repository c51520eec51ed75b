# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet serve` as processes: start, signals, workers that die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx2 as httpx
import pytest
from dbnet_trt.cli.app import main
from dbnet_trt.cli.console import ERROR
from fakes.tiny_model import make_model, scene

TIMEOUT = 60.0
LARGE = cv2.imencode(".png", scene(1000, 1600))[1].tobytes()


@contextmanager
def serving(
    folder: Path, *options: str, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a server; yields its address and process, and its log is in folder/log."""
    model = make_model(folder / "tiny.onnx")
    command = [sys.executable, "-m", "dbnet_trt", "serve", str(model), "--port", "0"]
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--num-threads", "1", *options],
            stderr=file,
            text=True,
            env=os.environ | environment,
        )
    try:
        address = None
        for _ in range(int(TIMEOUT / 0.1)):
            told = re.search(r"serving on (\S+);", log.read_text())
            if told:
                address = told[1]
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        assert address is not None, log.read_text()
        yield address, process
    finally:
        process.kill()
        process.wait()


def workers(parent: int) -> set[int]:
    """Processes of a server that have answered: its children that import the application."""
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
    spawned = b"spawn_main"
    return {
        int(pid) for pid in text.split() if spawned in Path(f"/proc/{pid}/cmdline").read_bytes()
    }


@pytest.mark.slow
def test_sigterm_lets_requests_end(tmp_path: Path) -> None:
    answers: list[int] = []
    with serving(tmp_path, "--parallel", "1") as (address, process):
        with httpx.Client(base_url=address, timeout=TIMEOUT) as client:
            assert client.get("/health/ready").status_code == 200

        def ask() -> None:
            answers.append(
                httpx.post(f"{address}/detect", content=LARGE, timeout=TIMEOUT).status_code
            )

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(600):
            text = httpx.get(f"{address}/metrics", timeout=TIMEOUT).text
            if 'dbnet_requests_total{code="200",route="/detect"}' in text:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert process.wait(TIMEOUT) == -signal.SIGTERM
    assert answers == [200] * 8
    assert (tmp_path / "log").read_text().count("POST /detect 200") == 8


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_killed_is_replaced(tmp_path: Path) -> None:
    with serving(tmp_path, "--workers", "2") as (address, process):
        url = f"{address}/detect"
        assert httpx.post(url, content=LARGE, timeout=TIMEOUT).status_code == 200
        before = workers(process.pid)
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        statuses = []
        for _ in range(20):  # a new connection each, of which only those of the dead one fail
            try:
                statuses.append(httpx.post(url, content=LARGE, timeout=TIMEOUT).status_code)
            except httpx.HTTPError:
                statuses.append(0)
        assert statuses.count(200) >= 19
        for _ in range(int(TIMEOUT / 0.1)):
            if len(workers(process.pid) - {min(before)}) == 2:
                break
            time.sleep(0.1)
        assert len(workers(process.pid) - {min(before)}) == 2
        text = httpx.get(f"{address}/metrics", timeout=TIMEOUT).text
        counted = re.search(r'requests_total\{code="200",route="/detect"\} (\d+)', text)
        assert counted is not None
        assert int(counted[1]) == 1 + statuses.count(200)  # those of both workers
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0


@pytest.mark.slow
def test_keys_come_from_a_file_and_the_environment(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("first\nsecond\n")
    with serving(tmp_path, "--api-key-file", str(keys), DBNET_API_KEY="third") as (address, _):
        for key, status in (("first", 200), ("second", 200), ("third", 200), ("fourth", 401)):
            answer = httpx.get(f"{address}/metrics", headers={"X-API-Key": key})
            assert answer.status_code == status


def test_faults_of_the_command_line_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    model = str(make_model(tmp_path / "tiny.onnx"))
    for arguments, message in (
        (["nothing.onnx", "--port", "0"], "nothing.onnx"),
        ([model, "--port", "70000"], "port must lie between 0 and 65535"),
        ([model, "--port", "0", "--host", "192.0.2.1"], "give another --host or --port"),
        ([model, "--model", model], "two models are given"),
        ([model, "--api-key-file", str(empty)], "holds no key"),
        ([model, "--api-key-file", str(tmp_path / "none")], "cannot be read"),
    ):
        assert main(["serve", *arguments]) == ERROR
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    monkeypatch.setenv("DBNET_API_KEY", " ")
    assert main(["serve", model]) == ERROR
    assert "DBNET_API_KEY is set but empty" in capsys.readouterr().err
