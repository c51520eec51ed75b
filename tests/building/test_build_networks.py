# SPDX-License-Identifier: Apache-2.0
"""Engines of every type of network, built by TensorRT-RTX."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbnet_trt import ModelCard
from dbnet_trt.building.build import build_engine
from dbnet_trt.building.config import BuildConfig

from .conftest import SMALL

pytestmark = pytest.mark.slow

WIDE = dataclasses.replace(
    SMALL, shapes="32x32/736x1280/1536x2048", compute_capability="", check=False
)


@pytest.fixture(scope="module")
def unchecked() -> Iterator[None]:
    """Skip the comparison of exports with PyTorch, which tests/network does."""
    exporting = pytest.importorskip("dbnet_trt.network.export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_check", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def resnet18(unchecked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dbnet_trt.network.config import ModelConfig
    from dbnet_trt.network.dbnet import DBNet
    from dbnet_trt.network.export import export_onnx

    path = tmp_path_factory.mktemp("resnet18") / "resnet18.onnx"
    export_onnx(DBNet(ModelConfig()), ModelCard("resnet18"), path)
    return path


@pytest.mark.parametrize(("precision", "megabytes"), [("fp32", 50), ("fp16", 26)])
def test_resnet18(rtx: Any, no_gpu: None, resnet18: Path, precision: Any, megabytes: int) -> None:
    built = build_engine(resnet18, config=dataclasses.replace(WIDE, precision=precision))
    assert built.path.stat().st_size == pytest.approx(megabytes * 1e6, rel=0.1)
    kind = "convolution half" if precision == "fp16" else "convolution float"
    assert dict(built.layers)[kind] > 20
    assert len(built.card.compute_capabilities) >= 4


@pytest.mark.parametrize(
    ("fusion", "precision"), [(False, "fp16"), (True, "fp32")], ids=["dcn-fp16", "dbnet++-fp32"]
)
def test_deformable_checkpoints(
    rtx: Any, no_gpu: None, unchecked: None, folder: Path, fusion: bool, precision: Any
) -> None:
    from dbnet_trt.network.checkpoints import save_model
    from dbnet_trt.network.config import ModelConfig
    from dbnet_trt.network.dbnet import DBNet

    model = DBNet(ModelConfig("resnet18", 16, deformable=True, adaptive_scale_fusion=fusion))
    save_model(folder / "a.safetensors", model, ModelCard("dcn"))
    config = dataclasses.replace(WIDE, precision=precision, compute_capability="86")
    layers = dict(build_engine(folder / "a.safetensors", config=config).layers)
    # ResNet-18 has six deformable convolutions of nine taps each; coordinates stay in fp32.
    assert layers["grid_sample float"] >= 9 * 6
    assert layers["convolution half" if precision == "fp16" else "convolution float"] > 9 * 6


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_default_model(rtx: Any, no_gpu: None, precision: Any) -> None:
    pytest.importorskip("rapidocr")
    config = BuildConfig(
        precision, "32x32/320x416/1024x1024", rtx=True, compute_capability="75,86,120"
    )
    built = build_engine("ppocrv6-small", config=config)
    assert built.card.model.output == "logit"
    assert built.card.model.license.startswith("Apache-2.0")
    same, _, expected = built.checked.partition(": ")[2].split()[:3]
    assert int(same) == int(expected) > 10
