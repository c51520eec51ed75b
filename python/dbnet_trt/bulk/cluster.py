# SPDX-License-Identifier: Apache-2.0
"""The actors of a bulk run on a Ray cluster.

Each actor reads, searches and writes by itself: nothing else needs a CPU of the cluster, so actors
may take them all. Parts of an actor that ends, alone or with its node, are done by others; when
nodes come, actors are added.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import DBNetError, EngineError
from ..extras import install_hint
from .config import BulkConfig, counted
from .plan import Part
from .rows import Row
from .worker import Job, PartResult, Worker

MEMORY_PER_ACTOR = 1 << 30
"""Memory of a node per actor, in bytes: a detector with large photos takes up to 0.6 GB."""

PARTS_AT_ONCE = 2
"""Parts that an actor has, so that it does not wait for the next; on a GPU the images of the second
are decoded while the first is searched."""

MAX_ENDS = 3
"""Number of times that a part may end its actor before its images are searched one by one, and
of failures of another kind before the run ends: of one part, or in a row for each actor, as where
a store is out of reach."""

MAX_FAILED_STARTS = 5
"""Number of actors in a row that end before they have opened their model."""

CONNECT_SECONDS = 10.0
TICK_SECONDS = 1.0
LOOK_SECONDS = 5.0
"""Seconds between looks at the nodes of the cluster."""

WAIT_SECONDS = 60.0
"""Seconds without any actor after which it is said what is waited for."""

logger = logging.getLogger("dbnet_trt")


@dataclass(frozen=True, slots=True)
class Sizing:
    """Actors that a cluster holds."""

    num_actors: int
    num_nodes: int
    cpus: int
    """CPUs per actor."""

    gpus: int
    """GPUs per actor."""

    def __str__(self) -> str:
        each = counted(self.cpus, "CPU") + (" and 1 GPU" if self.gpus else "")
        return f"{counted(self.num_actors, 'actor')} of {each} on {counted(self.num_nodes, 'node')}"


def connect(address: str | None) -> Any:
    """Import Ray and join a cluster, unless one is joined already.

    Args:
        address: Its address, or "auto" for the one that runs on this machine; None takes
            RAY_ADDRESS if it is set, else this machine alone.

    Raises:
        ImportError: Ray is missing.
        DBNetError: There is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"a bulk run needs the package ray; {install_hint('ray')}") from error
    if ray.is_initialized():
        return ray
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING)
        return ray
    _check_address(address)
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise DBNetError(
            f"the Ray cluster at {address} cannot be joined ({error}); is Ray of the same version, "
            "and does the cluster ask for a token (RAY_AUTH_MODE=token)?"
        ) from error
    return ray


def _check_address(address: str) -> None:
    """Check that something listens at an address: Ray would try for minutes.

    Raises:
        DBNetError: Nothing does.
    """
    found = re.fullmatch(r"(?:ray://)?(.+):(\d{1,5})", address)
    if found is None:  # "auto", "local"
        return
    host, port = found.group(1).strip("[]"), int(found.group(2))
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise DBNetError(
            f"there is no Ray cluster at {address} ({error}); start one by `ray start --head`"
        ) from error


