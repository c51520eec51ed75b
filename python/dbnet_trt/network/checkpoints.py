# SPDX-License-Identifier: Apache-2.0
"""Reading and writing of weights: our checkpoints, ImageNet backbones, other projects' files."""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..card import METADATA_KEY, ModelCard
from ..errors import EngineError
from ..files import write_atomically
from ..zoo import find_model
from .config import ModelConfig
from .dbnet import DBNet
from .onnx_dbnet import OnnxDBNet
from .onnx_weights import is_exported, read_exported

logger = logging.getLogger("dbnet_trt")

CONFIG_KEY = "dbnet_trt.model"
"""Key of the model's configuration in a safetensors file's metadata."""

STRUCTURE_KEY = "dbnet_trt.onnx"
"""Key of the ONNX model without its weights, in base64, where it is another project's."""

Network = DBNet | OnnxDBNet
"""What is trained."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """Result of loading weights into a model."""

    loaded: tuple[str, ...]
    """Names of the model's weights that were loaded."""

    missing: tuple[str, ...]
    """Names of the model's weights that were not loaded."""

    unused: tuple[str, ...]
    """Names in the file that the model lacks or has with another shape."""

    misfits: tuple[str, ...]
    """Subset of `unused` whose shape differs: name and both shapes."""

    def count(self, prefix: str) -> tuple[int, int]:
        """Count the model's weights whose names have a prefix.

        Returns:
            The number loaded, and the number in the model.
        """
        loaded = sum(name.startswith(prefix) for name in self.loaded)
        return loaded, loaded + sum(name.startswith(prefix) for name in self.missing)

    def __str__(self) -> str:
        text = f"{len(self.loaded)} loaded, {len(self.missing)} missing, {len(self.unused)} unused"
        for what in ("missing", "unused"):
            names: tuple[str, ...] = getattr(self, what)
            if names:
                more = ", ..." if len(names) > 5 else ""
                text += f"\n  {what}: {', '.join(names[:5])}{more}"
        return text


def save_model(path: Path, model: Network, card: ModelCard) -> None:
    """Write weights, configuration and card to a safetensors file, atomically.

    Args:
        path: File to write.
        model: Model to save, on any device.
        card: Card of the model.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {
        CONFIG_KEY: json.dumps(dataclasses.asdict(model.config)),
        METADATA_KEY: card.to_json(),
    }
    if isinstance(model, OnnxDBNet):
        structure = model.graph.structure.SerializeToString()
        metadata[STRUCTURE_KEY] = base64.b64encode(structure).decode()
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    data = save(tensors, metadata)  # save_file makes files that no other user may read
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def load_model(path: Path) -> tuple[Network, ModelCard]:
    """Load a model that `save_model` wrote.

    Returns:
        The model in evaluation mode, and its card.

    Raises:
        EngineError: The file is missing, or was not written by `save_model`.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        card = ModelCard.from_json(metadata[METADATA_KEY])
        config = ModelConfig(**json.loads(metadata[CONFIG_KEY]))
        model: Network
        if STRUCTURE_KEY in metadata:
            structure = onnx.load_from_string(base64.b64decode(metadata[STRUCTURE_KEY]))
            model = OnnxDBNet(structure, config, card.output_name)
        else:
            model = DBNet(config)
        model.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise EngineError(
            f"{path} is not a checkpoint of this package ({error}); "
            "expected a .safetensors file that `dbnet train` wrote"
        ) from error
    return model.eval(), card


def is_imported(path: Path) -> bool:
    """Whether a file holds a DB network of another project, or one trained from such a network.

    A file that cannot be read gives False; reading its weights raises the error.
    """
    try:
        if is_exported(path):
            names = [tensor.name for tensor in onnx.load(path).graph.initializer]
            return not any(name.endswith("neck.lateral.0.weight") for name in names)
        return STRUCTURE_KEY in read_metadata(path)
    except (OSError, DecodeError, SafetensorError):
        return False


