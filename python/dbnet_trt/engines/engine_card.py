# SPDX-License-Identifier: Apache-2.0
"""The card beside each engine file: its source, the library that built it, its GPUs."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..card import MAX_CARD_BYTES, ModelCard
from ..errors import EngineError
from ..files import is_file, parse_json, read_json

Shape = tuple[int, int, int]
"""(batch, height, width) of a network's input."""

BACKENDS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
"""Names of the libraries: of the Python module, and for messages."""


@dataclass(frozen=True, slots=True)
class EngineCard:
    """Description of an engine file: its model, the library that built it, and its GPUs."""

    model: ModelCard
    """Card of the model: the network's input and output."""

    backend: str
    """Library that built the engine and runs it: "tensorrt" or "tensorrt_rtx"."""

    version: str
    """Exact version of that library."""

    compute_capabilities: tuple[str, ...]
    """Compute capabilities of the GPUs that it runs on, as in ("8.6", "8.9")."""

    precision: str
    """Arithmetic of the network: fp32, fp16, int8 or fp8."""

    shapes: tuple[Shape, Shape, Shape]
    """Smallest, optimal and largest input, each (batch, height, width)."""

    sha256: str
    """SHA-256 of the engine file."""

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> EngineCard:
        """Read a card from JSON text.

        Raises:
            ValueError: The text is not JSON, or not an engine card.
        """
        return cls.from_fields(parse_json(text))

    @classmethod
    def from_fields(cls, fields: Any) -> EngineCard:
        """Read a card from a JSON object.

        Raises:
            ValueError: The object is not an engine card.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or set(fields) != names:
            raise ValueError(f"an engine card has the fields {', '.join(sorted(names))}")
        try:
            smallest, best, largest = (_shape(shape) for shape in fields["shapes"])
            capabilities = tuple(fields["compute_capabilities"])
            if not all(re.fullmatch(r"\d{1,2}\.\d", each) for each in capabilities):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                "an engine card has three shapes (batch, height, width) and compute capabilities, "
                f"got {fields['shapes']!r} and {fields['compute_capabilities']!r}"
            ) from None
        for name in ("backend", "version", "precision", "sha256"):
            if not isinstance(fields[name], str):
                raise ValueError(f"{name} must be a text, got {fields[name]!r}")
        if fields["backend"] not in BACKENDS:
            raise ValueError(f"backend must be {' or '.join(BACKENDS)}, got {fields['backend']!r}")
        model = ModelCard.from_fields(fields["model"])
        parts = {"model": model, "compute_capabilities": capabilities}
        return cls(**{**fields, **parts, "shapes": (smallest, best, largest)})

    def check(self, engine: str, version: str, compute_capability: str) -> None:
        """Check that the engine runs with a version of its library and on a GPU.

        Args:
            engine: The engine's name, for the message.
            version: Version of the installed library named `backend`.
            compute_capability: Compute capability of the GPU, as in "8.6".

        Raises:
            EngineError: It was built for another version or GPU.
        """
        if self.version != version:
            raise EngineError(
                f"{engine} was built by {self.backend} {self.version}, {version} is installed; "
                "run dbnet-build again"
            )
        if compute_capability not in self.compute_capabilities:
            built = " and ".join(map(sm_name, self.compute_capabilities))
            raise EngineError(
                f"{engine} was built for {built}, this GPU is {sm_name(compute_capability)}; "
                "run dbnet-build again"
            )


def _shape(values: Any) -> Shape:
    batch, height, width = values
    return int(batch), int(height), int(width)


def sm_name(compute_capability: str) -> str:
    """Return the name of a GPU architecture, "sm_86" for "8.6"."""
    return f"sm_{compute_capability.replace('.', '')}"


def card_path(engine: Path) -> Path:
    """Return the path of the card of an engine file."""
    return engine.with_name(f"{engine.name}.json")


def read_engine_card(engine: Path) -> EngineCard:
    """Read the card of an engine file.

    Raises:
        EngineError: The card is missing or broken.
    """
    path = card_path(engine)
    if not is_file(path):
        raise EngineError(
            f"{engine} has no card: {path.name} must lie beside it and say what the engine needs; "
            "copy it along, or run dbnet-build again"
        )
    try:
        return EngineCard.from_fields(read_json(path, max_bytes=MAX_CARD_BYTES))
    except ValueError as error:
        raise EngineError(
            f"{path} is not an engine card ({error}); run dbnet-build again"
        ) from error
