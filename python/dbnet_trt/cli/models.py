# SPDX-License-Identifier: Apache-2.0
"""The commands `dbnet models` and `dbnet info`."""

from __future__ import annotations

import importlib.util
from dataclasses import fields
from pathlib import Path

from rich.table import Table

from .. import zoo
from ..card import ModelCard
from ..detector import Detector
from ..engines.engine_card import EngineCard, read_engine_card
from ..errors import DBNetError
from ..settings import Backend, CpuConfig
from .console import line, out


def info(model: str = zoo.DEFAULT_MODEL, /, *, card: str | None = None) -> None:
    """Print a model's card.

    Parameters
    ----------
    model
        Name of a model, or path of an .onnx or .engine file; an .engine file needs no GPU for this.
    card
        For another project's ONNX file: paddleocr, mmocr, doctr, opencv, or the path of a card.
    """
    if Path(model).suffix.lower() == ".engine":
        engine = read_engine_card(Path(model))
        _print_card(engine.model, engine.model.name)
        _print_card(engine, f"built by {engine.backend} {engine.version}")
    else:
        # It compiles nothing, unlike OpenVINO.
        backend: Backend = "onnxruntime" if importlib.util.find_spec("onnxruntime") else "auto"
        detector = Detector(model, card=card, cpu=CpuConfig(backend=backend))
        _print_card(detector.card, detector.card.name)


def _print_card(card: ModelCard | EngineCard, title: str) -> None:
    table = Table(title=line((title, "")), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for each in fields(card):
        value = getattr(card, each.name)
        if each.name not in ("name", "model") and value != "":
            shown = ", ".join(map(_short, value)) if isinstance(value, tuple) else _short(value)
            table.add_row(each.name, line((shown, "")))
    out.print(table)


def _short(value: object) -> str:
    if isinstance(value, tuple):  # a shape
        return "x".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def models() -> None:
    """List the named models, with their paths or how to install them."""
    for name, model in zoo.MODELS.items():
        card, default = model.card, " (default)" if name == zoo.DEFAULT_MODEL else ""
        what = f"one outline per {card.text_level}, short side {card.short_side}; {card.license}"
        out.print(line((name, "bold"), f"{default}  {what}"), soft_wrap=True)
        try:
            path, _ = zoo.find_model(name)
            out.print(line("  ", (path, "")), soft_wrap=True)
            quantized = zoo.int8_file(path)
            if quantized is not None:
                out.print(line("  ", (quantized, ""), "  in int8"), soft_wrap=True)
        except DBNetError as error:
            out.print(line("  ", (error, "dim")), soft_wrap=True)
