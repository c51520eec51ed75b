# SPDX-License-Identifier: Apache-2.0
"""Engines in forked processes: their threads stay behind in the parent."""

from __future__ import annotations

import os

from ..errors import EngineError


def check_process(owner: int, library: str) -> None:
    """Check that a library runs in the process that started it.

    Args:
        owner: Number of that process.
        library: Its name, for the message.

    Raises:
        EngineError: It does not: the call would wait for threads that are not there.
    """
    if owner != os.getpid():
        raise EngineError(
            f"this process was forked after {library} had started, whose threads are not there: "
            'start processes by multiprocessing.get_context("spawn"), or open detectors after the '
            "fork and none before it"
        )
