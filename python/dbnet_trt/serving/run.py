# SPDX-License-Identifier: Apache-2.0
"""Run the application in one process or several."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from .config import ServerConfig
from .metrics import FOLDER_VARIABLE

GRACE_S = 5
"""Seconds beyond the deadline that the requests in progress have when the server is stopped."""


def listen(config: ServerConfig) -> socket.socket:
    """Open the port.

    Raises:
        ValueError: It is in use, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise ValueError(
            f"cannot listen on {address(config.host, config.port)}: {error.strerror or error}; "
            "give another --host or --port"
        ) from error


def address(host: str, port: int) -> str:
    """Return host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(open_app: Callable[[], Any], config: ServerConfig, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, after which requests in progress are still answered.

    Args:
        open_app: Function that makes the application, once in each process; with several
            processes it is pickled.
        config: Settings of the server.
        listener: Socket that listens.
    """
    settings = uvicorn.Config(
        open_app,
        factory=True,
        workers=config.workers,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        http="h11",  # httptools, if it is installed, sets no limit on headers
        timeout_graceful_shutdown=round(config.deadline_s) + GRACE_S,
    )
    if config.workers == 1:
        uvicorn.Server(settings).run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="dbnet-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder  # before prometheus_client is imported by a worker
        Multiprocess(settings, sockets=[listener]).run()
