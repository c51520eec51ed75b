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
        ({"std": None}, "std must have 3"),
        ({"mean": ("0", 1, 2)}, "mean must have 3"),
        ({"scale": float("nan")}, "scale must be"),
        ({"scale": float("inf")}, "scale must be"),
        ({"scale": 0}, "scale must be"),
        ({"scale": None}, "scale must be"),
        ({"scale": "1"}, "scale must be"),
        ({"scale": [1, 2]}, "scale must be"),
        ({"scale": 1e300}, "numbers of float32"),
        ({"std": (1e-300, 1, 1)}, "numbers of float32"),
        ({"license": 3}, "license must be a text"),
        ({"sha256": None}, "sha256 must be a text"),
        ({"input_name": ["x"]}, "input_name must be a text"),
        ({"short_side": 10**9}, "short_side must be at most 32768"),
        ({"unclip_ratio": 1e39}, "unclip_ratio must lie between"),
        ({"max_candidates": 2**31}, "max_candidates must be a whole number between"),
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
        ("[" * 100_000, "nested too deeply"),
        ('{"name": "a", "scale": NaN}', "NaN, which is no JSON number"),
        ('{"name": "a", "scale": 1e999}', "scale must be a finite number"),
        ('{"name": "a", "unclip_ratio": "x"}', "unclip_ratio must be a number"),
        ('{"name": 3}', "name must be a text"),
        ("null", "JSON object"),
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
    with pytest.raises(EngineError, match="to be a model card in JSON"):
        read_card(path)
    card = dataclasses.replace(ModelCard(name="a"), sha256="00")
    path.write_text(card.to_json(), encoding="utf-8")
    assert read_card(path) == card


def test_files_that_are_no_text_or_too_large(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    for data, message in (
        (b"\xff\x00", r"card\.json to be a model card in JSON; got .*utf-8"),
        (b"\xff\xfe\x00", r"card\.json to be a model card in JSON; got .*utf-16"),
        (b"[" * 200_000, r"card\.json to be a model card in JSON; got .*nested too deeply"),
        (b" " * (1 << 20) + b"{}", "to have at most 1048576 bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(EngineError, match=message):
            read_card(path)
    path.write_bytes(b"\xef\xbb\xbf" + ModelCard(name="a").to_json().encode())
    assert read_card(path).name == "a"  # editors of Windows write a mark at the start


def test_numbers_beyond_any_float(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(ModelCard(name="a").to_json().replace("0.485", "1" + 400 * "0"))
    with pytest.raises(EngineError, match="is not a model card: int too large"):
        read_card(path)
