# SPDX-License-Identifier: Apache-2.0
"""Pairs of the same detector, on the fake GPU and on the CPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from dbnet_trt import Detector
from dbnet_trt.settings import GpuConfig

from fakes.cuda import FakeCuda
from fakes.engines import CARD, GreenOnCpu


class GreenOnGpu:
    """Engine whose map is the green channel, enqueued on a stream."""

    card = CARD
    description = "green, GPU"

    def __init__(self, cuda: FakeCuda, is_half: bool = False) -> None:
        self._cuda, self.input_is_half, self.output_is_half = cuda, is_half, is_half
        self.prepared: list[tuple[int, int, int]] = []
        self.num_enqueues = 0
        self.before_enqueue: Callable[[], object] = lambda: None

    def prepare(self, batch: int, height: int, width: int) -> None:
        self.prepared.append((batch, height, width))

    def release(self, batch: int, height: int, width: int) -> None:
        self.prepared.remove((batch, height, width))

    def enqueue(
        self, input_pointer: int, output_pointer: int, shape: tuple[int, int, int], stream: int
    ) -> None:
        self.num_enqueues += 1
        self.before_enqueue()
        batch, height, width = shape
        assert shape in self.prepared
        plane = height * width * (2 if self.input_is_half else 4)
        for i in range(batch):
            source = input_pointer + (3 * i + 1) * plane
            self._cuda.copy(output_pointer + i * plane, source, plane, stream)


class OnDevice:
    """Array in main memory that claims to be on the device, as that of the fake runtime."""

    def __init__(self, array: np.ndarray, **interface: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__array_interface__, "version": 2, **interface}


class OnDeviceByDLPack:
    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.streams: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__()


@dataclasses.dataclass(frozen=True)
class Pair:
    """Same detector on the fake GPU and on the CPU."""

    gpu: Detector
    cpu: Detector
    engine: GreenOnGpu


def make_pair(cuda: FakeCuda, *, is_half: bool = False, **config: Any) -> Pair:
    engine = GreenOnGpu(cuda, is_half)
    on_cpu = Detector(GreenOnCpu(np.float16 if is_half else np.float32))
    return Pair(Detector(engine, gpu=GpuConfig(**config)), on_cpu, engine)
