# SPDX-License-Identifier: Apache-2.0
"""Ray nodes of one CPU on this machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_SECONDS = 300
"""Seconds that a node may take to start on a busy machine."""

RAY = (sys.executable, "-m", "ray.scripts.scripts")


COUNT = """
import logging, socket, sys
host, port = sys.argv[1].split(":")
socket.create_connection((host, int(port)), 1).close()
import ray
ray.init(address=sys.argv[1], logging_level=logging.ERROR)
print(sum(node["Alive"] for node in ray.nodes()))
"""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Cluster:
    """Ray nodes of one CPU on this machine, each in a process group of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._nodes: list[subprocess.Popen[bytes]] = []

    def add_node(self) -> None:
        """Start a node, the first as the head, and wait until it is there."""
        role = ["--address", self.address]
        if not self._nodes:
            role = ["--head", "--port", str(self.port), "--include-dashboard=false",
                    "--ray-client-server-port", str(free_port())]  # fmt: skip
        command = [*RAY, "start", "--block", *role, "--num-cpus",
                   "1", "--object-store-memory", "100000000", "--disable-usage-stats"]  # fmt: skip
        self._nodes.append(
            subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        deadline = time.monotonic() + START_SECONDS
        while self.num_alive() < len(self._nodes):
            if time.monotonic() > deadline:
                raise SystemExit(f"node {len(self._nodes)} has not started")
            time.sleep(1)

    def num_alive(self) -> int:
        """Count the living nodes, in a process of its own: this one joins when they are there."""
        asked = subprocess.run(
            [sys.executable, "-c", COUNT, self.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        return int(asked.stdout or 0)

    def kill_last(self) -> None:
        """Kill the processes of the last node by -9, as a machine ends that loses its power."""
        os.killpg(self._nodes.pop().pid, signal.SIGKILL)

    def close(self) -> None:
        """End all nodes."""
        for node in reversed(self._nodes):
            os.killpg(node.pid, signal.SIGKILL)
            node.wait()


@contextmanager
def cluster(num_nodes: int) -> Iterator[Cluster]:
    """Start nodes, and end them."""
    import ray

    nodes = Cluster()
    try:
        for _ in range(num_nodes):
            nodes.add_node()
        yield nodes
    finally:
        ray.shutdown()
        nodes.close()
