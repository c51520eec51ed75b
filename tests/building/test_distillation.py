# SPDX-License-Identifier: Apache-2.0
"""Training of a quantized network on the map of the network in fp32."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from dbnet_trt import BuildError
from dbnet_trt.building import distillation
from dbnet_trt.building.calibration import network_input
from dbnet_trt.building.distillation import Distillation, distill
from dbnet_trt.building.lowering import OnnxNetwork
from dbnet_trt.data.open import read_photos
from dbnet_trt.data.samples import Sample
from dbnet_trt.images.load import write_image
from dbnet_trt.network.onnx_dbnet import OnnxDBNet
from dbnet_trt.settings import ResizePlan
from fakes.tiny_model import scene
from network.graphs import CARD, make_detector, quantize, run_onnx
from onnx import numpy_helper


@pytest.fixture
def photos(tmp_path: Path) -> list[Sample]:
    for i, size in enumerate([(120, 200), (300, 90), (20, 31)]):
        write_image(tmp_path / f"{i}.png", scene(*size, num_texts=1))
    return read_photos(str(tmp_path))


def make_sharp_detector() -> onnx.ModelProto:
    """Make `make_detector` with a map that is not nearly the same everywhere."""
    model = make_detector()
    (weight,) = (each for each in model.graph.initializer if each.name == "up2.w")
    weight.CopyFrom(numpy_helper.from_array(20 * numpy_helper.to_array(weight), "up2.w"))
    return model


def spoil(model: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """Change the int8 weights by up to 5 of 63."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    (weight,) = (each for each in copy.graph.initializer if each.name == "head.q")
    levels = numpy_helper.to_array(weight)
    levels = (levels + rng.integers(-5, 6, levels.shape)).clip(-63, 63).astype(np.int8)
    weight.CopyFrom(numpy_helper.from_array(levels, "head.q"))
    return copy


def test_the_map_comes_closer_to_fp32(
    photos: list[Sample], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales, and the range of the weights, stay as they were; so does the graph given."""
    monkeypatch.setattr(distillation, "CROP", 96)
    fp32 = make_sharp_detector()
    quantized = spoil(quantize(fp32), rng)
    before = quantized.SerializeToString()
    steps: list[tuple[str, int, int]] = []
    network = OnnxNetwork(fp32, CARD, "x", "map")
    settings = Distillation(60, learning_rate=1e-3)
    taught = distill(quantized, fp32, network, photos, settings, lambda *step: steps.append(step))
    assert quantized.SerializeToString() == before
    assert steps[0] == ("distilling", 0, 60)
    assert steps[-1] == ("distilling", 60, 60)
    onnx.checker.check_model(taught)
    image = scene(96, 128, num_texts=2)  # none of those that it learnt on
    batch = network_input(image, CARD, ResizePlan((96, 128), (96, 128), (96, 128)))
    expected = run_onnx(fp32, batch)
    errors = [np.abs(run_onnx(each, batch) - expected).mean() for each in (quantized, taught)]
    assert errors[1] < 0.6 * errors[0]
    values = [
        {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        for model in (quantized, taught)
    ]
    assert not np.array_equal(values[0]["head.q"], values[1]["head.q"])
    assert np.abs(values[1]["head.q"]).max() <= 63
    for name in ("head.scale", "step", "scales", "norm.mean", "norm.var"):
        np.testing.assert_array_equal(values[0][name], values[1][name])


def test_the_same_photos_give_the_same_weights(
    photos: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "CROP", 64)
    fp32 = make_detector()
    network = OnnxNetwork(fp32, CARD, "x", "map")
    first, second = (
        distill(quantize(fp32), fp32, network, photos, Distillation(3), lambda *_: None)
        for _ in range(2)
    )
    assert first.SerializeToString() == second.SerializeToString()


def test_turned_crops_get_the_turned_map(
    photos: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distillation, "CROP", 64)
    squares = torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    turned = distillation._turn(squares, [0, 3])
    np.testing.assert_array_equal(turned[0], squares[0])
    np.testing.assert_array_equal(turned[1, 2], np.rot90(squares[1, 2].numpy(), 3))

    fp32 = make_sharp_detector()
    network = OnnxNetwork(fp32, CARD, "x", "map")
    given: list[torch.Tensor] = []
    forward = OnnxDBNet.forward

    def record(self: OnnxDBNet, images: torch.Tensor) -> Any:
        given.append(images)
        return forward(self, images)

    monkeypatch.setattr(OnnxDBNet, "forward", record)
    settings = Distillation(40, batch_size=1, quarter_turn_prob=0.5)
    distill(fp32, fp32, network, photos, settings, lambda *_: None)
    numbers = [
        next(n for n in range(4) if torch.equal(torch.rot90(upright, n, (-2, -1)), seen))
        for upright, seen in zip(given[::2], given[1::2], strict=True)
    ]
    assert set(numbers) == {0, 1, 2, 3}


def test_photos_of_one_row(tmp_path: Path) -> None:
    """At a larger zoom a crop would be less than a pixel high."""
    write_image(tmp_path / "row.png", np.full((1, 50, 3), 200, np.uint8))
    card = dataclasses.replace(CARD, short_side=1600)
    network = OnnxNetwork(make_detector(), card, "x", "map")
    crops = distillation.draw_crops(read_photos(str(tmp_path)), network)
    for _ in range(5):
        assert next(crops).shape == (1, 3, distillation.CROP, distillation.CROP)


def test_missing_torch(photos: list[Sample], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    fp32 = make_detector()
    network = OnnxNetwork(fp32, CARD, "x", "map")
    with pytest.raises(BuildError, match=r"needs PyTorch .*pip install 'dbnet-trt\[train\]'"):
        distill(quantize(fp32), fp32, network, photos, Distillation(3), lambda *_: None)
