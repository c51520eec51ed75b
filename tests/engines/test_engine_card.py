# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import pytest
from dbnet_trt import EngineError
from dbnet_trt.engines.engine_card import EngineCard, card_path, read_engine_card
from fakes.tiny_model import CARD

ENGINE = EngineCard(
    CARD, "tensorrt", "10.9", ("8.6", "12.0"), "fp16", ((1, 32, 32), (1, 64, 64), (2, 96, 96)), "ab"
)


def test_json_round_trip() -> None:
    assert EngineCard.from_json(ENGINE.to_json()) == ENGINE


def test_card_lies_beside_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "a-trt10.9.engine"
    assert card_path(path).name == "a-trt10.9.engine.json"
    with pytest.raises(EngineError, match=r"a-trt10\.9\.engine\.json must lie beside it"):
        read_engine_card(path)
    card_path(path).write_text(ENGINE.to_json())
    assert read_engine_card(path) == ENGINE


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(EngineCard)])
def test_every_field_is_needed(field: str, tmp_path: Path) -> None:
    import json

    fields = json.loads(ENGINE.to_json())
    del fields[field]
    card_path(tmp_path / "a").write_text(json.dumps(fields))
    with pytest.raises(EngineError, match="an engine card has the fields"):
        read_engine_card(tmp_path / "a")


@pytest.mark.parametrize("capability", ["8.6", "12.0"])
def test_engine_runs_on_the_gpu_it_was_built_for(capability: str) -> None:
    ENGINE.check("x.engine", "10.9", capability)


def test_another_gpu() -> None:
    message = "x.engine was built for sm_86 and sm_120, this GPU is sm_90; run dbnet-build again"
    with pytest.raises(EngineError, match=message):
        ENGINE.check("x.engine", "10.9", "9.0")


def test_another_version() -> None:
    with pytest.raises(EngineError, match=r"by tensorrt 10\.9, 10\.9\.1 is installed; run"):
        ENGINE.check("x.engine", "10.9.1", "8.6")
