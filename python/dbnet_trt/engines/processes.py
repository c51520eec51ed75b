# SPDX-License-Identifier: Apache-2.0
"""Guards for engines in forked processes, where the library's threads are missing."""

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
        """Yield the objects of the library."""


_owners: weakref.WeakSet[Any] = weakref.WeakSet()


def check_process(owner: int, library: str) -> None:
    """Check that a library runs in the process that started it.

    Args:
        owner: Id of that process.
        library: Name of the library, for the message.

    Raises:
        EngineError: It runs in another process, and the call would wait for missing threads.
    """
    if owner != os.getpid():
        raise EngineError(
            f"this process was forked after {library} had started, whose threads are missing here: "
            'start processes by multiprocessing.get_context("spawn"), or open detectors after the '
            "fork and none before it"
        )


def keep_in_forks(engine: NativeOwner) -> None:
    """Keep an engine's native objects from being destroyed in a forked process.

    Their destructors would wait for missing threads, and the process would hang at its end.
    """
    _owners.add(engine)


def _leak_native_objects() -> None:
    for owner in list(_owners):
        for each in owner.native_objects():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leak_native_objects)
