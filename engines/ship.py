# SPDX-License-Identifier: Apache-2.0
"""Put a trained model among those that come with the package.

python engines/ship.py CHECKPOINT NAME

Reads the card python/dbnet_trt/models/NAME.json, which is written by hand, and writes NAME.onnx
(fp16, the card inside) beside it, and the file's SHA-256 into the card.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

from dbnet_trt.card import read_card
from dbnet_trt.training.checkpoints import load_model
from dbnet_trt.training.export import export_onnx

MODELS = Path(__file__).resolve().parent.parent / "python" / "dbnet_trt" / "models"


def main(checkpoint: Path, name: str) -> None:
    """Export the checkpoint under a name."""
    card, target = read_card(MODELS / f"{name}.json"), MODELS / f"{name}.onnx"
    model, _ = load_model(checkpoint)
    export_onnx(model, card, target, precision="fp16")
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    complete = dataclasses.replace(card, sha256=digest).to_json()
    (MODELS / f"{name}.json").write_text(complete + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
