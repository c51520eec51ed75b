# SPDX-License-Identifier: Apache-2.0
"""Resuming of training runs: same result, same configuration."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from dbnet_trt import EngineError
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.training import train as training
from dbnet_trt.training.distributed import ALONE
from dbnet_trt.training.state import restore_state, save_state
from dbnet_trt.training.train import train

from .runs import StopError, assert_same_weights, losses, stop_after
from .scenes import draw_scenes, tiny_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def test_a_resumed_run_equals_an_uninterrupted_one(data: str, tmp_path: Path) -> None:
    whole = train(tiny_run(data, tmp_path / "whole"))

    def stop_at_5(record: dict[str, Any]) -> None:
        if record["step"] == 5:
            raise KeyboardInterrupt

    config = tiny_run(data, tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        train(config, stop_at_5)
    assert_same_weights(train(config), whole)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_killed_at_any_moment(data: str, tmp_path: Path) -> None:
    whole = train(tiny_run(data, tmp_path / "whole", steps=12))
    output = tmp_path / "killed"
    program = (
        "import sys; from pathlib import Path; from tests.training.scenes import tiny_run;"
        "from dbnet_trt.training.train import train;"
        "train(tiny_run(sys.argv[1], Path(sys.argv[2]), steps=12))"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path])}
    state = output / "state.pt"
    for kills in range(2):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(
            [sys.executable, "-c", program, data, str(output)], env=environment
        )
        deadline = time.monotonic() + 60
        while not (state.exists() and state.stat().st_mtime_ns > before):
            assert process.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.07 * kills)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert_same_weights(train(tiny_run(data, output, steps=12)), whole)
    assert len(losses(output)) == 12


def test_another_configuration_is_refused(data: str, tmp_path: Path) -> None:
    config = tiny_run(data, tmp_path)
    train(config)
    changes: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": 4}, "batch_size = 2, this one has 4"),
        ({"weight_decay": 0.1, "seed": 5}, "seed = 0, this one has 5; weight_decay = 0.0001, this"),
        ({"model": ModelConfig("mobilenetv2", 32)}, "model.inner_channels = 16, this one has 32;"),
        ({"init": tmp_path / "last.safetensors"}, "init = null, this one has"),
    ]
    for change, message in changes:
        with pytest.raises(EngineError, match=message):
            train(dataclasses.replace(config, **change))


def test_settings_that_may_change(data: str, tmp_path: Path) -> None:
    config = tiny_run(data, tmp_path, validation=(data,), validate_every=2)
    with pytest.raises(StopError):
        train(config, stop_after(3))
    other = dataclasses.replace(config, validation=(data, data), precision="bf16")
    validations = []
    train(other, lambda record: validations.append(record) if "validation" in record else None)
    assert len(validations) == 2
    written = json.loads((tmp_path / "config.json").read_text())
    assert (written["precision"], len(written["validation"])) == ("bf16", 2)


def test_best_f_is_reset_for_other_validation_images(data: str, tmp_path: Path) -> None:
    config = tiny_run(data, tmp_path, validation=(data,))
    state = training.begin(config, ALONE)
    state.best_f = 0.9
    save_state(tmp_path / "saved.pt", state)
    cases: list[tuple[dict[str, Any], float]] = [
        ({}, 0.9),
        ({"validation": ()}, -1),
        ({"short_side": 64}, -1),
    ]
    for changes, best in cases:
        again = training.begin(dataclasses.replace(config, **changes), ALONE)
        restore_state(tmp_path / "saved.pt", again)
        assert again.best_f == best


def test_a_complete_run_is_left_alone(
    data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = tiny_run(data, tmp_path, steps=2)
    last = train(config)
    before = last.stat().st_mtime_ns
    with caplog.at_level("INFO", "dbnet_trt"):
        assert train(dataclasses.replace(config, short_side=64)) == last
    told = "is complete, with 2 steps; to train on, choose another output folder and --init"
    assert f"{told} {last}" in caplog.text
    assert last.stat().st_mtime_ns == before
    assert json.loads((tmp_path / "config.json").read_text())["short_side"] == config.short_side


@pytest.mark.parametrize("damage", ["cut off", "empty", "text", "of another program"])
def test_a_damaged_state(data: str, tmp_path: Path, damage: str) -> None:
    config = tiny_run(data, tmp_path, steps=2)
    train(config)
    state = tmp_path / "state.pt"
    whole = state.read_bytes()
    if damage == "of another program":
        torch.save([1, 2], state)
    else:
        state.write_bytes({"cut off": whole[:5000], "empty": b"", "text": b"hello"}[damage])
    with pytest.raises(EngineError, match=r"state\.pt is damaged, or is not the state of a run"):
        train(config)


def test_files_of_a_run_are_readable_by_all_users(data: str, tmp_path: Path) -> None:
    train(tiny_run(data, tmp_path, steps=1))
    modes = {(tmp_path / name).stat().st_mode for name in ("last.safetensors", "state.pt")}
    assert modes == {(tmp_path / "config.json").stat().st_mode}


def test_full_disk_error_names_the_file(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*state\.pt'"):
        save_state(tmp_path / "state.pt", training.begin(tiny_run(data, tmp_path), ALONE))
    assert list(tmp_path.iterdir()) == []
