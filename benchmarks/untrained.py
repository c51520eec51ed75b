# SPDX-License-Identifier: Apache-2.0
"""Untrained DBNets, which are as fast as trained ones: time does not depend on the weights.

Their maps are nearly constant. To give post-processing text to find, the darkness of the image is
added to the map, which costs one mean and one sum more than a trained network.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from dbnet_trt import ModelCard
from dbnet_trt.engines import DeviceEngine, Engine
from dbnet_trt.engines.torch import TorchDeviceEngine
from dbnet_trt.network.config import BackboneName, ModelConfig
from dbnet_trt.network.dbnet import DBNet
from dbnet_trt.opening import load_onnx
from dbnet_trt.settings import CpuConfig

if TYPE_CHECKING:
    import onnx

CARD = ModelCard(name="untrained", output="logit")
NETWORK_SHARE, DARK_SHARE = 0.01, -4.0
"""Weights in the map of the network's output, and of the image's mean over its channels."""

BACKBONES: tuple[BackboneName, ...] = ("resnet18", "resnet50", "mobilenetv2")
NAMES = {
    f"untrained-{backbone}{'-dcn' * deformable}{'' if db else '-nodb'}": ModelConfig(
        backbone, deformable=deformable, db=db
    )
    for backbone, deformable, db in itertools.product(BACKBONES, (False, True), (True, False))
    if backbone != "mobilenetv2" or not deformable
}


class WithText(torch.nn.Module):
    """Network whose nearly constant map is increased where the image is dark."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images) * NETWORK_SHARE + DARK_SHARE * images.mean(1)


def make_network(name: str) -> DBNet:
    """Make an untrained network, with the same weights on every call."""
    torch.manual_seed(0)
    return DBNet(NAMES[name]).eval()


@functools.cache
def same_network(name: str, other: str) -> bool:
    """Tell whether two of `NAMES` differ only in differentiable binarization, and so compute the
    same in inference with the same weights."""
    if dataclasses.replace(NAMES[name], db=True) != dataclasses.replace(NAMES[other], db=True):
        return False
    one, two = make_network(name), make_network(other)
    two.load_state_dict(one.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        return torch.equal(one(images), two(images))


def open_untrained(name: str, device: str, config: CpuConfig) -> Engine | DeviceEngine:
    """Open one of `NAMES` as a trained model would run: on the CPU exported to ONNX, on the GPU in
    PyTorch in FP16."""
    if device.startswith("cuda"):
        return TorchDeviceEngine(WithText(make_network(name)), CARD, device)
    import onnx

    model = onnx.load_model_from_string(export_untrained(name))
    _add_text(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(model, path)
        return load_onnx(path, config=config)


@functools.cache
def export_untrained(name: str) -> bytes:
    """Export one of `NAMES` as the contents of an ONNX file."""
    from dbnet_trt.network.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        export_onnx(make_network(name), CARD, path)
        return path.read_bytes()


def _add_text(model: onnx.ModelProto) -> None:
    """Add the operation of `WithText` to an exported network, in place."""
    import onnx

    graph, node = model.graph, onnx.helper.make_node
    image, logits = graph.input[0].name, graph.output[0].name
    for each in graph.node:  # the map gets a new name, the sum the old one
        each.output[:] = ["network_map" if name == logits else name for name in each.output]
    for name, value in (("network_share", NETWORK_SHARE), ("dark_share", DARK_SHARE)):
        graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [value]))
    graph.node.extend(
        [
            node("ReduceMean", [image], ["channel_mean"], axes=[1], keepdims=0),
            node("Mul", ["channel_mean", "dark_share"], ["dark"]),
            node("Mul", ["network_map", "network_share"], ["share"]),
            node("Add", ["share", "dark"], [logits]),
        ]
    )
