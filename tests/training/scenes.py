# SPDX-License-Identifier: Apache-2.0
"""Small scenes and short runs, for tests of training."""

from pathlib import Path
from typing import Any

import matplotlib
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.synth.scenes import SynthConfig, write_scenes
from dbnet_trt.training.augment import AugmentConfig
from dbnet_trt.training.config import TrainConfig

SIZE = 128
FONTS = tuple(
    Path(matplotlib.get_data_path(), "fonts/ttf", name)
    for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf")
)
"""Fonts that are the same on every machine, so that the scenes are as well."""
AS_THEY_ARE = AugmentConfig(
    crop_size=SIZE,
    scale=(1.0, 1.0),
    stretch=1.0,
    max_rotation_deg=0,
    flip_prob=0,
    color_prob=0,
    degrade_prob=0,
)
"""Augmentation that leaves the scenes as they are."""


def draw_scenes(folder: Path, count: int = 4) -> str:
    """Draw a few easy scenes, and return the name of the data set."""
    config = SynthConfig(
        size=SIZE,
        text_level="line",
        fonts=FONTS,
        text_height=(18, 30),
        max_blocks=2,
        chinese=0,
        seed=1,
    )
    return f"jsonl:{write_scenes(folder, count, config=config)}"


def tiny_run(data: str, output: Path, **changes: Any) -> TrainConfig:
    """Configure a run of a few steps, on one thread, equal every time."""
    settings: dict[str, Any] = {
        "data": (data,),
        "output": output,
        "steps": 6,
        "batch_size": 2,
        "optimizer": "adamw",
        "learning_rate": 0.003,
        "device": "cpu",
        "num_threads": 1,
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": 2,
        "validate_every": 100,
        "short_side": SIZE,
        "model": ModelConfig("mobilenetv2", 16),
        "augmentation": AS_THEY_ARE,
    }
    return TrainConfig(**settings | changes)
