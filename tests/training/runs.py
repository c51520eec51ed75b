# SPDX-License-Identifier: Apache-2.0
"""Access to the files of a training run, for tests."""

import json
from pathlib import Path
from typing import Any

import torch
from dbnet_trt.network.checkpoints import load_model


def weights(path: Path) -> dict[str, Any]:
    model, _ = load_model(path)
    return model.state_dict()


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"]["total"] for line in lines]


def stop_after(step: int) -> Any:
    def watch(record: dict[str, Any]) -> None:
        if record["step"] > step:
            raise StopError

    return watch


class StopError(Exception):
    pass
