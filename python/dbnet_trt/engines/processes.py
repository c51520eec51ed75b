# SPDX-License-Identifier: Apache-2.0
"""Engines in forked processes: their threads stay behind in the parent."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator
from typing import Any, Protocol

from ..errors import EngineError


class NativeOwner(Protocol):
    """An engine whose library's objects wait for threads when they are destroyed."""

    def native_objects(self) -> Iterator[Any]:
        """Yield these objects."""


_owners: weakref.WeakSet[Any] = weakref.WeakSet()


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


def keep_in_forks(engine: NativeOwner) -> None:
    """Never destroy an engine's native objects in a forked process.

    Their destructors wait for threads that are not there: the process would hang at its end.
    """
    _owners.add(engine)


def _leak_native_objects() -> None:
    for owner in list(_owners):
        for each in owner.native_objects():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leak_native_objects)
