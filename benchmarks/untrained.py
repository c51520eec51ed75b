# SPDX-License-Identifier: Apache-2.0
"""DBNets without training: as fast as trained ones, for time does not depend on the weights.

Their maps are all but constant. So that there is text to find, and post-processing has its work,
what is dark in the image is added to the map: a mean and a sum more than the trained network does.
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
"""What of the map comes from the network, and from the image's mean over its channels."""

BACKBONES: tuple[BackboneName, ...] = ("resnet18", "resnet50", "mobilenetv2")
NAMES = {
    f"untrained-{backbone}{'-dcn' * deformable}{'' if db else '-nodb'}": ModelConfig(
        backbone, deformable=deformable, db=db
    )
    for backbone, deformable, db in itertools.product(BACKBONES, (False, True), (True, False))
    if backbone != "mobilenetv2" or not deformable
}


class WithText(torch.nn.Module):
    """The network's map, all but constant, plus what is dark."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images) * NETWORK_SHARE + DARK_SHARE * images.mean(1)


def make_network(name: str) -> DBNet:
    """The same weights on every call."""
    torch.manual_seed(0)
    return DBNet(NAMES[name]).eval()


@functools.cache
def same_network(name: str, other: str) -> bool:
    """Whether two of `NAMES` differ in differentiable binarization alone, and compute the same in
    inference, given the same weights."""
    if dataclasses.replace(NAMES[name], db=True) != dataclasses.replace(NAMES[other], db=True):
        return False
    one, two = make_network(name), make_network(other)
    two.load_state_dict(one.state_dict(), strict=False)
    images = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        return torch.equal(one(images), two(images))


def open_untrained(name: str, device: str, config: CpuConfig) -> Engine | DeviceEngine:
    """One of `NAMES`, as a trained one would run: exported to ONNX on the CPU; on the GPU in
    PyTorch, FP16."""
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
    """One of `NAMES` as ONNX, as a file holds it."""
    from dbnet_trt.network.export import export_onnx

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        export_onnx(make_network(name), CARD, path)
        return path.read_bytes()


def _add_text(model: onnx.ModelProto) -> None:
    """What `WithText` does, in an exported network, in place."""
    import onnx

    graph, node = model.graph, onnx.helper.make_node
    image, logits = graph.input[0].name, graph.output[0].name
    for each in graph.node:  # the network's map gets another name, the sum has the old one
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
