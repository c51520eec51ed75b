# SPDX-License-Identifier: Apache-2.0
"""Initial network of a training run, its weights, and its model card."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import onnx

from ..card import METADATA_KEY, ModelCard
from ..data.open import without_folders
from ..engines.onnx_model import read_model
from ..errors import EngineError
from ..network.checkpoints import (
    Network,
    find_weights,
    is_imported,
    load_model,
    load_weights,
    read_metadata,
)
from ..network.config import ModelConfig
from ..network.dbnet import DBNet
from ..network.onnx_dbnet import OnnxDBNet
from ..network.onnx_weights import is_exported
from ..zoo import MODELS, find_card
from .config import TrainConfig

logger = logging.getLogger("dbnet_trt")


def make_network(config: TrainConfig) -> tuple[Network, ModelCard]:
    """Make the network of a run, and find the card on which its own card will be based.

    A DB network of another project keeps its structure. Otherwise the network is that of
    `config.model`, with the initial weights as far as they fit. A resumed run has its weights and
    card in its state, and the structure of the network in its last checkpoint.

    Raises:
        EngineError: The initial weights cannot be read, lack a card, or do not fit.
        ValueError: There is no such card.
    """
    if (config.output / "state.pt").exists():
        last = config.output / "last.safetensors"
        network = load_model(last)[0] if is_imported(last) else DBNet(config.model)
        return network.train(), _new_card(config)
    if config.init is None:
        return DBNet(config.model), _new_card(config)
    path = find_weights(config.init)
    card = _find_card(config, path)
    if is_imported(path):
        return _import_network(path, card, config.model), card
    network = DBNet(config.model)
    _load_weights(network, config.init, path)
    return network, card


def _new_card(config: TrainConfig) -> ModelCard:
    name = f"dbnet-{config.model.backbone}"
    return ModelCard(name, channel_order="rgb", output="logit")


def _find_card(config: TrainConfig, path: Path) -> ModelCard:
    """Find the card of the initial model; weights without one, as a backbone's, get a new card.

    Raises:
        EngineError: An ONNX file has no card, or another card than it needs.
    """
    if config.init_card is not None:
        card = find_card(config.init_card)
        assert card is not None
        if is_exported(path):
            read_model(path, card)  # checks that the card says which output is the map
        return dataclasses.replace(card, name=path.stem)
    if path != config.init:  # a name
        return MODELS[str(config.init)].card
    if is_exported(path):
        return read_model(path)[1]
    if METADATA_KEY in read_metadata(path):
        return load_model(path)[1]
    return _new_card(config)


def _import_network(path: Path, card: ModelCard, config: ModelConfig) -> OnnxDBNet:
    """Read a network of another project, or one that was trained from such a network."""
    if not is_exported(path):
        before, _ = load_model(path)
        assert isinstance(before, OnnxDBNet)
        network = OnnxDBNet(before.to_onnx(), config, card.output_name)
        network.load_state_dict(before.state_dict(), strict=False)  # the threshold branch
        return network
    network = OnnxDBNet(onnx.load(path), config, card.output_name)
    if network.ends_in_sigmoid != (card.output == "probability"):
        found = "a sigmoid" if network.ends_in_sigmoid else "no sigmoid"
        raise EngineError(
            f'{path} has {found} before its output, but its card "{card.name}" says that the '
            f"output is a {card.output}; correct the card"
        )
    return network


def _load_weights(network: DBNet, init: Path, path: Path) -> None:
    """Load initial weights into a network, and log which weights stay random.

    Raises:
        EngineError: The file cannot be read, or belongs to another backbone.
    """
    report = load_weights(network, path)
    logger.info("%s: %s", init, report)
    in_file, in_all = report.count("backbone.")
    if in_file == 0:
        raise EngineError(
            f"{init} has no weight of the backbone {network.config.backbone}; set model.backbone "
            "to the backbone that it was trained with"
        )
    if 2 * in_file < in_all:
        logger.warning(
            "%s has only %d of %d weights of the backbone %s; the others stay random. Was it "
            "trained with another backbone?", init, in_file, in_all, network.config.backbone,
        )  # fmt: skip
    if report.misfits:
        logger.warning(
            "%s has %d weights of another shape; these stay random. Was it trained with another "
            "width (model.inner_channels)? %s", init, len(report.misfits), report.misfits[0],
        )  # fmt: skip


def make_card(config: TrainConfig, card: ModelCard, step: int) -> ModelCard:
    """Make the card of a model after some steps.

    Args:
        config: Its `card_fields` replace those of the initial model.
        card: Card of the initial model.
        step: Number of steps done.
    """
    source = f"step {step} of {config.steps}, batch size {config.batch_size}, seed {config.seed}"
    data = ", ".join(map(without_folders, config.data))
    if config.init is not None:
        source += f"; begun with {config.init.name}"
    if card.training_data:
        data = f"{card.training_data}; then {data}"
    is_new = card == _new_card(config)
    return dataclasses.replace(
        card,
        name=card.name if is_new else f"{card.name.removesuffix('-tuned')}-tuned",
        output="logit",
        training_data=data,
        source=source,
        scores="",
        sha256="",
        **config.card_fields,
    )