def size_actors(nodes: Iterable[dict[str, Any]], config: BulkConfig, wants_gpu: bool) -> Sizing:
    """Choose how many actors run on the living nodes of a cluster, and what each takes.

    Args:
        nodes: The nodes, as `ray.nodes()` lists them.
        config: Limits on actors.
        wants_gpu: Whether each actor needs a GPU.

    Raises:
        EngineError: No node holds one.
    """
    found = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = config.cpus_per_actor or 1
    if wants_gpu and not config.cpus_per_actor:
        shares = [each["CPU"] // each["GPU"] for each in found if each.get("GPU", 0) >= 1]
        cpus = int(max(1, min(shares, default=1)))
    counts = []
    for each in found:
        count = int(each.get("CPU", 0) // cpus)
        if wants_gpu:
            count = min(count, int(each.get("GPU", 0)))
        elif "memory" in each:
            count = min(count, max(1, int(each["memory"] // MEMORY_PER_ACTOR)))
        counts.append(count)
    if not sum(counts):
        what = f"{cpus} CPUs and a GPU" if wants_gpu else f"{cpus} CPUs"
        has = "; ".join(
            f"{each.get('CPU', 0):g} CPUs, {each.get('GPU', 0):g} GPUs" for each in found
        )
        raise EngineError(
            f"no node of the cluster has {what} for an actor; the nodes have: {has or 'nothing'}"
        )
    num_actors = min(sum(counts), config.num_actors or sum(counts))
    num_nodes = min(num_actors, sum(count > 0 for count in counts))
    return Sizing(num_actors, num_nodes, cpus, int(wants_gpu))


@dataclass(eq=False, slots=True)
class _Actor:
    handle: Any
    is_ready: bool = False
    num_parts: int = 0


@dataclass(slots=True)
class _Task:
    actor: _Actor
    part: Part | None
    """None while the actor opens its model."""


@dataclass(slots=True)
class _Pieces:
    """A part whose images are searched one by one."""

    part: Part
    rows: list[list[Row] | None]
    num_left: int


@dataclass(slots=True)
class Fleet:
    """Actors that share the parts of a run."""

    ray: Any
    job: Job
    sizing: Sizing
    check: Any
    """Function that gets each actor's description of its model, and raises ValueError if the
    results would be others."""

    num_lost: int = 0
    _actors: set[_Actor] = field(default_factory=set)
    _tasks: dict[Any, _Task] = field(default_factory=dict)
    _waiting: deque[Part] = field(default_factory=deque)
    _ends: Counter[Part] = field(default_factory=Counter)
    _pieces: dict[str, _Pieces] = field(default_factory=dict)
    _whole: deque[_Pieces] = field(default_factory=deque)
    _failed_starts: int = 0
    _failed_in_a_row: int = 0
    _looked: float = 0.0
    _last_ready: float = 0.0

    @property
    def num_ready(self) -> int:
        """Number of actors that are at work."""
        return sum(actor.is_ready for actor in self._actors)

    def run(self, parts: Iterable[Part]) -> Iterator[PartResult | None]:
        """Yield the results as they come, and None now and then.

        Raises:
            EngineError: The model cannot be opened, or runs on no image of a part.
            OSError: Results cannot be written.
            ValueError: Results would be others than those that are there.
        """
        self._waiting.extend(parts)
        self._last_ready = time.monotonic()
        try:
            while self._waiting or self._whole or any(task.part for task in self._tasks.values()):
                self._grow()
                self._assign()
                done = self._wait()
                for ref in done:
                    yield self._finish(ref)
                if not done:
                    self._mention_waiting()
                    yield None
        finally:
            for actor in self._actors:
                self.ray.kill(actor.handle)

    def _wait(self) -> list[Any]:
        """Wait a moment for one of the tasks."""
        if not self._tasks:  # no node is left, and Ray would not wait for none
            time.sleep(TICK_SECONDS)
            return []
        done, _ = self.ray.wait(list(self._tasks), num_returns=1, timeout=TICK_SECONDS)
        return list(done)

    def _grow(self) -> None:
        """Start actors where the cluster has room, also on nodes that came later."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS and self._looked:
            return
        self._looked = now
        try:
            room = size_actors(self.ray.nodes(), self.job.config, bool(self.sizing.gpus))
        except EngineError:  # all such nodes have gone: others may come
            return
        num_parts = len(self._waiting) + sum(task.part is not None for task in self._tasks.values())
        for _ in range(min(room.num_actors, num_parts) - len(self._actors)):
            handle = (
                self.ray.remote(Worker)
                .options(
                    num_cpus=self.sizing.cpus,
                    num_gpus=self.sizing.gpus,
                    max_restarts=0,
                    max_concurrency=PARTS_AT_ONCE if self.sizing.gpus else 1,
                    scheduling_strategy="SPREAD",
                )
                .remote(self.job)
            )
            actor = _Actor(handle)
            self._actors.add(actor)
            self._tasks[handle.describe.remote()] = _Task(actor, None)

    def _assign(self) -> None:
        """Give parts to the actors that have the fewest."""
        ready = [actor for actor in self._actors if actor.is_ready]
        for num_parts in range(PARTS_AT_ONCE):
            for actor in ready:
                if actor.num_parts != num_parts:
                    continue
                if self._whole:
                    pieces = self._whole.popleft()
                    part = pieces.part
                    ref = actor.handle.put_together.remote(part, pieces.rows)
                elif self._waiting:
                    part = self._waiting.popleft()
                    ref = actor.handle.run.remote(part)
                else:
                    return
                actor.num_parts += 1
                self._tasks[ref] = _Task(actor, part)

    def _finish(self, ref: Any) -> PartResult | None:
        """Take a result, or give the part to another actor."""
        errors = self.ray.exceptions
        task = self._tasks.pop(ref)
        try:
            result = self.ray.get(ref)
        except errors.RayActorError as error:
            self._lose(task, error)
            return None
        except errors.RayTaskError as error:
            self._fail(task, error.cause if isinstance(error.cause, Exception) else error)
            return None
        except errors.ObjectLostError:  # it lay on a node that is gone
            task.actor.num_parts -= 1
            if task.part is not None:
                self._waiting.append(task.part)
            return None
        self._last_ready = time.monotonic()
        if task.part is None:
            self.check(result)
            task.actor.is_ready, self._failed_starts = True, 0
            return None
        task.actor.num_parts -= 1
        self._failed_in_a_row = 0
        if result.rows is None:
            return result
        self._keep(result)
        return None

    def _lose(self, task: _Task, error: Exception) -> None:
        """Note an actor that has ended, and put its part back."""
        if task.actor in self._actors:
            self._actors.discard(task.actor)
            self.ray.kill(task.actor.handle)  # if it is only out of reach
            self._looked = 0.0
            if task.actor.is_ready:
                self.num_lost += 1
                logger.warning("an actor has ended, others do its parts: %s", _first_line(error))
        if task.part is not None:
            self._ends[task.part] += 1
            self._put_back(task.part)
            return
        self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise EngineError(
                f"{self._failed_starts} actors in a row have ended while they opened the model: "
                f"{_first_line(error)}; Ray's logs say more (/tmp/ray/session_latest/logs)"
            )

    def _fail(self, task: _Task, error: Exception) -> None:
        """Note an error of an actor that lives on."""
        if task.part is None:  # the model cannot be opened: elsewhere it will not either
            raise error
        task.actor.num_parts -= 1
        self._ends[task.part] += 1
        self._failed_in_a_row += 1
        is_over = self._failed_in_a_row >= MAX_ENDS * max(1, len(self._actors))
        if self._ends[task.part] >= MAX_ENDS or is_over:
            raise error
        logger.warning("%s is tried again: %s", task.part.name, error)
        self._waiting.append(task.part)

    def _put_back(self, part: Part) -> None:
        """Have a part done again: as it is, image by image, or without the image that it is."""
        if self._ends[part] < MAX_ENDS:
            self._waiting.appendleft(part)
        elif part.row is not None:
            self._keep(PartResult(part, 0, 0, 0, 0.0))
        elif part.name in self._pieces:  # they were being put together
            self._whole.append(self._pieces[part.name])
        else:
            logger.warning("%s has ended %d actors; its images are searched one by one",
                           part.name, MAX_ENDS)  # fmt: skip
            count = part.num_images
            self._pieces[part.name] = _Pieces(part, [None] * count, count)
            self._waiting.extend(replace(part, row=row) for row in range(count))

    def _keep(self, result: PartResult) -> None:
        """Keep the rows of one image until those of all of its part are there."""
        pieces = self._pieces[result.part.name]
        assert result.part.row is not None
        pieces.rows[result.part.row] = result.rows
        pieces.num_left -= 1
        if not pieces.num_left:
            self._whole.append(pieces)

    def _mention_waiting(self) -> None:
        """Say what is waited for if there has been no actor for a while."""
        if self.num_ready or time.monotonic() - self._last_ready < WAIT_SECONDS:
            return
        self._last_ready = time.monotonic()
        logger.warning(
            "no actor is at work; each needs %d CPUs and %d GPUs of one node, and the cluster has "
            "free: %s",
            self.sizing.cpus,
            self.sizing.gpus,
            {name: count for name, count in self.ray.available_resources().items()
             if name in ("CPU", "GPU")},
        )  # fmt: skip


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
