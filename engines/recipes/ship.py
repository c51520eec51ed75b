# SPDX-License-Identifier: Apache-2.0
"""Add a trained model to the package.

python engines/recipes/ship.py CHECKPOINT NAME

This reads the card python/dbnet_trt/models/NAME.json, which is written by hand, writes NAME.onnx in
fp16 beside it (larger models: into models/dbnet_trt_models), and stores the file's SHA-256 in the
card. The card is not inside the ONNX file, so that a correction of its text does not change the
weights in git.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import onnx
from dbnet_trt.card import read_card
from dbnet_trt.network.checkpoints import load_model
from dbnet_trt.network.export import export_onnx, write_graph
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from dbnet_trt.zoo import LARGE_MODELS

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "python" / "dbnet_trt" / "models"


def main(checkpoint: Path, name: str) -> None:
    """Export the checkpoint under a name."""
    card = read_card(CARDS / f"{name}.json")
    folder = ROOT / "models" / "dbnet_trt_models" if name in LARGE_MODELS else CARDS
    target = folder / f"{name}.onnx"
    model, _ = load_model(checkpoint)
    if isinstance(model, OnnxDBNet):
        write_graph(model, card, target, precision="fp16")
    else:
        export_onnx(model, card, target, precision="fp16")
    network = onnx.load(target)
    del network.metadata_props[:]  # the card
    onnx.save(network, target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    complete = dataclasses.replace(card, sha256=digest).to_json()
    (CARDS / f"{name}.json").write_text(complete + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
