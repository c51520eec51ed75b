# SPDX-License-Identifier: Apache-2.0
"""Speed at the paper's settings, beside its numbers (Liao et al., AAAI 2020, tables 1, 3 to 7).

As in the paper, the batch size is 1, one thread is used, the image is scaled to the data set's
height, and times include post-processing. The networks are untrained, which does not change the
times; the images are drawn with about as many texts as those of the data set have. The paper used a
GTX 1080 Ti: across machines, frames per second compare networks and settings, not code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from dbnet_trt import Detector, SizePolicy
from dbnet_trt.pipeline.postprocess import postprocess
from dbnet_trt.pipeline.preprocess import preprocess
from measure import interleaved, summary, tell
from model_choice import ModelChoice, runs_on_gpu
from numpy.typing import NDArray
from rich.table import Table

VARIANTS = {"plain": "-nodb", "+DCN": "-dcn-nodb", "+DB": "", "both": "-dcn"}
"""Columns of the ablation table, with the names of their untrained networks."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of the paper's tables: a data set at an image height."""

    data_set: str
    image: tuple[int, int]
    """Typical size of the data set's images."""

    height: int
    texts: int
    """Approximate number of texts per image."""

    fps: dict[str, dict[str, float]]
    """Frames per second in the paper, by backbone and variant."""


def _setting(
    data_set: str, shape: tuple[int, int], height: int, texts: int, *fps: float | None
) -> Setting:
    """Describe a setting by the frames per second of ResNet-18 and ResNet-50, with DB and DCN."""
    backbones = zip(("resnet18", "resnet50"), fps, strict=True)
    both = {backbone: {"both": rate} for backbone, rate in backbones if rate is not None}
    return Setting(data_set, shape, height, texts, both)


def _ablation(setting: Setting, *fps: tuple[float, float]) -> Setting:
    """Describe a setting of the ablation by its frames per second, for each backbone without and
    with DCN; in the paper DB takes no time."""
    columns = {
        backbone: {"plain": plain, "+DCN": dcn, "+DB": plain, "both": dcn}
        for backbone, (plain, dcn) in zip(("resnet18", "resnet50"), fps, strict=True)
    }
    return dataclasses.replace(setting, fps=columns)


SETTINGS = (
    _setting("Total-Text", (960, 1280), 800, 7, 50, 32),
    _ablation(_setting("CTW1500", (960, 1280), 1024, 7, 55, 22), (59, 55), (27, 22)),
    _setting("ICDAR 2015", (720, 1280), 736, 12, 48, 26),
    _setting("ICDAR 2015", (720, 1280), 1152, 12, None, 12),
    _setting("MSRA-TD500", (960, 1280), 512, 4, 82, None),
    _ablation(_setting("MSRA-TD500", (960, 1280), 736, 4, 62, 32), (66, 62), (40, 32)),
    _setting("MLT-2017", (960, 1280), 768, 10, 41, 19),
)


def paper(
    model: ModelChoice, repeats: int, settings: tuple[Setting, ...] = SETTINGS
) -> dict[str, Any]:
    """Time all settings; with one thread on the CPU, unless the options set another number."""
    model = dataclasses.replace(model, threads=model.threads or 1)
    rows = []
    with _own_cache():
        for setting in settings:
            for backbone in setting.fps:
                tell(f"{setting.data_set} {setting.height}, {backbone}")
                rows.append(_run(setting, backbone, model, repeats))
    return {"threads": model.threads, "rows": rows}


