# SPDX-License-Identifier: Apache-2.0
"""What a model needs and gives: one card per model, inside the ONNX file or beside it."""

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

METADATA_KEY = "dbnet_trt.card"
"""Key of the card in an ONNX file's metadata."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """How pixels become the network's input: (pixel * scale - mean) / std per channel.

    Attributes:
        multiplier: (3,) float32, a of pixel * a + b, channels in the network's order.
        offset: (3,) float32, b of it.
        swap_red_blue: Whether the network takes RGB; images are BGR.
    """

    multiplier: NDArray[np.float32]
    offset: NDArray[np.float32]
    swap_red_blue: bool


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a DB detector needs as input, what it gives, and where it comes from.

    The network's input is (pixel * scale - mean) / std for each channel, in `channel_order`.
    The defaults are ImageNet's numbers, which most DB models use.
    """

    name: str
    """Short name of the model."""

    text_level: TextLevel = ""
    """What gets one outline: a "line" of text or a "word"; "" where that is not known."""

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Subtracted from each channel, in the order of the channels."""

    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Each channel is divided by this after that."""

    scale: float = 1 / 255
    """Pixels, 0 to 255, are multiplied by this first."""

    channel_order: ChannelOrder = "bgr"
    """Of the network's input: "bgr" or "rgb"."""

    output: Output = "probability"
    """What the map holds: "probability", or "logit" where the sigmoid was left out."""

    input_name: str = ""
    """Name of the input tensor (B, 3, h, w); "" where the model has one input."""

    output_name: str = ""
    """Name of the output tensor, (B, 1, h, w) or (B, h, w); "" where the model has one output."""

    short_side: int = SHORT_SIDE
    """Short side of images inside the network, in pixels, by default."""

    long_side_limit: int = LONG_SIDE_LIMIT
    """Images whose long side would exceed this are made smaller, in pixels."""

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
    """What the weights were trained on."""

    source: str = ""
    """Where the weights come from, and why one would take them."""

    scores: str = ""
    """What the weights reach on public data, each with the command that tells."""

    sha256: str = ""
    """Of the ONNX file this card describes; "" where the card is inside it, or not known."""

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            given = getattr(self, name)
            values = tuple(map(float, given if hasattr(given, "__iter__") else (given,)))
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise ValueError(f"{name} must have 3 numbers, one a channel, got {given}")
            object.__setattr__(self, name, values)
        if 0 in self.std:
            raise ValueError(f"std must not be 0, got {self.std}")
        _check_choice("text_level", self.text_level, get_args(TextLevel))
        _check_choice("channel_order", self.channel_order, get_args(ChannelOrder))
        _check_choice("output", self.output, get_args(Output))
        _ = self.size_policy, self.postprocess_params  # their own checks

    @property
    def size_policy(self) -> SizePolicy:
        """How large images enter the network, by default."""
        return SizePolicy(self.short_side, self.long_side_limit)

    @property
    def postprocess_params(self) -> PostprocessParams:
        """How text is read off the map, by default."""
        return PostprocessParams(
            self.binary_threshold, self.score_threshold, self.unclip_ratio, self.max_candidates
        )

    @property
    def normalization(self) -> Normalization:
        """How pixels become the network's input."""
        mean, std = np.array(self.mean, np.float64), np.array(self.std, np.float64)
        return Normalization(
            (self.scale / std).astype(np.float32),
            (-mean / std).astype(np.float32),
            self.channel_order == "rgb",
        )

    def to_json(self) -> str:
        """The card as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """The card of a JSON text.

        Raises:
            ValueError: It is no JSON, lacks a name, or has a field that no card has.
        """
        try:
            fields: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"a model card must be JSON: {error}") from None
        if not isinstance(fields, dict) or "name" not in fields:
            raise ValueError('a model card must be a JSON object with at least a "name"')
        if "finds" in fields:  # inside the weights of dbnet-mobile*, dbnet-r18
            fields["text_level"] = str(fields.pop("finds")).removesuffix("s")
        known = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in known:
                hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
                raise ValueError(f"a model card has no field {name!r}{hint}")
        return cls(**fields)


def read_card(path: Path) -> ModelCard:
    """The card in a JSON file.

    Raises:
        EngineError: The file cannot be read or is no card.
    """
    try:
        return ModelCard.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise EngineError(f"{path} is not a model card: {error}") from error


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {value!r}")
