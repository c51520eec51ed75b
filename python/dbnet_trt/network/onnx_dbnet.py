# SPDX-License-Identifier: Apache-2.0
"""Train a DB network that another project exported to ONNX."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor, nn

from ..errors import EngineError
from .config import ModelConfig
from .dbnet import DBOutput, Head, binarize
from .onnx_graph import OnnxGraph

SHAPE_ONLY = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze")
"""Operations that may stand between the sigmoid and the graph's output."""

PROBE = (64, 96)
"""Height and width of the image that a new network is tried on."""


class OnnxDBNet(nn.Module):
    """A DB network from an ONNX graph, with the interface of `DBNet`.

    Exporters drop the threshold branch, which only training needs. A new branch is added to the
    last features, where the levels of the pyramid are joined.
    """

    def __init__(
        self, model: onnx.ModelProto, config: ModelConfig = ModelConfig(), output_name: str = ""
    ) -> None:
        """Build the network.

        Args:
            model: See `OnnxGraph`.
            config: Only `db` and `amplification` are used; the graph fixes the rest.
            output_name: Name of the output that is the map; "" takes the first.

        Raises:
            EngineError: The graph is not a DB network, or cannot be trained.
        """
        super().__init__()
        self.config, self.output_name = config, output_name or model.graph.output[0].name
        logits, self.ends_in_sigmoid = find_logits(model.graph, self.output_name)
        outputs = (logits, _find_features(model.graph, logits)) if config.db else (logits,)
        self.graph = OnnxGraph(model, outputs)
        num_features = self._check_sizes()
        self.thresh_head: Head | None = None
        if config.db:
            self.thresh_head = Head(num_features)
            self.thresh_head.start_at(0.5)

    def forward(self, images: Tensor) -> DBOutput | Tensor:
        """Run the network; arguments and result are those of `DBNet.forward`."""
        logits, *features = self.graph(images)
        prob_logits = logits.squeeze(1) if logits.ndim == 4 else logits
        if not self.training:
            return prob_logits
        if self.thresh_head is None:
            return DBOutput(prob_logits.float(), None, None)
        thresh_logits = self.thresh_head(features[0]).squeeze(1)
        return binarize(prob_logits, thresh_logits, self.config.amplification)

    def to_onnx(self) -> onnx.ModelProto:
        """Copy the ONNX model with the weights that the network has now."""
        return self.graph.to_onnx()

    def _check_sizes(self) -> int:
        """Run the graph on a small image; return the number of channels of the features.

        Raises:
            EngineError: It takes images of one size only, or gives no map of the image's size; or
                the features, for the threshold branch, are not at stride 4.
        """
        height, width = PROBE
        try:
            with torch.no_grad():
                logits, *features = self.graph(torch.zeros(1, 3, height, width))
        except EngineError:
            raise
        except RuntimeError as error:  # of PyTorch: sizes of tensors do not match
            raise EngineError(
                f"the ONNX graph fails on an image of {width}x{height} pixels ({error}); if it was "
                "exported for images of one size, export it with free height and width"
            ) from error
        size, map_size = (height // 4, width // 4), tuple(logits.shape[-2:])
        found = tuple(features[0].shape[-2:]) if features else size
        if map_size == PROBE and found == size:
            return int(features[0].shape[1]) if features else 0
        if not features:
            raise EngineError(
                f"training needs a map of the input's size; for an input of {PROBE} it is "
                f"{map_size}"
            )
        raise EngineError(
            "a threshold branch needs features at a quarter of the map's size, and a map of the "
            f"input's size; for an input of {PROBE} these are {found} and {map_size}. Train "
            "without the branch: --model.no-db"
        )


def find_logits(graph: onnx.GraphProto, output: str) -> tuple[str, bool]:
    """Name of the logits, and whether a sigmoid follows them; without one the output is logits."""
    producers = {name: node for node in graph.node for name in node.output}
    name = output
    while (node := producers.get(name)) is not None:
        if node.op_type == "Sigmoid":
            return node.input[0], True
        if node.op_type not in SHAPE_ONLY:
            break
        name = node.input[0]
    return output, False


def _find_features(graph: onnx.GraphProto, logits: str) -> str:
    """Name of the output of the last Concat before the map.

    Raises:
        EngineError: There is none.
    """
    constants = {tensor.name for tensor in graph.initializer}
    producers = {
        name: node
        for node in graph.node
        if node.op_type != "Constant"
        for name in node.output
        if not constants.issuperset(node.input)  # a constant under another name
    }
    name = logits
    while (node := producers.get(name)) is not None:
        if node.op_type == "Concat":
            return name
        name = next((each for each in node.input if each in producers), "")
    raise EngineError(
        "the ONNX graph joins no features before its last layers (there is no Concat), so a "
        "threshold branch has no place; train without it: --model.no-db"
    )
