# SPDX-License-Identifier: Apache-2.0
"""Settings and limits of the server."""

from __future__ import annotations

from dataclasses import dataclass

MAX_PIXELS = 100_000_000
"""Default limit on width x height of an image that the server decodes: 300 MB of BGR."""

RETRY_AFTER_S = 1
"""Seconds after which a client that was refused by a busy server may try again."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Address, processes, batches and limits of the server."""

    host: str = "127.0.0.1"
    """Address to listen on; by default only this machine reaches it. 0.0.0.0 takes all."""

    port: int = 8000
    """Port to listen on; 0 takes a free one."""

    workers: int = 1
    """Number of processes, each with its own detector; one that dies is replaced."""

    parallel: int = 0
    """Number of batches per process that are detected at the same time; 0 takes one per core on a
    CPU, 8 at most, and 2 on a GPU."""

    max_batch: int = 0
    """Maximum number of images of different callers in one batch; 0 takes 1 on a CPU and 8 on a
    GPU."""

    max_delay_ms: float = 2.0
    """Milliseconds that an image waits at most for others of its size to fill a batch."""

    max_body_mb: float = 20.0
    """Largest body of a request, in megabytes (10^6 bytes)."""

    max_short_side: int = 2048
    """Largest short side of the network's input that a client may ask for, in pixels."""

    max_images: int = 32
    """Maximum number of images in one request of the open inference protocol."""

    max_requests: int = 64
    """Maximum number of requests per process that wait or are worked on; more are answered 503."""

    deadline_s: float = 30.0
    """Seconds after which a request is answered 504, or 408 if its body has not arrived."""

    def __post_init__(self) -> None:
        for name, least, most in (
            ("port", 0, 65535),
            ("workers", 1, 256),
            ("parallel", 0, 1024),
            ("max_batch", 0, 256),
            ("max_short_side", 32, 32768),
            ("max_images", 1, 4096),
            ("max_requests", 1, 1 << 20),
            ("max_delay_ms", 0, 1000),
            ("max_body_mb", 0.001, 2000),
            ("deadline_s", 0.01, 86400),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name} must lie between {least} and {most}, got {value}")

    @property
    def max_body_bytes(self) -> int:
        """Largest body of a request, in bytes."""
        return round(self.max_body_mb * 1e6)
