# SPDX-License-Identifier: Apache-2.0
"""Quantization to int8 and fp8 for GPUs, with NVIDIA's Model Optimizer."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BuildError
from .lowering import OnnxNetwork, halve_edges


def quantize(network: OnnxNetwork, precision: str, images: NDArray[np.float32]) -> OnnxNetwork:
    """Insert quantization nodes into a network in fp32; the rest is converted to fp16.

    Args:
        network: Network in fp32, with logits as output; it is not changed.
        precision: Precision of convolutions and matrix products: "int8" or "fp8".
        images: (N, 3, h, w) float32, normalised as the network's card says.

    Raises:
        BuildError: Model Optimizer is not installed, or cannot quantize the network.
    """
    try:
        from modelopt.onnx.quantization import quantize as insert_nodes
    except ImportError as error:
        raise BuildError(
            f"{precision} needs NVIDIA's Model Optimizer ({error}); "
            "pip install 'dbnet-trt[quantize]'"
        ) from error
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "network.onnx", Path(folder) / "quantized.onnx"
        onnx.save(network.model, source)
        try:
            insert_nodes(
                str(source),
                quantize_mode=precision,
                calibration_data={network.input_name: images},
                calibration_eps=["cpu"],
                output_path=str(target),
                high_precision_dtype="fp16",
                log_level="ERROR",
            )
            model = onnx.load(target)
        except Exception as error:  # Model Optimizer raises many types
            raise BuildError(
                f"Model Optimizer cannot quantize the network: {error}; build with --precision fp16"
            ) from error
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise BuildError(
            f"Model Optimizer finds nothing to compute in {precision} in this network; build with "
            "--precision fp16"
        )
    halve_edges(model, network.input_name, network.output_name)
    return dataclasses.replace(network, model=model)
