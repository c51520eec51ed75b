# SPDX-License-Identifier: Apache-2.0
"""Small scenes and small runs, for tests of training."""

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
"""The same on every machine, so that the scenes are."""
AS_THEY_ARE = AugmentConfig(
    crop_size=SIZE,
    scale=(1.0, 1.0),
    stretch=1.0,
    max_rotation_deg=0,
    flip_prob=0,
    color_prob=0,
    degrade_prob=0,
)
"""Crops are the scenes themselves."""


def draw_scenes(folder: Path, count: int = 4) -> str:
    """A few easy scenes, as the name of a data set."""
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
    """A run of a few steps, on one thread, the same every time."""
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
