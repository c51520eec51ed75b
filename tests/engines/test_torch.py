# SPDX-License-Identifier: Apache-2.0
"""PyTorch's GPU engine with a fake GPU: which calls it makes, in which order."""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from dbnet_trt import EngineError
from fakes.engines import CARD

torch = pytest.importorskip("torch")

from dbnet_trt.engines import torch as torch_engine  # noqa: E402

SHAPE = (1, 32, 64)


class FakeGpu:
    """Fake GPU that records calls in order; its memory is main memory."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.capturing = False
        self.free_after = 0
        """Number of runs that run out of memory."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cuda = torch.cuda
        log = self.log

        class Pool:
            def __init__(self) -> None:
                log.append("make pool")

            def __del__(self) -> None:
                log.append("free pool")

        class Device:
            def __init__(self, device: Any) -> None:
                self.index = device.index

            def __enter__(self) -> None:
                log.append(f"device {self.index}")

            def __exit__(self, *_: object) -> None:
                log.append(f"end device {self.index}")

        @contextlib.contextmanager
        def entered(name: str) -> Iterator[None]:
            log.append(name)
            yield
            log.append(f"end {name}")

        def use_mem_pool(pool: Any, device: Any) -> Any:
            assert isinstance(pool, Pool)
            return entered(f"pool of {cuda._utils._get_device_index(device)}")

        monkeypatch.setattr(cuda, "MemPool", Pool)
        monkeypatch.setattr(cuda, "synchronize", lambda device: None)
        monkeypatch.setattr(cuda, "device", Device)
        monkeypatch.setattr(cuda, "ExternalStream", lambda stream, device: stream)
        monkeypatch.setattr(cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(cuda, "use_mem_pool", use_mem_pool)
        monkeypatch.setattr(cuda, "empty_cache", lambda: log.append("empty cache"))
        monkeypatch.setattr(cuda, "is_current_stream_capturing", lambda: self.capturing)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    fake = FakeGpu()
    fake.install(monkeypatch)
    return fake


def open_green(gpu: FakeGpu, device: str = "cuda") -> Any:
    """Open an engine whose map is the green channel, in main memory."""

    class Green(torch.nn.Module):  # type: ignore[misc, name-defined]
        def to(self, *_: Any, **__: Any) -> Any:
            return self

        def forward(self, images: Any) -> Any:
            if gpu.free_after > 0:
                gpu.free_after -= 1
                raise torch.cuda.OutOfMemoryError("no memory")
            return images[:, 1]

    engine = torch_engine.TorchDeviceEngine(Green().eval(), CARD, device)
    tensors: dict[int, Any] = {}

    def tensor(pointer: int, shape: tuple[int, ...]) -> Any:
        return tensors.setdefault(pointer, torch.ones(shape, dtype=torch.float16))

    engine._tensor = tensor  # type: ignore[method-assign]
    return engine


def test_pool_is_made_and_used_on_the_engines_gpu(gpu: FakeGpu) -> None:
    engine = open_green(gpu, "cuda:1")
    assert gpu.log == ["device 1", "make pool", "end device 1"]
    gpu.log.clear()
    engine.enqueue(1, 2, SHAPE, 7)
    assert gpu.log == ["pool of 1", "end pool of 1"]
    assert engine.ordinal == 1


@pytest.mark.parametrize("device", ["cuda", "auto"])
def test_device_without_a_number_is_the_first(gpu: FakeGpu, device: str) -> None:
    engine = open_green(gpu, device)
    engine.enqueue(1, 2, SHAPE, 7)  # PyTorch needs a device number for the pool
    assert "pool of 0" in gpu.log
    np.testing.assert_array_equal(engine._tensor(2, SHAPE), np.ones(SHAPE, np.float16))


def test_full_memory_is_emptied_of_what_pytorch_keeps(gpu: FakeGpu) -> None:
    engine = open_green(gpu)
    gpu.log.clear()
    gpu.free_after = 1
    engine.enqueue(1, 2, SHAPE, 7)
    assert gpu.log == ["pool of 0", "empty cache", "pool of 0", "end pool of 0"]
    gpu.free_after = 2
    with pytest.raises(EngineError, match="no memory left.*smaller batch_size"):
        engine.enqueue(1, 2, SHAPE, 7)


def test_nothing_is_freed_while_capturing(gpu: FakeGpu) -> None:
    engine = open_green(gpu)
    gpu.log.clear()
    gpu.capturing, gpu.free_after = True, 1
    with pytest.raises(EngineError, match="no memory left"):
        engine.enqueue(1, 2, SHAPE, 7)
    assert gpu.log == ["pool of 0"]


def test_pool_is_freed_when_nothing_is_enqueued(gpu: FakeGpu) -> None:
    open_green(gpu)
    gc.collect()
    assert gpu.log[-1] == "free pool"


def test_pool_is_kept_while_others_enqueue(gpu: FakeGpu) -> None:
    """PyTorch ends the process if a pool is freed while another is in use."""
    lasting, passing = open_green(gpu), [open_green(gpu)]

    class Slow(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, images: Any) -> Any:
            thread = threading.Thread(target=passing.clear)
            thread.start()
            thread.join()
            gc.collect()
            return images[:, 1]

    lasting._model = Slow()
    gpu.log.clear()
    lasting.enqueue(1, 2, SHAPE, 7)
    assert gpu.log == ["pool of 0", "end pool of 0"]
    gpu.log.clear()
    lasting.enqueue(1, 2, SHAPE, 7)
    assert gpu.log == ["free pool", "pool of 0", "end pool of 0"]
