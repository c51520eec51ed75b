# SPDX-License-Identifier: Apache-2.0
"""Training crops that depend on their position alone, so that a run can resume at any step."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..card import ModelCard
from ..data.damaged import check_images
from ..data.open import read_dataset
from ..data.packed import PackedSamples
from ..data.samples import Sample, load_prob_map, load_sample_image
from ..errors import ImageError, TrainingError
from .augment import AugmentConfig, augment, cut_prob_map
from .distributed import ALONE, Ranks, share_out
from .losses import LabelMaps
from .targets import TargetConfig, make_targets

logger = logging.getLogger("dbnet_trt")


class Crop(NamedTuple):
    """One training crop: image (3, h, w) uint8 RGB and its four (h, w) float32 label maps."""

    image: Tensor
    labels: LabelMaps


@dataclass(frozen=True, slots=True)
class Source:
    """Samples of one data set, and its weight."""

    samples: Sequence[Sample]
    weight: float
    """Share of the crops that come from this data set, relative to the others."""


def read_sources(
    names: tuple[str, ...], *, skip_damaged: bool = False, ranks: Ranks = ALONE
) -> list[Source]:
    """Read the data sets to train on, each named "FORMAT:PATH" or "FORMAT:PATH*WEIGHT".

    Args:
        names: The data sets.
        skip_damaged: Whether to leave damaged images out.
        ranks: This process among those that share the decoding.

    Raises:
        ValueError: A data set cannot be read, or its weight is not a number above 0.
        ImageError: Images are damaged, and not to be skipped.
    """
    sources = []
    for name in names:
        path, _, weight = name.partition("*")
        try:
            share = float(weight or 1)
        except ValueError:
            share = 0.0
        if not 0 < share < math.inf:
            raise ValueError(f"expected a weight above 0 after the *, as in {path}*2, got {name!r}")
        samples = read_samples(path, skip_damaged=skip_damaged, ranks=ranks)
        sources.append(Source(PackedSamples(samples), share))
    return sources


def read_samples(name: str, *, skip_damaged: bool = False, ranks: Ranks = ALONE) -> list[Sample]:
    """Read the samples of a data set, and decode their images once to find damaged ones.

    Damaged images are listed, and how many samples there are, by the first process. Each image is
    decoded by one process.

    Args:
        name: The data set, as "FORMAT:PATH#PART".
        skip_damaged: Whether to leave damaged images out.
        ranks: This process among those that share the decoding.

    Raises:
        ValueError: It cannot be read, or holds no sample.
        ImageError: Images are damaged, and not to be skipped.
    """
    found = read_dataset(name)
    results = share_out(found.samples, check_images, ranks)
    level = logging.WARNING if ranks.is_first else logging.DEBUG
    damaged = [problem for problem in found.problems if problem.kind == "image unreadable"]
    for problem in results:
        if problem is not None:
            logger.log(level, "%s", problem)
            damaged.append(problem)
    if damaged and not skip_damaged:
        raise ImageError(
            f"{len(damaged)} images of {name} are damaged, as listed above, the first is "
            f"{damaged[0].file}; mend or remove them, or leave them out with --skip-damaged"
        )
    samples = [
        sample for sample, problem in zip(found.samples, results, strict=True) if problem is None
    ]
    if damaged:
        logger.log(level, "%s: %d damaged images are left out", name, len(damaged))
    if not samples:
        raise ValueError(f"{name} holds no sample with an image that is whole")
    logger.info(
        "%s: %d images, %d texts that are not ignored", name, len(samples), _count_texts(samples)
    )
    return samples


def _count_texts(samples: list[Sample]) -> int:
    return sum(not text.ignore for sample in samples for text in sample.texts)


def check_texts(sources: list[Source], validation: list[Sample]) -> None:
    """Check that training and validation data contain text; warn if they share images.

    Raises:
        ValueError: The training or the validation data have no text that is not ignored.
    """
    if not any(
        sample.prob_map is not None or _count_texts([sample])
        for source in sources
        for sample in source.samples
    ):
        raise ValueError("there is no text to learn in data: no image has one that is not ignored")
    if validation and not _count_texts(validation):
        raise ValueError(
            "there is no text to find in validation: no image has one that is not ignored"
        )
    names = {sample.image.name for sample in validation}
    learnt = {
        sample.image.resolve()
        for source in sources
        for sample in source.samples
        if sample.image.name in names
    }
    shared = sum(sample.image.resolve() in learnt for sample in validation)
    if shared:
        logger.warning(
            "%d of %d validation images are also training images, so the F on them says little; "
            "select the parts #train and #val, or use other images", shared, len(validation),
        )  # fmt: skip


class CropStream(Dataset[Crop]):
    """Endless training crops. Each depends on the seed and its position alone."""

    def __init__(
        self, sources: list[Source], augmentation: AugmentConfig, targets: TargetConfig, seed: int
    ) -> None:
        # What each process that makes crops gets: as arrays, a tenth of the memory.
        self._sources = [
            each
            if isinstance(each.samples, PackedSamples)
            else Source(PackedSamples(each.samples), each.weight)
            for each in sources
        ]
        self._seed = seed
        self._augmentation, self._targets = augmentation, targets
        weights = np.array([source.weight for source in sources], np.float64)
        self._shares = weights / weights.sum()

    def __getitem__(self, position: int) -> Crop:
        rng = np.random.default_rng((self._seed, position))
        source = self._sources[int(rng.choice(len(self._sources), p=self._shares))]
        sample = source.samples[int(rng.integers(len(source.samples)))]
        whole = load_sample_image(sample)
        image, texts, matrix = augment(whole, sample.texts, sample.stretch, self._augmentation, rng)
        maps = make_targets(
            [text.polygon for text in texts],
            [text.ignore for text in texts],
            image.shape[:2],
            self._targets,
        )
        if sample.prob_map is not None:
            prob_map = load_prob_map(sample.prob_map)
            cut = cut_prob_map(prob_map, whole.shape[:2], matrix, self._augmentation.crop_size)
            maps = maps._replace(shrink_map=cut, shrink_mask=np.ones_like(cut))
        pixels = np.ascontiguousarray(image[:, :, ::-1].transpose(2, 0, 1))
        return Crop(torch.from_numpy(pixels), LabelMaps(*map(torch.from_numpy, maps)))


class _Positions:
    """Batches of crop positions from step `start` on; this rank's part of each global batch."""

    def __init__(self, start: int, stop: int, batch_size: int, rank: int, num_ranks: int) -> None:
        self._steps = range(start, stop)
        self._batch_size, self._rank, self._num_ranks = batch_size, rank, num_ranks

    def __iter__(self) -> Iterator[list[int]]:
        for step in self._steps:
            first = step * self._batch_size
            yield list(range(first + self._rank, first + self._batch_size, self._num_ranks))


