# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dbnet_trt import BuildError
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.calibration import load_calibration
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.lowering import lower, read_network
from dbnet_trt.building.quantize import quantize
from dbnet_trt.building.verify import draw_samples
from dbnet_trt.images.load import write_image
from fakes.tiny_model import CARD, make_conv_model, make_model


def test_missing_extra(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "modelopt.onnx.quantization", None)
    network = lower(read_network(make_model(pictures / "a.onnx")), half=False)
    with pytest.raises(BuildError, match=r"pip install 'dbnet-trt\[quantize\]'"):
        quantize(network, "int8", np.zeros((1, 3, 32, 32), np.float32))


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_quantized_network_is_close(
    precision: str, pictures: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("modelopt.onnx.quantization", reason="nvidia-modelopt is not installed")
    network = lower(read_network(make_conv_model(pictures / "a.onnx", rng)), half=False)
    images = load_calibration(str(pictures), CARD, (64, 96))
    quantized = quantize(network, precision, images)
    assert "DequantizeLinear" in {node.op_type for node in quantized.model.graph.node}
    exact, close = (each.on_cpu()(images) for each in (network, quantized))
    assert np.abs(exact - close).max() < 0.1 * np.abs(exact).max()
    assert dataclasses.replace(quantized, model=network.model) == network


def test_network_too_small_to_quantize(pictures: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("modelopt.onnx.quantization", reason="nvidia-modelopt is not installed")
    network = lower(read_network(make_conv_model(pictures / "a.onnx", rng, channels=4)), half=False)
    with pytest.raises(BuildError, match="finds nothing to compute in fp8"):
        quantize(network, "fp8", load_calibration(str(pictures), CARD, (64, 96)))


def test_int8_engine_of_the_default_model(rtx: Any, no_gpu: None, folder: Path) -> None:
    """It comes in int8; the rest of the engine is in fp16."""
    config = BuildConfig("int8", "32x32/320x416/640x640", rtx=True, compute_capability="86")
    built = build_engine("dbnet-lines", config=config)
    layers = dict(built.layers)
    assert layers["quantize int8"] > 20
    assert layers["convolution half"] > 20
    assert built.card.precision == "int8"
    assert "int8 by NNCF" in built.card.model.source
    same, _, expected = map(str.strip, built.checked.partition(": ")[2].split()[:3])
    assert int(expected) > 10
    assert int(same) >= 0.9 * int(expected)


def test_int8_engine_that_is_calibrated(rtx: Any, no_gpu: None, folder: Path) -> None:
    """Calibrated on drawn pages, the engine finds the boxes of fp32 on other pages."""
    pytest.importorskip("modelopt.onnx.quantization", reason="nvidia-modelopt is not installed")
    pytest.importorskip("rapidocr", reason="rapidocr is not installed")
    for i, page in enumerate(draw_samples(12)[3:]):  # the build compares the first three
        write_image(folder / "pages" / f"{i}.png", page)
    shapes = "32x32/320x416/640x640"
    config = BuildConfig(
        "int8", shapes, calibration=str(folder / "pages"), rtx=True, compute_capability="86"
    )
    built = build_engine("ppocrv6-small", config=config)
    layers = dict(built.layers)
    assert layers["quantize int8"] > 20
    same, _, expected = map(str.strip, built.checked.partition(": ")[2].split()[:3])
    assert int(expected) > 10
    assert int(same) >= 0.9 * int(expected)
