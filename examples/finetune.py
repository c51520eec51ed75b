# SPDX-License-Identifier: Apache-2.0
"""Train the shipped model on your own photos, export it, and open it.

Usage: python examples/finetune.py FORMAT:PATH OUTPUT_FOLDER [--steps 2000]
Every sixth photo is held out to validate on. A run that was stopped is resumed.
"""

import argparse
from pathlib import Path

from dbnet_trt import Detector
from dbnet_trt.network.export import export_checkpoint
from dbnet_trt.training.augment import AugmentConfig
from dbnet_trt.training.config import OFFICIAL_LOSS, TrainConfig
from dbnet_trt.training.train import train


def finetune(data: str, output: Path, steps: int, crop_size: int = 320, workers: int = 1) -> Path:
    """Train dbnet-lines on a data set, and return the ONNX file of the result."""
    config = TrainConfig(
        data=(f"{data}#train",),
        validation=(f"{data}#val",),
        output=output,
        init=Path("dbnet-lines"),  # the weights that this package ships, by name
        loss=OFFICIAL_LOSS,
        augmentation=AugmentConfig(crop_size=crop_size, scale=(1.0, 3.0)),
        steps=steps,
        batch_size=8,
        optimizer="adamw",
        learning_rate=5e-4,
        warmup_steps=min(50, steps // 2),
        clip_norm=10.0,
        ema_decay=0.99,
        validate_every=500,
        workers=workers,
    )
    last = train(config)
    best = last.with_name("best.safetensors")
    return export_checkpoint(best if best.exists() else last, output / "model.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="FORMAT:PATH, as in jsonl:photos/samples.jsonl")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    model = finetune(arguments.data, arguments.output, arguments.steps)
    print(f"{model}: {Detector(model)}")


if __name__ == "__main__":  # the processes that make crops import this file
    main()
