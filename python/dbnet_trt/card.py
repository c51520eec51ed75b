# SPDX-License-Identifier: Apache-2.0
"""Model cards: input, output and origin of a model, stored in the ONNX file or beside it."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import EngineError, did_you_mean
from .files import parse_json, read_json
from .settings import (
    BINARY_THRESHOLD,
    LONG_SIDE_LIMIT,
    MAX_CANDIDATES,
    SCORE_THRESHOLD,
    SHORT_SIDE,
    UNCLIP_RATIO,
    PostprocessParams,
    SizePolicy,
)

TextLevel = Literal["", "line", "word"]
ChannelOrder = Literal["bgr", "rgb"]
Output = Literal["probability", "logit"]

MAX_CARD_BYTES = 1 << 20
"""Maximum size of a card's file; cards take about one kilobyte."""

METADATA_KEY = "dbnet_trt.card"
"""Key of the card in an ONNX file's metadata."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """Normalization of pixels, (pixel * scale - mean) / std, as pixel * multiplier + offset.

    Attributes:
        multiplier: (3,) float32, scale / std of each channel, in the network's order.
        offset: (3,) float32, -mean / std of each channel, in the network's order.
        swap_red_blue: Whether the network takes RGB; images are BGR.
    """

    multiplier: NDArray[np.float32]
    offset: NDArray[np.float32]
    swap_red_blue: bool


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Description of a DBNet model: its input, its output and its origin.

    The network's input is (pixel * scale - mean) / std for each channel, in `channel_order`.
    The default mean and std are ImageNet's, which most models use.
    """

    name: str
    """Short name of the model."""

    text_level: TextLevel = ""
    """Unit of text that gets one outline: "line" or "word"; "" if unknown."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Mean of each channel, in `channel_order`; subtracted after scaling."""

    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviation of each channel, in `channel_order`; divides last."""

    scale: float = 1 / 255
    """Factor for pixel values, 0 to 255; applied first."""

    channel_order: ChannelOrder = "bgr"
    """Order of the input's channels: "bgr" or "rgb"."""

    output: Output = "probability"
    """Values of the output map: "probability", or "logit" if the network has no last sigmoid."""

    input_name: str = ""
    """Name of the input tensor, (B, 3, h, w); may be "" if the model has one input."""

    output_name: str = ""
    """Name of the output tensor, (B, 1, h, w) or (B, h, w); may be "" if the model has one
    output."""

    short_side: int = SHORT_SIDE
    """Default short side of images in the network, in pixels."""

    long_side_limit: int = LONG_SIDE_LIMIT
    """Default maximum long side of images in the network, in pixels."""

    binary_threshold: float = BINARY_THRESHOLD
    """Default of `PostprocessParams.binary_threshold`."""

    score_threshold: float = SCORE_THRESHOLD
    """Default of `PostprocessParams.score_threshold`."""

    unclip_ratio: float = UNCLIP_RATIO
    """Default of `PostprocessParams.unclip_ratio`."""

    max_candidates: int = MAX_CANDIDATES
    """Default of `PostprocessParams.max_candidates`."""

    license: str = ""
    """Licence of the weights."""

    training_data: str = ""
    """Data that the weights were trained on."""

    source: str = ""
    """Origin of the weights, and reasons to choose them."""

    scores: str = ""
    """Scores of the weights on public data, each with the command that measures it."""

    sha256: str = ""
    """SHA-256 of the ONNX file and of the weights beside it; "" if the card is inside the file, or
    if it is unknown."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.type == "str" and not isinstance(getattr(self, field.name), str):
                raise ValueError(f"{field.name} must be a text, got {getattr(self, field.name)!r}")
        for name in ("mean", "std"):
            object.__setattr__(self, name, _three_numbers(name, getattr(self, name)))
        if 0 in self.std:
            raise ValueError(f"std must not be 0, got {self.std}")
        if not _is_number(self.scale) or not math.isfinite(self.scale) or self.scale == 0:
            raise ValueError(f"scale must be a finite number other than 0, got {self.scale!r}")
        _check_choice("text_level", self.text_level, get_args(TextLevel))
        _check_choice("channel_order", self.channel_order, get_args(ChannelOrder))
        _check_choice("output", self.output, get_args(Output))
        _ = self.size_policy, self.postprocess_params  # these check the fields they read
        with np.errstate(over="ignore"):
            normalization = self.normalization
        if not np.isfinite([normalization.multiplier, normalization.offset]).all():
            raise ValueError(
                f"scale / std and mean / std must be numbers of float32, got scale {self.scale}, "
                f"mean {self.mean}, std {self.std}"
            )

    @property
    def size_policy(self) -> SizePolicy:
        """Default size of images in the network."""
        return SizePolicy(self.short_side, self.long_side_limit)

    @property
    def postprocess_params(self) -> PostprocessParams:
        """Default post-processing parameters."""
        return PostprocessParams(
            self.binary_threshold, self.score_threshold, self.unclip_ratio, self.max_candidates
        )

    @property
    def normalization(self) -> Normalization:
        """Normalization of the network's input."""
        mean, std = np.array(self.mean, np.float64), np.array(self.std, np.float64)
        return Normalization(
            (self.scale / std).astype(np.float32),
            (-mean / std).astype(np.float32),
            self.channel_order == "rgb",
        )

    def to_json(self) -> str:
        """Convert to JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card from JSON text.

        Raises:
            ValueError: It is not JSON, lacks a name, has a field that no card has, or a value of
                the wrong kind.
        """
        try:
            fields = parse_json(text)
        except ValueError as error:
            raise ValueError(f"a model card must be JSON: {error}") from None
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Any) -> ModelCard:
        """Read a card from a JSON object.

        Raises:
            ValueError: As `from_json`.
        """
        if not isinstance(fields, dict) or "name" not in fields:
            raise ValueError('a model card must be a JSON object with at least a "name"')
        fields = dict(fields)
        if "finds" in fields:  # inside older weights
            fields["text_level"] = str(fields.pop("finds")).removesuffix("s")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
                raise ValueError(f"a model card has no field {name!r}{hint}")
        try:
            return cls(**fields)
        except (TypeError, OverflowError) as error:  # no number, or one beyond any float
            raise ValueError(str(error)) from None


def read_card(path: Path) -> ModelCard:
    """Read a card from a JSON file.

    Raises:
        EngineError: The file cannot be read, or is not a card.
    """
    try:
        fields = read_json(path, max_bytes=MAX_CARD_BYTES, expected="a model card in JSON")
    except ValueError as error:  # which names the file
        raise EngineError(str(error)) from error
    try:
        return ModelCard.from_fields(fields)
    except ValueError as error:
        raise EngineError(f"{path} is not a model card: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _three_numbers(name: str, given: Any) -> tuple[float, ...]:
    values = tuple(given) if isinstance(given, (tuple, list, np.ndarray)) else (given,)
    finite = len(values) == 3 and all(_is_number(each) and math.isfinite(each) for each in values)
    if not finite:
        raise ValueError(f"{name} must have 3 numbers, one per channel, got {given}")
    return tuple(map(float, values))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")
