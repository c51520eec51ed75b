# SPDX-License-Identifier: Apache-2.0
"""Distributed training with the same result as training in one process.

Batch normalisation and the loss, with its choice of hard negatives, see the whole batch. Each
process computes the loss of the gathered batch and differentiates its own share of the outputs;
the sum over all processes is the gradient.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn

from ..errors import EngineError
from ..network.dbnet import DBOutput
from ..settings import check_device, device_ordinal
from .losses import LabelMaps

Item = TypeVar("Item")
Result = TypeVar("Result")

VALIDATION_TIMEOUT = datetime.timedelta(hours=2)
"""Longest time that the other processes wait while the first one validates."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Rank and device of this process, and the number of training processes."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, the only one that writes files."""
        return self.rank == 0


ALONE = Ranks(0, 1, torch.device("cpu"))
"""One process, on the CPU."""


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the processes that torchrun started; without torchrun, train in this process alone.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:0". Under torchrun every GPU name means the GPU of
            the local rank.

    Yields:
        Rank and device of this process.

    Raises:
        ValueError: The device is none of these.
        EngineError: PyTorch does not see this GPU.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    _check_device(device)
    if "WORLD_SIZE" not in os.environ or int(os.environ["WORLD_SIZE"]) == 1:
        yield Ranks(0, 1, torch.device(device))
        return
    on_gpu = device.startswith("cuda")
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=VALIDATION_TIMEOUT)
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), torch.device(device))
    finally:
        distributed.destroy_process_group()


def _check_device(device: str) -> None:
    check_device(device)
    count = torch.cuda.device_count()
    if device != "cpu" and device_ordinal(device) >= count:
        raise EngineError(
            f'device "{device}" was requested, but PyTorch {torch.__version__} sees {count} CUDA '
            "devices; install its CUDA build and a driver, or choose another device"
        )


def wait_for_all(ranks: Ranks) -> None:
    """Wait until every process has called this function."""
    if ranks.count > 1:
        distributed.barrier()


def share_out(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]], ranks: Ranks
) -> list[Result]:
    """Do work on many items, each of them in one process only.

    Args:
        items: The items, the same in every process.
        work: Function that gives one result per item, in their order.
        ranks: This process among the others.

    Returns:
        The results of all items, in their order, in every process.
    """
    own = list(work(items[ranks.rank :: ranks.count]))
    if ranks.count == 1:
        return own
    parts: list[list[Result]] = [[] for _ in range(ranks.count)]
    distributed.all_gather_object(parts, own)
    return [parts[index % ranks.count][index // ranks.count] for index in range(len(items))]


def gather_batch(output: DBOutput, labels: LabelMaps, ranks: Ranks) -> tuple[DBOutput, LabelMaps]:
    """Gather outputs and labels of all processes; gradients flow to this process's outputs only.

    Args:
        output: Outputs of this process, each (b, h, w) float32.
        labels: Labels of this process, each (b, h, w) float32.
        ranks: This process among the others.

    Returns:
        Outputs and labels of the whole batch, each (b * ranks.count, h, w) float32.
    """
    if ranks.count == 1:
        return output, labels
    return (
        DBOutput(*(None if part is None else _gather(part, ranks) for part in output)),  # type: ignore[arg-type]  # P is never None
        LabelMaps(*(_gather(part, ranks) for part in labels)),
    )


def _gather(part: Tensor, ranks: Ranks) -> Tensor:
    parts = [torch.empty_like(part) for _ in range(ranks.count)]
    distributed.all_gather(parts, part.detach().contiguous())
    parts[ranks.rank] = part
    return torch.cat(parts)


def sum_gradients(model: nn.Module, ranks: Ranks) -> None:
    """Replace each gradient by its sum over all processes, in one exchange."""
    if ranks.count == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def synchronize_batch_norms(model: nn.Module, ranks: Ranks) -> None:
    """Make every batch normalisation use the statistics of all processes; changes `model`."""
    if ranks.count > 1:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = _SyncBatchNorm


class _SyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes, on CPU and GPU (torch's own needs a GPU)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.momentum is None:
            return super().forward(x)
        values = x.float()
        total = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _sum_over_ranks(values.sum((0, 2, 3))) / total
        centered = values - mean[:, None, None]
        variance = _sum_over_ranks(centered.square().sum((0, 2, 3))) / total
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr]
            unbiased = variance * total / (total - 1)
            self.running_var.lerp_(unbiased, self.momentum)  # type: ignore[union-attr]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


def _sum_over_ranks(value: Tensor) -> Tensor:
    total: Tensor = _AllReduce.apply(value)  # type: ignore[no-untyped-call]
    return total


class _AllReduce(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of the gradients."""

    @staticmethod
    def forward(_: object, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_: object, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        distributed.all_reduce(total)
        return total
