# SPDX-License-Identifier: Apache-2.0
"""Add a trained model to the package.

python engines/recipes/ship.py CHECKPOINT NAME
python engines/recipes/ship.py FILE.int8.onnx NAME

This reads the card python/dbnet_trt/models/NAME.json, which is written by hand, writes NAME.onnx in
fp16 beside it (larger models: into models/dbnet_trt_models), and stores the file's SHA-256 in the
card. A file in int8 becomes NAME.int8.onnx, and its own card NAME.int8.json. Cards are not inside
the ONNX files, so that a correction of their text does not change the weights in git.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import onnx
from dbnet_trt.card import ModelCard, read_card
from dbnet_trt.engines.onnx_model import read_model
from dbnet_trt.network.checkpoints import load_model
from dbnet_trt.network.export import export_onnx, write_graph
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from dbnet_trt.zoo import LARGE_MODELS

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "python" / "dbnet_trt" / "models"


def main(source: Path, name: str) -> None:
    """Add a checkpoint or a file in int8 under a name."""
    folder = ROOT / "models" / "dbnet_trt_models" if name in LARGE_MODELS else CARDS
    if source.suffix == ".onnx":
        network, card, *_ = read_model(source)
        ship(network, dataclasses.replace(card, name=name), folder / f"{name}.int8.onnx")
        return
    card = read_card(CARDS / f"{name}.json")
    target = folder / f"{name}.onnx"
    model, _ = load_model(source)
    if isinstance(model, OnnxDBNet):
        write_graph(model, card, target, precision="fp16")
    else:
        export_onnx(model, card, target, precision="fp16")
    ship(onnx.load(target), card, target)


def ship(network: onnx.ModelProto, card: ModelCard, target: Path) -> None:
    """Write a network without its card, and the card with the file's digest."""
    del network.metadata_props[:]
    onnx.save(network, target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    complete = dataclasses.replace(card, sha256=digest).to_json()
    (CARDS / f"{target.stem}.json").write_text(complete + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
