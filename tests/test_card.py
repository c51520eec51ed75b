# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

import pytest
from dbnet_trt import EngineError, ModelCard
from dbnet_trt.card import read_card


def test_json_round_trip() -> None:
    card = ModelCard(name="ours", mean=(1, 2, 3), output="logit", license="Apache-2.0")
    assert ModelCard.from_json(card.to_json()) == card


def test_defaults_are_read_as_params() -> None:
    card = ModelCard(name="a", score_threshold=0.0, short_side=640)
    assert card.postprocess_params.score_threshold == 0
    assert card.size_policy.short_side == 640


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean must have 3"),
        ({"mean": 0.5}, "mean must have 3"),
        ({"std": (float("nan"), 1.0, 1.0)}, "std must have 3"),
        ({"std": (0.0, 1.0, 1.0)}, "std must not be 0"),
        ({"channel_order": "gbr"}, "channel_order must be"),
        ({"text_level": "letters"}, "text_level must be"),
        ({"output": "map"}, "output must be"),
        ({"binary_threshold": 2.0}, "binary_threshold"),
        ({"short_side": 0}, "short_side"),
    ],
)
def test_values_are_checked(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelCard(name="bad", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "JSON object"),
        ('{"mean": [0, 0, 0]}', '"name"'),
        ('{"name": "a", "binary_treshold": 0.3}', 'did you mean "binary_threshold"'),
        ('{"name": "a", "zzz": 0.3}', "it has name"),
    ],
)
def test_bad_json_is_explained(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelCard.from_json(text)


def test_reading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    with pytest.raises(EngineError, match=r"card\.json"):
        read_card(path)
    path.write_text("no json", encoding="utf-8")
    with pytest.raises(EngineError, match="must be JSON"):
        read_card(path)
    card = dataclasses.replace(ModelCard(name="a"), sha256="00")
    path.write_text(card.to_json(), encoding="utf-8")
    assert read_card(path) == card
