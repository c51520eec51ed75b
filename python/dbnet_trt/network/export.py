# SPDX-License-Identifier: Apache-2.0
"""Export of a PyTorch network to an ONNX file that contains its card."""

from __future__ import annotations

import dataclasses
import io
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxslim
import torch
from torch import Tensor, nn

from ..card import METADATA_KEY, ModelCard
from ..engines.onnx_model import flush_denormals, is_quantized
from ..errors import BuildError
from ..files import write_atomically
from .checkpoints import load_model
from .dbnet import DBNet
from .dcn import DeformableConv2d
from .onnx_dbnet import OnnxDBNet
from .onnx_weights import folded_pairs

INPUT, OUTPUT = "images", "logits"
OPSET = 17
DEFORM_CONV_OPSET = 19

MIN_HALVED = 64
"""Numbers of a tensor from which its fp16 form is smaller, with the Cast that it needs."""

DeformableExport = Literal["gridsample", "plugin"]
"""Form of deformable convolutions: samplings and convolutions, which every runtime has
("gridsample"), or one DeformConv node each, for which TensorRT has a plugin ("plugin")."""

TOLERANCE = {"fp32": 1e-3, "fp16": 0.5, "int8": 0.05}
"""Largest allowed difference of a logit between PyTorch's fp32 and the exported file. fp32 differs
by 2e-4 in a network of few steps, whose activations are large; fp16 by about 0.01; int8, where a
value may round to the next whole number, by 0.003; a broken export by several units."""


def export_checkpoint(
    checkpoint: Path,
    output: Path | None = None,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
    dcn: DeformableExport = "gridsample",
) -> Path:
    """Export a checkpoint that `dbnet train` wrote.

    Args:
        checkpoint: Checkpoint, a .safetensors file.
        output: ONNX file to write; None replaces the checkpoint's suffix by .onnx.
        precision: Precision inside the file; see `export_onnx`.
        dcn: Form of deformable convolutions; see `DeformableExport`.

    Returns:
        The ONNX file.

    Raises:
        ValueError: The output's name does not end in .onnx.
        EngineError: The checkpoint cannot be read.
        BuildError: The exported file gives other results than PyTorch.
    """
    target = output or checkpoint.with_suffix(".onnx")
    if target.suffix.lower() != ".onnx":  # it might be the checkpoint itself
        raise ValueError(f"expected an .onnx file to write, got {target}")
    model, card = load_model(checkpoint)
    if isinstance(model, OnnxDBNet):
        write_graph(model, card, target, precision=precision)
    else:
        export_onnx(model, card, target, precision=precision, dcn=dcn)
    return target


def write_graph(
    model: OnnxDBNet,
    card: ModelCard,
    path: Path,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
) -> None:
    """Write a network of another project as the ONNX graph that it was, with its present weights.

    Nodes and names stay; the card goes into the file's metadata.

    Args:
        model: Network; it is not changed.
        card: Card to store.
        path: File to write.
        precision: "fp16" halves the size of the weights; the graph computes as it did.

    Raises:
        BuildError: ONNX Runtime does not give what PyTorch gives.
    """
    graph = model.to_onnx()
    if precision == "fp16":
        _halve_weights(graph.graph)
    flush_denormals(graph)
    complete = dataclasses.replace(
        card, output="probability" if model.ends_in_sigmoid else "logit", sha256=""
    )
    onnx.helper.set_model_props(graph, {METADATA_KEY: complete.to_json()})
    data = graph.SerializeToString()
    is_half = any(t.data_type == onnx.TensorProto.FLOAT16 for t in graph.graph.initializer)

    def run(images: Tensor) -> Tensor:
        logits: Tensor = model.eval()(images)
        return logits.sigmoid() if model.ends_in_sigmoid else logits

    kind = "int8" if is_quantized(graph) else "fp16" if is_half else "fp32"
    _check(data, run, kind, model.output_name)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def _halve_weights(graph: onnx.GraphProto) -> None:
    """Store the larger fp32 tensors in fp16, each with a Cast to fp32 behind it.

    Scales of Q/DQ nodes stay, since engines expect constants there.
    """
    nodes, casts = [], []
    kinds = ("QuantizeLinear", "DequantizeLinear")
    scales = {node.input[1] for node in graph.node if node.op_type in kinds}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            graph.initializer.add(name=node.output[0]).MergeFrom(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
        else:
            nodes.append(node)
    for tensor in graph.initializer:
        is_large = math.prod(tensor.dims) >= MIN_HALVED and tensor.name not in scales
        if tensor.data_type == onnx.TensorProto.FLOAT and is_large:
            name, half = tensor.name, f"{tensor.name}_half"
            value = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, half))
            casts.append(onnx.helper.make_node("Cast", [half], [name], to=onnx.TensorProto.FLOAT))
    whole = onnx.helper.make_graph(
        [*casts, *nodes],
        graph.name,
        [each for each in graph.input if each.name not in {c.output[0] for c in casts}],
        graph.output,
        graph.initializer,
        value_info=graph.value_info,
    )
    graph.CopyFrom(whole)


