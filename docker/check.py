# SPDX-License-Identifier: Apache-2.0
"""Build docker/Dockerfile where there is no Docker daemon, run the image, and check it.

    python docker/check.py PHOTO [BUILDAH'S OPTIONS FOR build]

Needs root and buildah (Debian: `apt install buildah`), which runs the steps in a chroot: memory
limits, dropped capabilities and a read-only root are not tried, and the server shares the network
of the machine. Base images are those of buildah's storage, or are pulled.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[1]
URL = "http://127.0.0.1:8000"
WRITABLE = {"/tmp", "/var/tmp", "/run/lock", "/dev/mqueue", "/dev/shm", "/home/dbnet"}
"""Folders in which the image's user may write, as in any Debian, and its home."""


def output(*command: str) -> str:
    """Run a command; returns what it prints."""
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout


def inside(container: str, command: Sequence[str]) -> list[str]:
    """Return what runs a command in the container, as its user and with its environment."""
    return ["buildah", "run", "--isolation", "chroot", container, "--", *command]


def descendants(pid: int) -> list[int]:
    """Processes that a process has started, and those that these have."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            found += map(int, children.read_text("ascii").split())
    return found[1:]


def detect(photo: bytes) -> dict[str, Any]:
    """Ask the server for the text in a photo."""
    with urllib.request.urlopen(f"{URL}/detect", photo, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def expect(is_so: bool, what: str) -> None:
    """Print what was checked, or end where it is not so."""
    if not is_so:
        raise SystemExit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def main(photo: Path, options: list[str]) -> None:
    """Build, run, check."""
    dockerfile = ["-f", str(SOURCE / "docker/Dockerfile"), str(SOURCE)]
    build = ["buildah", "build", "--isolation", "chroot", "--layers", "--format", "docker"]
    subprocess.run([*build, "-t", "dbnet-trt", *options, *dockerfile], check=True)
    config = json.loads(output("buildah", "inspect", "--type", "image", "dbnet-trt"))["Docker"][
        "config"
    ]
    expect(config["User"] == "dbnet", "the image's user is dbnet")
    container = output("buildah", "from", "dbnet-trt").strip()
    try:
        check(container, config, photo.read_bytes())
    finally:
        output("buildah", "rm", container)


def check(container: str, config: dict[str, Any], photo: bytes) -> None:
    """Run the server in a container, and check what is said of it."""
    command = ["find", "/", "-xdev", "-type", "d", "-writable"]
    find = inside(container, command)
    found = subprocess.run(find, text=True, capture_output=True, check=False).stdout
    folders = {each for each in found.split() if not each.startswith(("/proc", "/home/dbnet/"))}
    expect(folders <= WRITABLE, f"its user may write in {sorted(folders)} only")

    health = inside(container, config["Healthcheck"]["Test"][1:])

    def is_healthy() -> bool:
        return subprocess.run(health, capture_output=True, check=False).returncode == 0

    server = subprocess.Popen(inside(container, config["Entrypoint"]))
    deadline = time.monotonic() + 120
    while not is_healthy() and time.monotonic() < deadline:
        time.sleep(1)
    expect(is_healthy(), "the health check succeeds")
    expect(len(detect(photo)["quads"]) > 0, "the server finds text")

    own = [each for each in descendants(server.pid) if b"/dbnet" in command_line(each)]
    users = {os.stat(f"/proc/{each}").st_uid for each in own}
    expect(users == {1000}, f"its processes run as {users}")
    answers: list[dict[str, Any]] = []
    callers = [threading.Thread(target=lambda: answers.append(detect(photo))) for _ in range(4)]
    for each in callers:
        each.start()
    time.sleep(0.2)
    os.kill(own[-1], signal.SIGTERM)
    for each in callers:
        each.join()
    server.wait(60)
    expect(len(answers) == 4, "4 requests are answered after SIGTERM, and the server ends")
    expect(not is_healthy(), "the health check fails then")


def command_line(pid: int) -> bytes:
    """Return the command line of a process; b"" if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
