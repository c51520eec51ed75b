# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet tune`."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..card import ModelCard
from ..data.open import without_folders
from .console import err, line, out
from .evaluate import ProtocolName, check_outputs, with_progress, writing
from .options import DEFAULT_OPTIONS, RunOptions

if TYPE_CHECKING:
    from ..evaluation.tuning import Tuning

logger = logging.getLogger("dbnet_trt")


def tune(
    model: str | None = None,
    /,
    *,
    data: Annotated[tuple[str, ...], Parameter(negative="")],
    output: Path | None = None,
    protocol: ProtocolName | None = None,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> None:
    """Choose a detector's thresholds and unclip ratio on photos with ground truth.

    All combinations of a grid are scored; the network runs once per image. Prints the options that
    were chosen, and on standard error what they are worth. Such a number flatters: judge the model
    on other photos.

    Parameters
    ----------
    model
        Name of a model, an .onnx file or a .safetensors checkpoint; the default model if left out.
    data
        FORMAT:PATH of images with ground truth, as in icdar2015:FOLDER#val; of several the mean F
        counts.
    output
        File for a copy of the model with these values in its card: .onnx, or .safetensors of a
        checkpoint.
    protocol
        How to score, as in dbnet eval. By default the protocol of the data sets.
    """
    from ..data.damaged import require_whole
    from ..data.open import read_dataset, split_name
    from ..evaluation.evaluate import choose_scoring
    from ..evaluation.tuning import tune as choose

    options = dataclasses.replace(options, model=model or options.model)
    source, card = _find_source(options, output) if output is not None else (None, None)
    check_outputs([output])
    data_sets = [read_dataset(each).samples for each in data]
    forms = [split_name(each)[0] for each in data]
    everything = [each for samples in data_sets for each in samples]
    scoring = choose_scoring(forms, everything, protocol)
    detector = options.open_detector(polygons=scoring.polygons)
    size = options.size(detector.card)
    require_whole(everything, "mend or remove them; nothing was chosen")
    shown = [with_progress(samples) for samples in data_sets]
    tuning = choose(detector, shown, scoring.protocol, size=size)
    # Before anything is written, since what minutes chose is not to be lost on a full disk.
    _print(tuning, repr(detector), str(size or detector.size), data)
    if source is not None and output is not None:
        new = _make_card(card or detector.card, tuning, options.short_side, data)
        _write_copy(source, card, new, output)


def _print(tuning: Tuning, model: str, size: str, data: tuple[str, ...]) -> None:
    facts = {
        "model": model,
        "data": ", ".join(data),
        "size": size,
        "F before": f"{100 * tuning.f_before:.1f}",
        "F": f"{100 * tuning.f:.1f}, on the images that chose",
        "F of halves": f"{100 * tuning.f_of_halves:.1f}, each at what the other half chooses",
    }
    for name, value in facts.items():
        err.print(line(f"{name}: ", (value, "")), style="dim", soft_wrap=True)
    if tuning.f_of_halves <= tuning.f_before:
        logger.warning(
            "what one half of the images chooses is no better on the other half than what the "
            "model had: there are too few images to choose on, or nothing to gain; keep its own"
        )
    params = tuning.params
    out.print(
        f"--binary-threshold {params.binary_threshold:g} --score-threshold "
        f"{params.score_threshold:g} --unclip-ratio {params.unclip_ratio:g}",
        markup=False,
        soft_wrap=True,
    )


def _find_source(options: RunOptions, output: Path) -> tuple[Path, ModelCard | None]:
    """Return the file of the model, and its card if that is not inside.

    Raises:
        ValueError: The output has another suffix than the file, or is that file.
    """
    from ..opening import choose_int8
    from ..zoo import DEFAULT_MODEL, find_card, resolve_model

    path, named = resolve_model(options.model or DEFAULT_MODEL, (".onnx", ".safetensors"))
    quantized = choose_int8(path, named, options.cpu) if named else None
    if quantized is not None:
        path, named = quantized, None  # its card is beside it
    if output.suffix.lower() != path.suffix.lower() or output.resolve() == path.resolve():
        raise ValueError(
            f"expected --output of another {path.suffix} file than {path}, got {output}"
        )
    return path, find_card(options.card) or named


def _make_card(
    card: ModelCard, tuning: Tuning, short_side: int | None, data: tuple[str, ...]
) -> ModelCard:
    params, where = tuning.params, ", ".join(map(without_folders, data))
    chosen = f"F {100 * tuning.f:.1f} on {where}, which chose the thresholds (dbnet tune)"
    return dataclasses.replace(
        card,
        binary_threshold=params.binary_threshold,
        score_threshold=params.score_threshold,
        unclip_ratio=params.unclip_ratio,
        max_candidates=params.max_candidates,
        short_side=short_side or card.short_side,
        long_side_limit=max(card.long_side_limit, short_side or 0),
        scores=chosen,
        sha256="",
    )


def _write_copy(source: Path, card: ModelCard | None, new: ModelCard, output: Path) -> None:
    """Write a copy of a model with another card."""
    if source.suffix.lower() == ".safetensors":
        from ..network.checkpoints import load_model, save_model

        with writing():
            save_model(output, load_model(source)[0], new)
        return
    from ..building.lowering import read_network, write_network

    write_network(read_network(source, card).model, new, output)