def load_crops(
    stream: CropStream,
    steps: tuple[int, int],
    batch_size: int,
    workers: int,
    rank: int = 0,
    num_ranks: int = 1,
) -> Iterator[Crop]:
    """Load the batches of the steps from `steps[0]` up to, but not including, `steps[1]`.

    Args:
        stream: Source of crops.
        steps: First step, and the step after the last.
        batch_size: Crops per step, summed over all ranks.
        workers: Number of processes that prepare crops; 0 prepares them in this process.
        rank: Rank of this process in distributed training, from 0.
        num_ranks: Number of processes in distributed training.

    Returns:
        Batches: images (B, 3, h, w) uint8 and labels (B, h, w) float32.

    Raises:
        ImageError: An image is missing or damaged.
        TrainingError: A process that prepares crops was killed.
    """
    loader: DataLoader[Crop] = DataLoader(
        stream,
        batch_sampler=_Positions(*steps, batch_size, rank, num_ranks),
        num_workers=workers,
        worker_init_fn=_init_worker,
        prefetch_factor=4 if workers else None,
        # A forked worker hangs if the process has used threads before, and validation uses them.
        multiprocessing_context="spawn" if workers else None,
    )
    return with_plain_errors(loader)


def with_plain_errors(crops: Iterable[Crop]) -> Iterator[Crop]:
    """Yield the same crops, and raise a worker's errors without the worker's traceback.

    Raises:
        ImageError: An image is missing or damaged.
        TrainingError: A process that prepares crops was killed.
    """
    try:
        yield from crops
    except ImageError as error:
        raise ImageError(str(error).strip().rpartition("ImageError: ")[2]) from error
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        reason = " ".join(str(error).split())
        raise TrainingError(
            f"a process that prepares crops was killed ({reason}), most often because memory is "
            "short; give the container more shared memory (Docker: --shm-size 4g), or set workers "
            "to 0"
        ) from error


def _init_worker(_: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def normalize(images: Tensor, card: ModelCard) -> Tensor:
    """Normalize crops as a model needs them.

    Args:
        images: (B, 3, h, w) uint8 RGB.
        card: Card of the model.

    Returns:
        (B, 3, h, w) float32 in the card's channel order, on the same device.
    """
    mean = torch.tensor(card.mean, device=images.device).view(3, 1, 1)
    std = torch.tensor(card.std, device=images.device).view(3, 1, 1)
    ordered = images.flip(1) if card.channel_order == "bgr" else images
    return (ordered.float() * card.scale - mean) / std
