# SPDX-License-Identifier: Apache-2.0
"""Checkpoints run by PyTorch, to try a model in training without an export."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..card import ModelCard
from ..errors import EngineError
from ..settings import device_ordinal

if TYPE_CHECKING:
    import torch

_ALLOCATING = threading.Lock()
"""Lock held while PyTorch allocates from one of our memory pools: only one thread may at a time,
and PyTorch ends the process if any pool is destroyed meanwhile."""

_retired: list[Any] = []
"""Memory pools of deleted engines, kept until nothing is allocated or captured."""


class TorchEngine:
    """A PyTorch network as an engine. May be called from several threads at once."""

    def __init__(
        self, model: Callable[[torch.Tensor], torch.Tensor], card: ModelCard, device: str = "cpu"
    ) -> None:
        """Wrap a network.

        Args:
            model: Network in evaluation mode, on `device`; (B, 3, h, w) float32 -> (B, h, w).
            card: Card of the model.
            device: "cpu", "cuda" or "cuda:0".
        """
        self._model, self._device, self.card = model, device, card
        self.description = f"PyTorch, {device}"

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network on (B, 3, h, w) float32 and return (B, h, w) float32."""
        import torch

        with torch.inference_mode():
            values = self._model(torch.from_numpy(batch).to(self._device))
        return np.asarray(values.float().cpu().numpy(), np.float32)


class TorchDeviceEngine:
    """A PyTorch network in FP16 and channels-last, enqueued on the stream of the GPU pipeline."""

    input_is_half = True
    output_is_half = True

    def __init__(self, model: torch.nn.Module, card: ModelCard, device: str = "cuda") -> None:
        """Wrap a network.

        Args:
            model: Network in evaluation mode; (B, 3, h, w) -> (B, h, w). It is moved to `device`.
            card: Card of the model.
            device: "cuda" or "cuda:0".
        """
        import torch

        self.ordinal = device_ordinal(device)
        self._device = torch.device("cuda", self.ordinal)
        self._model = model.to(self._device, torch.float16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.card = card
        self.description = f"PyTorch {torch.__version__}, {self._device}, fp16"
        # Graphs hold addresses of the network's working memory, so it has a pool of its own, which
        # is never released. Shapes share it, as they run one after the other.
        with torch.cuda.device(self._device):
            self._pool = torch.cuda.MemPool()
        self._tensors: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}
        torch.cuda.synchronize(self._device)  # any stream may use the weights now

    def __del__(self) -> None:
        if "_pool" not in self.__dict__:
            return
        _retired.append(self.__dict__.pop("_pool"))
        if _ALLOCATING.acquire(blocking=False):  # otherwise the next `enqueue` frees it
            try:
                _retired.clear()
            finally:
                _ALLOCATING.release()

    def prepare(self, batch: int, height: int, width: int) -> None:
        """Do nothing: PyTorch takes every shape without preparation.

        Args:
            batch: Number of images.
            height: Height of the input in pixels.
            width: Width of the input in pixels.
        """

    def release(self, batch: int, height: int, width: int) -> None:
        """Drop the tensors that wrap the pipeline's memory; they are made again when needed.

        Args:
            batch: Number of images.
            height: Height of the input in pixels.
            width: Width of the input in pixels.
        """
        self._tensors.clear()

    def enqueue(
        self, input_pointer: int, output_pointer: int, shape: tuple[int, int, int], stream: int
    ) -> None:
        """Enqueue the network on a CUDA stream.

        Args:
            input_pointer: Device address of the input, (B, 3, h, w) float16, contiguous.
            output_pointer: Device address for the output, (B, h, w) float16, contiguous.
            shape: (B, h, w).
            stream: Handle of the stream; it may be capturing a graph.

        Raises:
            EngineError: The GPU is out of memory.
        """
        import torch

        on_stream = torch.cuda.stream(torch.cuda.ExternalStream(stream, self._device))
        try:
            with _ALLOCATING, torch.inference_mode(), on_stream:
                if torch.cuda.is_current_stream_capturing():
                    self._run(input_pointer, output_pointer, shape)
                    return
                _retired.clear()
                try:
                    self._run(input_pointer, output_pointer, shape)
                except torch.cuda.OutOfMemoryError:
                    torch.cuda.empty_cache()  # PyTorch does not do so for our pool
                    self._run(input_pointer, output_pointer, shape)
        except torch.cuda.OutOfMemoryError as error:
            raise EngineError(
                f"the GPU has no memory left for the network at batch, height, width {shape}; "
                "use a smaller batch_size or size, or end other programs on this GPU"
            ) from error

    def _run(self, input_pointer: int, output_pointer: int, shape: tuple[int, int, int]) -> None:
        import torch

        batch, height, width = shape
        with torch.cuda.use_mem_pool(self._pool, self._device):
            images = self._tensor(input_pointer, (batch, 3, height, width))
            values = self._model(images.contiguous(memory_format=torch.channels_last))
            self._tensor(output_pointer, shape).copy_(values.reshape(shape))

    def _tensor(self, pointer: int, shape: tuple[int, ...]) -> torch.Tensor:
        """Wrap half-precision memory as a tensor, once: the second use may be within a capture."""
        import torch

        key = (pointer, shape)
        if key not in self._tensors:
            memory = _Memory(pointer, shape)
            self._tensors[key] = torch.as_tensor(memory, device=self._device)
        return self._tensors[key]


class _Memory:
    """Half-precision device memory with the CUDA array interface."""

    def __init__(self, pointer: int, shape: tuple[int, ...]) -> None:
        self.__cuda_array_interface__: dict[str, Any] = {
            "data": (pointer, False),
            "shape": shape,
            "typestr": "<f2",
            "version": 2,
        }
