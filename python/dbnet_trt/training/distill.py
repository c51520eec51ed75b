# SPDX-License-Identifier: Apache-2.0
"""Data sets labelled with the probability maps of detectors: distillation."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.damaged import require_whole
from ..data.open import read_dataset, read_photos
from ..data.readers.annotated import write_jsonl
from ..data.samples import Sample, Text, load_prob_map, load_sample_image
from ..detector import Detector
from ..evaluation.evaluate import stretched
from ..files import read_json, write_atomically
from ..images.load import load_image, write_image
from ..pipeline.postprocess import postprocess
from ..settings import BINARY_THRESHOLD, UNCLIP_RATIO, PostprocessParams, ResizePlan
from .targets import TargetConfig, make_targets

SEEN = 0.3
"""Minimum mean probability inside a shrunk text for it to count as found by the teachers."""

OUTLINES, DISTILLED, SETTINGS = "outlines.jsonl", "distilled.jsonl", "settings.json"
"""Files of the data sets, without and with maps, and of the settings that made them."""

Progress = Callable[[int, int], None]
"""Function of (photos done, number of photos)."""


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """Outlines of a distilled data set."""

    outlines: Literal["own", "teacher"] = "own"
    """Outlines to write: the data set's own, or those of the teachers' averaged map. Own texts that
    the teachers miss are drawn into the map."""

    score_threshold: float = 0.5
    """Minimum score of a teachers' outline to be learnt."""

    ignore_threshold: float = 0.35
    """Minimum score of a teachers' outline to be ignored; those below are dropped."""

    binary_threshold: float = BINARY_THRESHOLD
    """Probability above which a pixel of the averaged map is text."""

    unclip_ratio: float = UNCLIP_RATIO
    """Unclip ratio r' of the teachers' outlines."""

    shrink_ratio: float = TargetConfig().shrink_ratio
    """Shrink ratio of own texts that are drawn into the map, as in training."""

    def __post_init__(self) -> None:
        if self.outlines not in ("own", "teacher"):
            raise ValueError(f'outlines must be "own" or "teacher", got {self.outlines!r}')
        if not 0 <= self.ignore_threshold <= self.score_threshold <= 1:
            raise ValueError(
                "ignore_threshold and score_threshold must lie in [0, 1], the first not above the "
                f"second, got {self.ignore_threshold} and {self.score_threshold}"
            )
        _ = self.postprocess_params, self.targets  # these check the fields they read

    @property
    def postprocess_params(self) -> PostprocessParams:
        """Parameters by which the averaged map becomes outlines."""
        return PostprocessParams(self.binary_threshold, self.ignore_threshold, self.unclip_ratio)

    @property
    def targets(self) -> TargetConfig:
        """Parameters by which own texts are drawn."""
        return TargetConfig(shrink_ratio=self.shrink_ratio)


def distill(
    teachers: Sequence[Detector],
    data: str,
    output: Path,
    config: DistillConfig = DistillConfig(),
    progress: Progress | None = None,
) -> Path:
    """Label the photos of a data set with the mean of the teachers' probability maps.

    Writes `maps/`, `outlines.jsonl` with outlines only and `distilled.jsonl` with outlines and
    maps. Photos are referred to where they lie; those that the data set stretches, or whose EXIF
    orientation it does not follow, are written to `images/` as they are learnt. A run that was
    stopped continues where it was.

    Args:
        teachers: Detectors; the maps of each are made by its own card, and resized to the largest.
        data: Data set as FORMAT:PATH; for outlines of the teachers also a folder of photos.
        output: Folder; it is created if missing.
        config: Outlines and thresholds.
        progress: Called after each photo.

    Returns:
        The file `distilled.jsonl`.

    Raises:
        ValueError: There is no teacher, the data set cannot be read, or the folder holds a data
            set, or the beginning of another one.
        ImageError: A photo is missing or damaged, which is seen before the first map is made, or
            the folder has none.
        OSError: A file cannot be written.
    """
    if not teachers:
        raise ValueError("expected one teacher or more, got none")
    samples = read_dataset(data).samples if config.outlines == "own" else read_photos(data)
    require_whole(samples, "mend or remove them; nothing was written")
    _begin(output, _settings(teachers, samples, config))
    labelled = []
    for index, sample in enumerate(samples):
        labelled.append(_label(teachers, sample, output, f"{index:06d}", config))
        if progress is not None:
            progress(index + 1, len(samples))
    outlines = [dataclasses.replace(sample, prob_map=None) for sample in labelled]
    write_jsonl(output / OUTLINES, outlines)
    write_jsonl(output / DISTILLED, labelled)  # last: its presence means that all is done
    return output / DISTILLED


