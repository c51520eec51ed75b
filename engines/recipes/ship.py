# SPDX-License-Identifier: Apache-2.0
"""Add a trained model to the package.

python engines/recipes/ship.py CHECKPOINT NAME
python engines/recipes/ship.py FILE.onnx NAME

This reads the card python/dbnet_trt/models/NAME.json, which is written by hand, writes NAME.onnx in
fp16 beside it (larger models: into models/dbnet_trt_models), and stores the file's SHA-256 in the
card. Numbers that an imported network multiplies its maps by or adds to them are folded into the
convolutions. A file in int8 becomes NAME.int8.onnx, and its own card NAME.int8.json. Cards are not
inside the ONNX files, so that a correction of their text does not change the weights in git.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import sys
from pathlib import Path

import onnx
import torch
from dbnet_trt.card import ModelCard, read_card
from dbnet_trt.engines.onnx_model import is_quantized, read_model
from dbnet_trt.network.checkpoints import load_model
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.dbnet import DBNet
from dbnet_trt.network.export import export_onnx, write_graph
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from dbnet_trt.zoo import LARGE_MODELS
from fold import HARD_SWISH_OPSET, fold_arithmetic

ROOT = Path(__file__).resolve().parents[2]
CARDS = ROOT / "python" / "dbnet_trt" / "models"


def main(source: Path, name: str) -> None:
    """Add a checkpoint, or a file in fp32 or int8, under a name."""
    folder = ROOT / "models" / "dbnet_trt_models" if name in LARGE_MODELS else CARDS
    if source.suffix == ".onnx":
        network, card, _, output = read_model(source)
        if is_quantized(network):
            ship(network, dataclasses.replace(card, name=name), folder / f"{name}.int8.onnx")
            return
        model: DBNet | OnnxDBNet = OnnxDBNet(network, ModelConfig(db=False), output)
    else:
        model, _ = load_model(source)
    card = read_card(CARDS / f"{name}.json")
    target = folder / f"{name}.onnx"
    if isinstance(model, OnnxDBNet):
        write_graph(fold(model), card, target, precision="fp16")
    else:
        export_onnx(model, card, target, precision="fp16")
    ship(onnx.load(target), card, target)


def fold(model: OnnxDBNet) -> OnnxDBNet:
    """Return the same network with fewer operations, as `fold_arithmetic` makes it."""
    graph = model.to_onnx()  # in fp16 where the file was that it began with
    whole = OnnxDBNet(copy.deepcopy(graph), ModelConfig(db=False), model.output_name)
    (opset,) = (each for each in graph.opset_import if not each.domain)
    # Up to HardSwish's, no opset has changed what the operations of these networks do.
    opset.version = max(opset.version, HARD_SWISH_OPSET)
    fold_arithmetic(graph)
    folded = OnnxDBNet(graph, ModelConfig(db=False), model.output_name)
    images = torch.randn(2, 3, 224, 352, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(folded.eval()(images), whole.eval()(images), rtol=0, atol=1e-3)
    return folded


def ship(network: onnx.ModelProto, card: ModelCard, target: Path) -> None:
    """Write a network without its card, and the card with the file's digest."""
    del network.metadata_props[:]
    onnx.save(network, target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    complete = dataclasses.replace(card, sha256=digest).to_json()
    (CARDS / f"{target.stem}.json").write_text(complete + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
