# SPDX-License-Identifier: Apache-2.0
"""The actors' scheduler, on a Ray that is played: no part is lost, whatever ends."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from dbnet_trt import DBNetError, EngineError
from dbnet_trt.bulk import BulkConfig, cluster
from dbnet_trt.bulk.cluster import MAX_ENDS, Fleet, Sizing, connect, size_actors
from dbnet_trt.bulk.config import DetectorSpec
from dbnet_trt.bulk.plan import Part
from dbnet_trt.bulk.storage import Storage
from dbnet_trt.bulk.worker import Job, PartResult


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class ObjectLostError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """Actors that answer in a random order, and end as they are told."""

    exceptions = SimpleNamespace(
        RayActorError=RayActorError, RayTaskError=RayTaskError, ObjectLostError=ObjectLostError
    )

    def __init__(self, answer: Callable[[Any, str, tuple[Any, ...]], Any], cpus: int = 4) -> None:
        self.answer, self.cpus = answer, cpus
        self.chance = random.Random(3)
        self.tasks: dict[object, tuple[Any, str, tuple[Any, ...]]] = {}
        self.dead: set[object] = set()
        self.handles: list[Any] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": float(self.cpus)}}]

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 0.0}

    def remote(self, kind: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._create))

    def _create(self, job: Job) -> Any:
        handle = SimpleNamespace()
        for name in ("describe", "run", "put_together"):
            setattr(handle, name, SimpleNamespace(remote=self._caller(handle, name)))
        self.handles.append(handle)
        return handle

    def _caller(self, handle: Any, name: str) -> Callable[..., object]:
        def call(*arguments: Any) -> object:
            ref = object()
            self.tasks[ref] = (handle, name, arguments)
            return ref

        return call

    def wait(self, refs: list[object], num_returns: int, timeout: float) -> Any:
        assert refs, "Ray refuses to wait for nothing"
        dead = [ref for ref in refs if id(self.tasks[ref][0]) in self.dead]
        return [self.chance.choice(dead or refs)], []

    def get(self, ref: object) -> Any:
        handle, name, arguments = self.tasks.pop(ref)
        if id(handle) in self.dead:
            raise RayActorError("it is gone")
        try:
            return self.answer(handle, name, arguments)
        except RayActorError:
            self.dead.add(id(handle))
            raise

    def kill(self, handle: Any) -> None:
        self.dead.add(id(handle))


def run_part(name: str, arguments: tuple[Any, ...]) -> Any:
    if name == "describe":
        return {"model": "tiny"}
    part = arguments[0]
    rows = [{"path": str(part.row)}] if part.row is not None else None
    return PartResult(part, part.num_images, 0, 0, 0.0, rows)


def make_fleet(ray: FakeRay, check: Callable[[Any], object] = lambda _: None) -> Fleet:
    job = Job(DetectorSpec(), BulkConfig(), "/out", Storage(), Storage(), (), 1)
    return Fleet(ray, job, Sizing(ray.cpus, 1, 1, 0), check)


PARTS = [Part(0, group, 5) for group in range(40)]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(cluster, "TICK_SECONDS", 0.0)


def done(fleet: Fleet, parts: list[Part] = PARTS) -> list[str]:
    return [result.part.name for result in fleet.run(parts) if result is not None]


def test_each_part_is_done_once_and_actors_are_ended() -> None:
    ray = FakeRay(lambda handle, name, arguments: run_part(name, arguments))
    assert sorted(done(make_fleet(ray))) == [part.name for part in PARTS]
    assert len(ray.handles) == 4
    assert {id(handle) for handle in ray.handles} == ray.dead


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_actors_that_end_are_done_by_others(seed: int) -> None:
    chance = random.Random(seed)

    def answer(handle: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "run" and arguments[0].row is None and chance.random() < 0.15:
            raise RayActorError("the node is gone")
        if name == "run" and chance.random() < 0.05:
            raise ObjectLostError("the node is gone")
        return run_part(name, arguments)

    fleet = make_fleet(FakeRay(answer))
    assert sorted(done(fleet)) == [part.name for part in PARTS]
    assert fleet.num_lost > 0


def test_nodes_that_come_get_actors_and_those_that_go_are_not_waited_for() -> None:
    ray = FakeRay(lambda handle, name, arguments: run_part(name, arguments), cpus=1)
    fleet, found = make_fleet(ray), []
    for result in fleet.run(PARTS):
        if result is None:
            continue
        found.append(result.part.name)
        if len(found) == 5:
            ray.cpus = 3
        if len(found) == 20:
            ray.cpus = 0
            ray.dead.update(map(id, ray.handles))
            break_at = len(ray.handles)
        if len(found) == 20 or (len(found) > 5 and fleet.num_ready == 0):
            ray.cpus = 2
    assert sorted(found) == [part.name for part in PARTS]
    assert break_at == 3
    assert len(ray.handles) > 3


def test_an_image_that_ends_each_process_is_found() -> None:
    poison = PARTS[7]
    put_together: list[tuple[Part, list[Any]]] = []

    def answer(handle: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "put_together":
            put_together.append(arguments)
            return PartResult(arguments[0], 5, 0, 1, 0.0)
        if name == "run" and arguments[0].name == poison.name and arguments[0].row in (None, 3):
            raise RayActorError("a segmentation fault")
        return run_part(name, arguments)

    assert sorted(set(done(make_fleet(FakeRay(answer))))) == [part.name for part in PARTS]
    ((rows,),) = [[rows] for part, rows in put_together if part == poison]
    assert [row is None for row in rows] == [False, False, False, True, False]
    assert rows[4] == [{"path": "4"}]


def test_an_error_of_the_network_ends_the_run_after_some_tries() -> None:
    tries: list[Part] = []

    def answer(handle: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "run" and arguments[0] == PARTS[2]:
            tries.append(PARTS[2])
            raise RayTaskError(EngineError("the GPU was lost"))
        return run_part(name, arguments)

    with pytest.raises(EngineError, match="GPU was lost"):
        done(make_fleet(FakeRay(answer)))
    assert len(tries) == MAX_ENDS


def test_a_store_out_of_reach_ends_the_run_before_all_parts_are_tried() -> None:
    tries: list[Part] = []

    def answer(handle: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "run":
            tries.append(arguments[0])
            if len(tries) > 20:
                raise RayTaskError(OSError("s3://scans cannot be reached"))
        return run_part(name, arguments)

    ray = FakeRay(answer)
    with pytest.raises(OSError, match="cannot be reached"):
        done(make_fleet(ray))
    assert len(tries) == 20 + MAX_ENDS * len(ray.handles)
    assert {id(handle) for handle in ray.handles} == ray.dead


def test_a_model_that_cannot_be_opened_ends_the_run() -> None:
    def answer(handle: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        raise RayTaskError(EngineError("there is no file x.onnx"))

    with pytest.raises(EngineError, match=r"no file x.onnx"):
        done(make_fleet(FakeRay(answer)))


def test_actors_that_end_while_they_open_the_model_end_the_run() -> None:
    def answer(handle: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        raise RayActorError("out of memory")

    with pytest.raises(EngineError, match="5 actors in a row have ended .* out of memory"):
        done(make_fleet(FakeRay(answer)))


def test_another_model_ends_the_run_before_a_part_is_done() -> None:
    def check(told: dict[str, Any]) -> None:
        raise ValueError(f"made with another model than {told['model']}")

    ray = FakeRay(lambda handle, name, arguments: run_part(name, arguments))
    with pytest.raises(ValueError, match="another model than tiny"):
        done(make_fleet(ray, check))
    assert {id(handle) for handle in ray.handles} == ray.dead


def node(alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "config", "wants_gpu", "expected"),
    [
        ([node(CPU=4), node(CPU=2), node(False, CPU=8)], BulkConfig(), False, (6, 2, 1)),
        ([node(CPU=4), node(CPU=2)], BulkConfig(num_actors=1), False, (1, 1, 1)),
        ([node(CPU=4), node(CPU=3)], BulkConfig(cpus_per_actor=2), False, (3, 2, 2)),
        ([node(CPU=64, memory=8 << 30)], BulkConfig(), False, (8, 1, 1)),
        ([node(CPU=1, memory=1 << 20)], BulkConfig(), False, (1, 1, 1)),
        ([node(), node(CPU=2)], BulkConfig(), False, (2, 1, 1)),
        ([node(CPU=16, GPU=2), node(CPU=64)], BulkConfig(), True, (2, 1, 8)),
        ([node(CPU=16, GPU=2), node(CPU=4, GPU=4)], BulkConfig(), True, (6, 2, 1)),
        ([node(CPU=16, GPU=2)], BulkConfig(cpus_per_actor=12), True, (1, 1, 12)),
    ],
)
def test_actors_fit_the_nodes(
    nodes: list[Any], config: BulkConfig, wants_gpu: bool, expected: tuple[int, int, int]
) -> None:
    found = size_actors(nodes, config, wants_gpu)
    assert (found.num_actors, found.num_nodes, found.cpus) == expected
    assert found.gpus == wants_gpu
    assert str(found).startswith(f"{expected[0]} actor")


def test_no_room_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(EngineError, match=r"has 4 CPUs .* the nodes have: 2 CPUs, 0 GPUs"):
        size_actors([node(CPU=2)], BulkConfig(cpus_per_actor=4), False)
    with pytest.raises(EngineError, match="and a GPU"):
        size_actors([node(CPU=2)], BulkConfig(), True)


def test_a_part_of_one_row_has_the_name_of_its_part() -> None:
    assert replace(PARTS[3], row=2).name == PARTS[3].name


def test_an_address_where_nothing_is() -> None:
    pytest.importorskip("ray")
    with pytest.raises(DBNetError, match="no Ray cluster at 127.0.0.1:9"):
        connect("127.0.0.1:9")