def mean_map(maps: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Average probability maps, (h, w) float32 each of its own size, at the size of the largest."""
    height, width = max((each.shape for each in maps), key=lambda shape: shape[0] * shape[1])
    resized = [cv2.resize(each, (width, height)) for each in maps]
    return np.mean(resized, axis=0, dtype=np.float32)


def draw_unseen(
    prob_map: NDArray[np.float32],
    texts: Sequence[Text],
    scale: NDArray[np.float64],
    config: TargetConfig,
) -> NDArray[np.float32]:
    """Draw the texts that a map does not show into it, shrunk.

    Args:
        prob_map: (h, w) float32.
        texts: Texts with outlines (K, 2) in pixels of the image.
        scale: Factors (x, y) from pixels of the image to pixels of the map.
        config: How to draw them.

    Returns:
        (h, w) float32.
    """
    for text in texts:
        outline = text.polygon * scale
        size = (prob_map.shape[0], prob_map.shape[1])
        shrunk = make_targets([outline], [text.ignore], size, config).shrink_map
        if shrunk.any() and prob_map[shrunk > 0].mean() < SEEN:
            prob_map = np.maximum(prob_map, shrunk)
    return prob_map


def _settings(
    teachers: Sequence[Detector], samples: Sequence[Sample], config: DistillConfig
) -> dict[str, Any]:
    """Describe what decides the maps, to tell whether a stopped run may be continued."""
    names = "\n".join(str(sample.image) for sample in samples)
    described = [f"{each!r} {each.card.sha256} {each.size} {each.card}" for each in teachers]
    return {
        "teachers": [f"{each.card.name}, {each.size.short_side}" for each in teachers],
        "photos": len(samples),
        "digest": hashlib.sha256("\n".join([names, *described]).encode()).hexdigest(),
        **dataclasses.asdict(config),
    }


def _begin(output: Path, settings: dict[str, Any]) -> None:
    """Make the folders of a new run, or check that the one that was begun is the same.

    Raises:
        ValueError: The folder holds a data set, or the beginning of another one.
    """
    file = output / SETTINGS
    if (output / DISTILLED).exists():
        raise ValueError(f"{output} holds a data set; choose another folder, or remove that one")
    if file.exists():
        begun = read_json(file)
        names = [name for name in settings if begun.get(name) != settings[name]]
        if names:
            raise ValueError(
                f"{output} holds the beginning of another data set: {', '.join(names)} differ; "
                "choose another folder, or remove that one"
            )
    for name in ("images", "maps"):
        (output / name).mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings, indent=2) + "\n"
    write_atomically(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _label(
    teachers: Sequence[Detector], sample: Sample, output: Path, name: str, config: DistillConfig
) -> Sample:
    """Write the map of one photo, if it is not there, and return the labelled photo."""
    stored = load_sample_image(sample)
    image = stretched(stored, sample.stretch)
    own = tuple(
        Text(text.polygon * np.array(sample.stretch), text.ignore, text.content)
        for text in sample.texts
    )
    map_file = output / "maps" / f"{name}.png"
    if not map_file.exists():
        found = [teacher.detect(image, prob_map=True).prob_map for teacher in teachers]
        prob_map = mean_map([each for each in found if each is not None])
        if config.outlines == "own":
            scale = np.array(prob_map.shape[::-1]) / image.shape[1::-1]
            prob_map = draw_unseen(prob_map, own, scale, config.targets)
        write_image(map_file, np.rint(prob_map * 255).astype(np.uint8))
    texts = own if config.outlines == "own" else _find_texts(map_file, image, config)
    file = sample.image
    if image is not stored or not (sample.upright or _is_as_stored(sample.image, stored)):
        file = output / "images" / f"{name}.jpg"
        write_image(file, image)
    return Sample(file, texts, prob_map=map_file, upright=True)


def _find_texts(
    map_file: Path, image: NDArray[np.uint8], config: DistillConfig
) -> tuple[Text, ...]:
    """Find the outlines of a stored map, in pixels of its image."""
    prob_map = load_prob_map(map_file).astype(np.float32) / np.float32(255)
    size = (prob_map.shape[0], prob_map.shape[1])
    plan = ResizePlan((image.shape[0], image.shape[1]), size, size)
    (found,) = postprocess(prob_map[None], [plan], config.postprocess_params, logits=False)
    return tuple(
        Text(each.quad.astype(np.float64), each.score < config.score_threshold) for each in found
    )


def _is_as_stored(path: Path, stored: NDArray[np.uint8]) -> bool:
    """Whether EXIF leaves a photo as it is stored: (H, W, 3) uint8."""
    return np.array_equal(load_image(path), stored)