def _run(setting: Setting, backbone: str, model: ModelChoice, repeats: int) -> dict[str, Any]:
    """Time one backbone at one setting, its variants in turn."""
    rng = np.random.default_rng(0)
    size = SizePolicy(setting.height)
    variants = [name for name in VARIANTS if name in setting.fps[backbone]]
    chosen = _choose_networks(backbone, variants, model)
    detectors = {choice.engine or "": choice.open() for choice in dict.fromkeys(chosen.values())}
    image = chosen[variants[0]].draw(*setting.image, setting.texts, rng)
    for name, detector in detectors.items():
        found = len(detector.detect(image, size=size))  # and warms up
        if found != setting.texts:
            raise SystemExit(f"{name} found {found} of {setting.texts} texts drawn")
    ways: dict[str, Callable[[], object]] = {
        name: functools.partial(each.detect, image, size=size) for name, each in detectors.items()
    }
    times = {name: summary(each) for name, each in interleaved(ways, repeats, warm_ups=0).items()}
    first = next(iter(detectors.values()))
    return {
        "data_set": setting.data_set,
        "height": setting.height,
        "size": list(size.plan(*setting.image).padded),
        "texts": setting.texts,
        "backbone": backbone,
        "ms": {name: times[choice.engine or ""] for name, choice in chosen.items()},
        "outside_network_ms": None if runs_on_gpu(first) else _outside(first, image, size),
        "paper_fps": setting.fps[backbone],
    }


def _choose_networks(
    backbone: str, variants: list[str], model: ModelChoice
) -> dict[str, ModelChoice]:
    """Open the networks of the variants. Variants that compute the same share one: DB only affects
    training. That they do is checked."""
    from untrained import same_network

    chosen: dict[str, ModelChoice] = {}
    for name in variants:
        choice = dataclasses.replace(model, engine=f"untrained-{backbone}{VARIANTS[name]}")
        same = (
            other
            for other in chosen.values()
            if same_network(choice.engine or "", other.engine or "")
        )
        chosen[name] = next(same, choice)
    return chosen


def _outside(detector: Detector, image: NDArray[np.uint8], size: SizePolicy) -> dict[str, float]:
    """Time pre- and post-processing with the network's map."""
    plan = size.plan(*image.shape[:2])
    batch = np.empty((1, 3, *plan.padded), np.float32)
    preprocess(image, plan, detector.card.normalization, batch[0])
    engine: Any = detector._engine
    maps = engine(batch)

    def both() -> None:
        preprocess(image, plan, detector.card.normalization, batch[0])
        postprocess(maps, [plan], detector.params, logits=True)

    return summary(interleaved({"both": both}, 10)["both"])


@contextlib.contextmanager
def _own_cache() -> Iterator[None]:
    """Use a temporary cache, so that untrained models do not displace the user's compiled ones."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def paper_tables(result: dict[str, Any]) -> list[Table]:
    """Make the tables: the settings with both options on, and the ablation."""
    columns = ("data set", "height", "input", "backbone", "ms (p99)", "outside network")
    rates = ("FPS", "paper's FPS", "paper's / ours")
    settings = Table(*columns, *rates, title="DB with DCN, untrained weights")
    ablation = Table("data set", "backbone", *VARIANTS, title="ablation: FPS (paper's)")
    for row in result["rows"]:
        both, name = row["ms"]["both"]["p50_ms"], row["backbone"]
        outside = row["outside_network_ms"]
        share = "" if outside is None else f"{outside['p50_ms']:.1f} ms, "
        share += "" if outside is None else f"{100 * outside['p50_ms'] / both:.1f} %"
        paper_fps = row["paper_fps"]["both"]
        settings.add_row(
            *(row["data_set"], str(row["height"]), f"{row['size'][0]}x{row['size'][1]}", name),
            *(f"{both:.1f} ({row['ms']['both']['p99_ms']:.1f})", share),
            *(f"{1000 / both:.2f}", f"{paper_fps:.0f}", f"{paper_fps * both / 1000:.1f}"),
        )
        if len(row["ms"]) > 1:
            cells = [
                f"{1000 / row['ms'][each]['p50_ms']:.2f} ({row['paper_fps'][each]:.0f})"
                for each in VARIANTS
            ]
            ablation.add_row(f"{row['data_set']} {row['height']}", name, *cells)
    return [settings, ablation] if ablation.row_count else [settings]
