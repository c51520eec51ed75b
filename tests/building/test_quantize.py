# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import BuildError, ImageError
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.lowering import lower, read_network
from dbnet_trt.building.quantize import load_calibration, quantize
from dbnet_trt.building.verify import draw_samples
from dbnet_trt.images.load import write_image
from fakes.tiny_model import CARD, make_model, scene


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Write three pictures into separate folders."""
    for i, size in enumerate([(60, 200), (200, 60), (33, 47)]):
        (tmp_path / str(i)).mkdir()
        write_image(tmp_path / str(i) / "a.png", scene(*size, num_texts=1))
    return tmp_path


def test_calibration_images_fit_and_keep_their_shape(pictures: Path) -> None:
    images = load_calibration(pictures, CARD, (64, 96))
    assert images.shape == (3, 3, 64, 96)
    assert images.min() == -1  # black
    assert images.max() == 1  # white, by mean and standard deviation of 0.5
    wide = images[0, 0]  # 60 x 200 becomes 28 x 96, the rest is padding
    assert (wide[:28] != 0).all()
    assert not wide[28:].any()


def test_number_of_calibration_images_is_limited(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbnet_trt.building.quantize.MAX_IMAGES", 2)
    assert len(load_calibration(pictures, CARD, (32, 32))) == 2


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        load_calibration(tmp_path, CARD, (32, 32))


def test_missing_extra(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "modelopt.onnx.quantization", None)
    network = lower(read_network(make_model(pictures / "a.onnx")), half=False)
    with pytest.raises(BuildError, match=r"pip install 'dbnet-trt\[quantize\]'"):
        quantize(network, "int8", np.zeros((1, 3, 32, 32), np.float32))


def conv_model(path: Path, rng: np.random.Generator, channels: int = 64) -> Path:
    """Make a network of three convolutions for which bright pixels are text."""
    model = onnx.load(make_model(path))
    graph = model.graph
    del graph.node[:]
    widths = [3, channels, channels, 1]
    names = ["image", "first", "second", "map"]
    for i in range(3):
        weight = rng.uniform(0.1, 0.2, (widths[i + 1], widths[i], 3, 3)).astype(np.float32)
        graph.initializer.append(onnx.numpy_helper.from_array(weight / widths[i], f"weight{i}"))
        inputs = [names[i], f"weight{i}"]
        node = onnx.helper.make_node("Conv", inputs, [names[i + 1]], pads=[1] * 4)
        graph.node.append(node)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_quantized_network_is_close(
    precision: str, pictures: Path, rng: np.random.Generator
) -> None:
    pytest.importorskip("modelopt.onnx.quantization", reason="nvidia-modelopt is not installed")
    network = lower(read_network(conv_model(pictures / "a.onnx", rng)), half=False)
    images = load_calibration(pictures, CARD, (64, 96))
    quantized = quantize(network, precision, images)
    assert "DequantizeLinear" in {node.op_type for node in quantized.model.graph.node}
    exact, close = (each.on_cpu()(images) for each in (network, quantized))
    assert np.abs(exact - close).max() < 0.1 * np.abs(exact).max()
    assert dataclasses.replace(quantized, model=network.model) == network


def test_network_too_small_to_quantize(pictures: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("modelopt.onnx.quantization", reason="nvidia-modelopt is not installed")
    network = lower(read_network(conv_model(pictures / "a.onnx", rng, channels=4)), half=False)
    with pytest.raises(BuildError, match="finds nothing to compute in fp8"):
        quantize(network, "fp8", load_calibration(pictures, CARD, (64, 96)))


def test_int8_engine_of_the_default_model(rtx: Any, no_gpu: None, folder: Path) -> None:
    """Calibrated on drawn pages, the engine finds the boxes of fp32 on other pages."""
    pytest.importorskip("modelopt.onnx.quantization", reason="nvidia-modelopt is not installed")
    pytest.importorskip("rapidocr", reason="the default model is not installed")
    for i, page in enumerate(draw_samples(12)[3:]):  # the build compares the first three
        write_image(folder / "pages" / f"{i}.png", page)
    shapes = "32x32/320x416/640x640"
    config = BuildConfig(
        "int8", shapes, calibration=folder / "pages", rtx=True, compute_capability="86"
    )
    built = build_engine("ppocrv6-small", config=config)
    layers = dict(built.layers)
    assert layers["quantize int8"] > 20
    same, _, expected = map(str.strip, built.checked.partition(": ")[2].split()[:3])
    assert int(expected) > 10
    assert int(same) >= 0.9 * int(expected)