def export_onnx(
    model: DBNet,
    card: ModelCard,
    path: Path,
    *,
    precision: Literal["fp32", "fp16"] = "fp32",
    dcn: DeformableExport = "gridsample",
) -> None:
    """Write a network as ONNX: images (B, 3, h, w) float32 to logits (B, h, w) float32.

    B, h and w are free. Batch normalisation is folded into the convolutions, denormal weights are
    set to zero, the graph is simplified, and the card is stored in the file. ONNX Runtime's result
    is compared with PyTorch's before the file is written.

    Args:
        model: Network on any device; it is not changed.
        card: Card to store, with `output` set to "logit".
        path: File to write.
        precision: "fp16" halves the size of the weights and computes in fp16 if the runtime can;
            input and output stay float32.
        dcn: Form of deformable convolutions; see `DeformableExport`.

    Raises:
        BuildError: ONNX Runtime gives other results than PyTorch.
        OSError: The file cannot be written.
    """
    exact = _copy(model)
    folded = _fold_batch_norms(_copy(model))
    for module in folded.modules():
        if isinstance(module, DeformableConv2d):
            module.exports_one_node = dcn == "plugin"
    opset = DEFORM_CONV_OPSET if dcn == "plugin" else OPSET
    graph = _trace(_HalfInside(folded) if precision == "fp16" else folded, opset)
    flush_denormals(graph)
    onnx.helper.set_model_props(
        graph, {METADATA_KEY: dataclasses.replace(card, output="logit", sha256="").to_json()}
    )
    data = graph.SerializeToString()
    _check(data, exact, precision)
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def _copy(model: DBNet) -> DBNet:
    copy = DBNet(model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


class _HalfInside(nn.Module):
    """Network in fp16 with input and output in fp32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.half()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images.half())
        return logits.float()


def _fold_batch_norms(model: nn.Module) -> nn.Module:
    """Fold each batch normalisation into the convolution before it; changes `model`."""
    for conv_name, norm_name in list(folded_pairs(model)):
        conv, norm = model.get_submodule(conv_name), model.get_submodule(norm_name)
        folded = nn.utils.fusion.fuse_conv_bn_eval(
            conv,  # type: ignore[type-var]
            norm,  # type: ignore[arg-type]
            transpose=isinstance(conv, nn.ConvTranspose2d),
        )
        model.set_submodule(conv_name, folded)
        model.set_submodule(norm_name, nn.Identity())
    return model


def _trace(model: nn.Module, opset: int) -> onnx.ModelProto:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but is ten times faster and makes a smaller graph.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.zeros(1, 3, 64, 96),),
            file,  # type: ignore[arg-type]  # a buffer is accepted as well as a path
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={
                INPUT: {0: "batch", 2: "height", 3: "width"},
                OUTPUT: {0: "batch", 1: "height", 2: "width"},
            },
            opset_version=opset,
            dynamo=False,
        )
    graph: onnx.ModelProto = onnxslim.slim(onnx.load_from_string(file.getvalue()))
    return graph


def _check(
    data: bytes,
    run: Callable[[Tensor], Tensor],
    precision: str,
    output: str = OUTPUT,
) -> None:
    """Compare ONNX Runtime with PyTorch, on other shapes than the traced one.

    Raises:
        BuildError: The results differ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    rng = np.random.default_rng(0)
    for free in ((2, 3, 96, 160), (1, 3, 160, 32)):
        shape = [side if isinstance(side, int) else other
                 for side, other in zip(taken.shape, free, strict=True)]  # fmt: skip
        images = rng.normal(size=shape).astype(np.float32)
        with torch.inference_mode():
            expected = run(torch.from_numpy(images)).numpy()
        kind = np.float16 if taken.type == "tensor(float16)" else np.float32
        (found,) = session.run([output], {taken.name: images.astype(kind)})
        difference = float(np.abs(found.reshape(expected.shape) - expected).max())
        if not difference <= TOLERANCE[precision] * max(1.0, float(np.abs(expected).max()) / 10):
            raise BuildError(
                f"ONNX Runtime's map differs from PyTorch's by {difference:.3g} in {precision} "
                f"(input {tuple(shape)}); if this is fp16, the weights may not fit it: export fp32"
            )