def read_metadata(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; other files have none."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def find_weights(init: Path) -> Path:
    """Resolve initial weights, given as a path or as the name of a model, to a file.

    Raises:
        EngineError: There is no such file, or the package that ships the model is not installed.
        ValueError: There is no model of that name.
    """
    if init.is_file():
        return init
    if init.suffix or len(init.parts) > 1:
        raise EngineError(f"there is no file {init}")
    return find_model(str(init))[0]


def load_weights(model: DBNet, path: Path) -> LoadReport:
    """Load the weights of a file whose names and shapes fit a model.

    Reads our safetensors files, torchvision's backbones, checkpoints of the original DB repository
    and of mmocr, and ONNX files of our export. Pickles are read with `weights_only=True`, NumPy's
    numbers and arrays beside the weights included. An exported model has lost the statistics of its
    batch normalisations; see `rebase_norms`.

    A warning names what a detector's file has that is not loaded, and what the model has that is
    not in it: the fusion of mmocr's DBNet++, docTR's and WenmuZhou's necks are built otherwise.

    Args:
        model: Model to load into.
        path: File with weights.

    Returns:
        The weights that were loaded, and those that were not.

    Raises:
        EngineError: The file cannot be read, or nothing in it fits.
    """
    own = model.state_dict()
    fitting: dict[str, Tensor] = {}
    unused, misfits = [], []
    for name, (original, value) in _translate(_read_state(path, model)).items():
        if name in own and own[name].shape == value.shape:
            fitting[name] = value
        else:
            unused.append(original)
            if name in own:
                shapes = f"{tuple(value.shape)} in the file, {tuple(own[name].shape)} in the model"
                misfits.append(f"{original}: {shapes}")
    if not fitting:
        found = f'the file\'s is "{unused[0]}"' if unused else "the file has none"
        raise EngineError(
            f'no weight in {path} fits the model, whose first is "{next(iter(own))}"; {found}'
            "; expected weights of this backbone or of a whole detector"
        )
    model.load_state_dict(fitting, strict=False)
    missing = tuple(name for name in own if name not in fitting)
    report = LoadReport(tuple(fitting), missing, tuple(unused), tuple(misfits))
    _warn_of_rest(path, report)
    return report


def _warn_of_rest(path: Path, report: LoadReport) -> None:
    """Warn of weights that are left out or stay random; a bare backbone has no other part."""
    left_out = [name for name in report.unused if not _EXPECTED_REST.search(name)]
    of_detector = any(name.startswith(("neck.", "prob_head.")) for name in report.loaded)
    random = [name for name in report.missing if not _EXPECTED_REST.search(name)]
    if is_exported(path) or not (of_detector or left_out):
        random = []  # an exported model has no threshold head, a backbone has no other part
    for names, what in (
        (left_out, "of the file are not used"),
        (random, "of the model stay random"),
    ):
        if names:
            more = f" and {len(names) - 10} more" if len(names) > 10 else ""
            logger.warning(
                "%s: %d weights %s: %s%s", path, len(names), what, ", ".join(names[:10]), more
            )


_EXPECTED_REST = re.compile(r"(^|\.)(fc|classifier|head\.fc)\.|num_batches_tracked$")


def _numpy_globals() -> list[Any]:
    """Classes and functions of NumPy 1 and 2 in pickled numbers and arrays; none runs code."""
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    named = [
        (function, f"numpy.{core}.multiarray.{name}")
        for function, name in ((scalar, "scalar"), (array, "_reconstruct"))
        for core in ("core", "_core")
    ]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    return [*named, np.ndarray, np.dtype, *kinds]


def _read_state(path: Path, model: DBNet) -> Mapping[str, Tensor]:
    """Read the tensors, by name, of a safetensors file, a pickled state dict or an ONNX export."""
    try:
        if is_exported(path):
            return read_exported(path, model)
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with torch.serialization.safe_globals(_numpy_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except EngineError:
        raise
    except Exception as error:  # torch and pickle raise many types
        reason = f"{type(error).__name__} {error}".partition("\n")[0]
        if not isinstance(error, (OSError, SafetensorError)):  # torch suggests running its code
            reason = "it holds something other than tensors"
        raise EngineError(
            f"{path} cannot be read as weights ({reason}); expected a .safetensors file, a "
            "state dict of tensors that torch.save wrote, an .onnx file that `dbnet export` "
            "wrote, or the name of a model of this package"
        ) from error
    for key in ("state_dict", "model_state_dict", "model", "net"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise EngineError(f"{path} holds a {type(content).__name__}, expected a state dict")
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


_TRANSLATIONS: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"^(model\.)?module\.", ""),
    (r"^model\.", ""),
    # mmocr
    (r"^neck\.lateral_convs\.(\d)\.conv\.", r"neck.lateral.\1."),
    (r"^neck\.smooth_convs\.(\d)\.conv\.", r"neck.smooth.\1."),
    (r"^(?:bbox_head|det_head)\.binarize\.", "prob_head."),
    (r"^(?:bbox_head|det_head)\.threshold\.", "thresh_head."),
    (r"\.conv2\.conv_offset\.", ".conv2.offset."),
    # the original repository
    (r"^decoder\.in([2-5])\.", lambda match: f"neck.lateral.{int(match[1]) - 2}."),
    (r"^decoder\.out([2-5])\.(?:0\.)?", lambda match: f"neck.smooth.{int(match[1]) - 2}."),
    (r"^decoder\.binarize\.", "prob_head."),
    (r"^decoder\.thresh\.", "thresh_head."),
    (r"^decoder\.concat_attention\.conv\.", "fusion.conv."),
    (r"^decoder\.concat_attention\.enhanced_attention\.attention_wise\.", "fusion.weights."),
    (r"^decoder\.concat_attention\.enhanced_attention\.channel_wise\.1\.", "fusion.channel.0."),
    (r"^decoder\.concat_attention\.enhanced_attention\.channel_wise\.3\.", "fusion.channel.2."),
    (r"^decoder\.concat_attention\.enhanced_attention\.spatial_wise\.", "fusion.spatial."),
    (r"\.conv2_offset\.", ".conv2.offset."),
    # a backbone alone, or inside another model
    (r"^(?:\w+\.)?(features|conv1|bn1|layer[1-4])\.", r"backbone.\1."),
)

# The original repository joins the pyramid's levels coarsest first, this package finest first. The
# levels lie along this axis of each of these weights.
_LEVEL_AXIS = {
    "prob_head.0.weight": 1,
    "thresh_head.0.weight": 1,
    "fusion.conv.weight": 1,
    "fusion.weights.0.weight": 0,
}

_FLAT_BLOCK = {"0": "0.0", "1": "0.1", "3": "1.0", "4": "1.1", "6": "2", "7": "3"}
_FLAT_FIRST_BLOCK = {"0": "0.0", "1": "0.1", "3": "1", "4": "2"}


def _translate(state: Mapping[str, Tensor]) -> dict[str, tuple[str, Tensor]]:
    """Map each name in our model to the name in the file and the tensor."""
    translated = {}
    for original, value in state.items():
        name = original
        for pattern, replacement in _TRANSLATIONS:
            name = re.sub(pattern, replacement, name)
        coarsest_first = name in _LEVEL_AXIS and ".decoder." in f".{original}"
        fitted = _reverse_levels(value, _LEVEL_AXIS[name]) if coarsest_first else value
        translated[name] = (original, fitted)
    # Old MobileNetV2 files have the layers of a block in one flat sequence, not a nested one.
    if "backbone.features.1.conv.0.weight" in translated:
        translated = {_nest_block(name): entry for name, entry in translated.items()}
    return translated


def _reverse_levels(value: Tensor, axis: int) -> Tensor:
    if value.shape[axis] % 4:  # it has not four equal levels, and its shape will not fit
        return value
    return torch.cat(value.chunk(4, dim=axis)[::-1], dim=axis)


def _nest_block(name: str) -> str:
    match = re.fullmatch(r"backbone\.features\.(\d+)\.conv\.(\d)\.(\w+)", name)
    if match is None:
        return name
    layers = _FLAT_FIRST_BLOCK if match[1] == "1" else _FLAT_BLOCK
    layer = layers.get(match[2], match[2])
    return f"backbone.features.{match[1]}.conv.{layer}.{match[3]}"
