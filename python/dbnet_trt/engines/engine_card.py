# SPDX-License-Identifier: Apache-2.0
"""What an engine was built from, with, and for: the card beside each engine file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..card import ModelCard
from ..errors import EngineError

Shape = tuple[int, int, int]
"""(batch, height, width) of a network's input."""


@dataclass(frozen=True, slots=True)
class EngineCard:
    """What an engine holds, and where it runs."""

    model: ModelCard
    """What the network needs and gives."""

    backend: str
    """The library that built it and runs it: "tensorrt" or "tensorrt_rtx"."""

    version: str
    """Of that library, exactly."""

    compute_capabilities: tuple[str, ...]
    """The GPUs it runs on, as in ("8.6", "8.9")."""

    precision: str
    """Arithmetic of the network: fp32, fp16, int8 or fp8."""

    shapes: tuple[Shape, Shape, Shape]
    """The smallest, the best and the largest input, each (batch, height, width)."""

    sha256: str
    """Of the engine file."""

    def to_json(self) -> str:
        """The card as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> EngineCard:
        """The card of a JSON text.

        Raises:
            ValueError: It is no JSON or no card.
        """
        fields: Any = json.loads(text)
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(fields, dict) or set(fields) != names:
            raise ValueError(f"an engine card has the fields {', '.join(sorted(names))}")
        fields["model"] = ModelCard.from_json(json.dumps(fields["model"]))
        fields["compute_capabilities"] = tuple(fields["compute_capabilities"])
        smallest, best, largest = (tuple(map(int, shape)) for shape in fields["shapes"])
        return cls(**{**fields, "shapes": (smallest, best, largest)})

    def check(self, engine: str, version: str, compute_capability: str) -> None:
        """See whether the engine runs with a library and on a GPU.

        Args:
            engine: The engine's name, for the message.
            version: Of the installed library named `backend`.
            compute_capability: Of the GPU, as in "8.6".

        Raises:
            EngineError: It does not.
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


def sm_name(compute_capability: str) -> str:
    """ "sm_86" for "8.6"."""
    return f"sm_{compute_capability.replace('.', '')}"


def card_path(engine: Path) -> Path:
    """Where the card of an engine file lies."""
    return engine.with_name(f"{engine.name}.json")


def read_engine_card(engine: Path) -> EngineCard:
    """The card of an engine file.

    Raises:
        EngineError: There is none, or it is broken.
    """
    path = card_path(engine)
    try:
        return EngineCard.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise EngineError(
            f"{engine} has no card: {path.name} must lie beside it and say what the engine needs; "
            "copy it along, or run dbnet-build again"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise EngineError(
            f"{path} is not an engine card ({error}); run dbnet-build again"
        ) from error
