# SPDX-License-Identifier: Apache-2.0
"""Give PP-OCRv4 mobile a lighter neck.

python engines/recipes/light_neck.py MODEL.onnx OUTPUT.onnx FORMAT:PATH...

The neck of PP-OCRv4 mobile joins four levels of the backbone to 24 channels at a quarter of the
image's size. It takes about half of the network's time on a CPU (OpenVINO, AVX2), a third of it all
in two 3x3 convolutions of 96 channels at that size. Its squeeze-and-excitation gates hardly differ
between photos (standard deviation of 1 + gate, averaged over channels: 0 to 5 %), and without them
nothing in it is nonlinear.

The new neck is linear, has no gates, adds the upper levels at an eighth of the image's size, and
has one 3x3 convolution of 40 channels at a quarter. Its weights are fitted to the features of the
old one; then the whole network learns the map of the whole old one. Both on crops of the photos,
and without labels.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from dbnet_trt import DBNetError
from dbnet_trt.building.distillation import Distillation, distill, draw_crops
from dbnet_trt.building.lowering import OnnxNetwork
from dbnet_trt.card import METADATA_KEY, ModelCard
from dbnet_trt.data.open import read_photos
from dbnet_trt.engines.onnx_model import read_model
from dbnet_trt.files import write_atomically
from dbnet_trt.network.onnx_graph import OnnxGraph, find_aliases, find_constants
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor

LEVELS = {
    2: ("conv2d_469.tmp_0", 12),
    3: ("conv2d_470.tmp_0", 18),
    4: ("conv2d_471.tmp_0", 42),
    5: ("p2o.Add.215", 384),
}
"""Tensor and number of channels of each level of the backbone; level i has 1 / 2**i of the size."""

FEATURES, NUM_FEATURES = "batch_norm_0.tmp_3", 24
"""Tensor that the neck ends in, before its ReLU, and its number of channels."""

WIDTH, UPPER = 64, 28
"""Channels of the pyramid, and of what the upper levels give to the last convolution."""

STEPS, BATCH_SIZE, LEARNING_RATE = 1600, 3, 3e-3

MAP_STEPS = 500
"""Steps in which the whole network learns the map of the old one, after the neck is fitted."""


class Neck:
    """Nodes and weights of the new neck."""

    def __init__(self, scales: dict[int, float]) -> None:
        """Build it with random weights.

        Args:
            scales: Standard deviation of each level.
        """
        self.nodes: list[onnx.NodeProto] = []
        self.weights = [  # of all resizes: opset 11 wants a region, too
            numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "neck/twice"),
            numpy_helper.from_array(np.zeros(0, np.float32), "neck/region"),
        ]
        self._rng = np.random.default_rng(0)
        total, upper = "", ""
        for level in (5, 4, 3):
            tensor, channels = LEVELS[level]
            lateral = self._conv(f"lateral{level}", tensor, channels, WIDTH, 1, scales[level])
            total = self._add(f"pyramid{level}", lateral, total)
            smooth = self._conv(f"smooth{level}", total, WIDTH, UPPER, 3)
            upper = self._add(f"upper{level}", smooth, upper)
        tensor, channels = LEVELS[2]
        joined = self._node("Concat", "joined", tensor, self._double(upper), axis=1)
        self._conv("features", joined, channels + UPPER, NUM_FEATURES, 3, scales[2])

    def _node(self, operation: str, name: str, *inputs: str, **attributes: Any) -> str:
        output = f"neck/{name}"
        self.nodes.append(helper.make_node(operation, inputs, [output], name=output, **attributes))
        return output

    def _conv(
        self, name: str, tensor: str, channels: int, outputs: int, kernel: int, scale: float = 1
    ) -> str:
        """Add a convolution of a tensor with this standard deviation."""
        shape = (outputs, channels, kernel, kernel)
        weight = self._rng.standard_normal(shape) / (scale * (channels * kernel**2) ** 0.5)
        for part, value in (("weight", weight), ("bias", np.zeros(outputs))):
            array = value.astype(np.float32)
            self.weights.append(numpy_helper.from_array(array, f"neck/{name}.{part}"))
        parameters = (f"neck/{name}.weight", f"neck/{name}.bias")
        pads = [kernel // 2] * 4
        return self._node("Conv", name, tensor, *parameters, kernel_shape=shape[2:], pads=pads)

    def _double(self, tensor: str) -> str:
        return self._node(
            "Resize", f"{tensor.removeprefix('neck/')}_twice", tensor, "neck/region", "neck/twice",
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    def _add(self, name: str, tensor: str, above: str) -> str:
        """Add the level above, if there is one, at twice its size."""
        return self._node("Add", name, tensor, self._double(above)) if above else tensor


def add_neck(model: onnx.ModelProto, neck: Neck) -> onnx.ModelProto:
    """Copy a model with the new neck beside the old one."""
    both = onnx.ModelProto()
    both.CopyFrom(model)
    both.graph.node.extend(neck.nodes)
    both.graph.initializer.extend(neck.weights)
    return both


def remove_old_neck(graph: onnx.GraphProto, scale: NDArray[np.float32]) -> None:
    """Let the head begin at the new neck, whose features are those of the old one over `scale`."""
    (relu,) = (node for node in graph.node if FEATURES in node.input)
    (head,) = (node for node in graph.node if relu.output[0] in node.input)
    constants = find_constants(graph)
    name = head.input[1]
    weight = constants[find_aliases(graph, constants).get(name, name)]
    array = numpy_helper.to_array(weight)
    scaled = (array * scale.reshape(-1, 1, 1, 1)).astype(array.dtype)
    weight.CopyFrom(numpy_helper.from_array(scaled, weight.name))

    relu.input[0] = "neck/features"
    nodes, first = list(graph.node), list(graph.node).index(relu)
    new = [node for node in nodes if node.output[0].startswith("neck/")]
    old = [node for node in nodes if node not in new]
    needed, kept = {graph.output[0].name}, []
    for node in reversed([*old[:first], *new, *old[first:]]):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    weights = [each for each in graph.initializer if each.name in needed]
    for field, values in ((graph.node, kept[::-1]), (graph.initializer, weights)):
        del field[:]
        field.extend(values)
    del graph.value_info[:]


def tell(phase: str, step: int, num_steps: int) -> None:
    """Print the progress now and then."""
    if step % 50 == 0:
        print(f"{phase}: {step} of {num_steps}", flush=True)


def write_model(model: onnx.ModelProto, card: ModelCard, target: Path) -> None:
    """Write a model with the card of the one that it was made of."""
    card = dataclasses.replace(card, sha256="")
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json()})
    write_atomically(target, lambda temporary: onnx.save(model, temporary))


def main(source: Path, target: Path, photos: list[str]) -> None:
    """Write a model with a new neck, and print how its features differ from the old ones."""
    network = OnnxNetwork(*read_model(source))
    samples = [sample for name in photos for sample in read_photos(name)]
    crops = draw_crops(samples, network)

    def draw(count: int) -> Tensor:
        return torch.from_numpy(np.concatenate([next(crops) for _ in range(count)]))

    levels = tuple(tensor for tensor, _ in LEVELS.values())
    with torch.no_grad():
        features, *inputs = OnnxGraph(network.model, (FEATURES, *levels))(draw(48))
    scale = features.std(dim=(0, 2, 3), keepdim=True)
    deviations = [float(each.std()) for each in inputs]
    both = add_neck(network.model, Neck(dict(zip(LEVELS, deviations, strict=True))))
    necks = OnnxGraph(both, (FEATURES, "neck/features"))
    for name, parameter in necks.named_parameters():
        parameter.requires_grad_(name.startswith("neck/"))

    def error(count: int) -> Tensor:
        old, new = necks(draw(count))
        return (new - old / scale).square().mean()

    weights = [each for each in necks.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(weights)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=STEPS, pct_start=0.1
    )
    for step in range(STEPS):
        loss = error(BATCH_SIZE)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"step {step}: squared error {loss.item():.4f} of the variance", flush=True)
    with torch.no_grad():
        print(f"last: {error(24).item():.4f} of the variance")
    light = necks.to_onnx()
    remove_old_neck(light.graph, scale.numpy())
    light = distill(light, network.model, network, samples, Distillation(MAP_STEPS), tell)
    write_model(light, network.card, target)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    except (DBNetError, ValueError, OSError) as problem:
        raise SystemExit(f"error: {problem}") from None
