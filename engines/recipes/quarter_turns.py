# SPDX-License-Identifier: Apache-2.0
"""Teach a network text that is turned by quarters, as on pages that were scanned sideways.

python engines/recipes/quarter_turns.py TEACHER.onnx MODEL.onnx OUTPUT.onnx FORMAT:PATH...

The teacher sees a crop upright; the network may get it turned by 90, 180 or 270 degrees, and learns
the teacher's map turned likewise. So it comes to find what its teacher misses. No labels are used.
The mean of its weights before and after keeps more of what it knew of upright text.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from dbnet_trt import DBNetError
from dbnet_trt.building.distillation import Distillation, distill
from dbnet_trt.building.lowering import OnnxNetwork
from dbnet_trt.data.open import read_photos
from dbnet_trt.engines.onnx_model import read_model
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from light_neck import tell, write_model

PHASES = (
    Distillation(700, batch_size=4, learning_rate=2e-4, quarter_turn_prob=0.35),
    Distillation(500, batch_size=4, learning_rate=1e-4, quarter_turn_prob=0.3, seed=10),
)


def mean_weights(first: OnnxNetwork, second: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph with the means of its weights and of the same graph's with others."""
    config = ModelConfig(db=False)
    models = [OnnxDBNet(each, config, first.output_name) for each in (first.model, second)]
    states = [model.state_dict() for model in models]
    models[0].load_state_dict(
        {name: 0.5 * states[0][name] + 0.5 * states[1][name] for name in states[0]}
    )
    return models[0].to_onnx()


def main(teacher: Path, source: Path, target: Path, photos: list[str]) -> None:
    """Write a model that finds turned text as well."""
    network = OnnxNetwork(*read_model(source))
    samples = [sample for name in photos for sample in read_photos(name)]
    expected, *_ = read_model(teacher)
    model = network.model
    for phase in PHASES:
        model = distill(model, expected, network, samples, phase, tell)
    write_model(mean_weights(network, model), network.card, target)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
    except (DBNetError, ValueError, OSError) as problem:
        raise SystemExit(f"error: {problem}") from None
