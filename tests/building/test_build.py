# SPDX-License-Identifier: Apache-2.0
"""Engines built by TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx
import pytest
from dbnet_trt import BuildError, EngineError, cuda_available
from dbnet_trt.building import build
from dbnet_trt.building import compile as compile_module
from dbnet_trt.building.build import build_engine, choose_target, default_name
from dbnet_trt.building.compile import Target, compile_network
from dbnet_trt.building.config import BuildConfig
from dbnet_trt.building.lowering import lower, read_network
from dbnet_trt.engines.engine_card import read_engine_card
from fakes.tensorrt import USABLE, install
from fakes.tiny_model import CARD, make_model
from onnx import helper

from .conftest import SMALL


def test_engine_and_card(rtx: Any, no_gpu: None, folder: Path) -> None:
    phases = set()
    built = build_engine(
        make_model(folder / "a.onnx"),
        config=SMALL,
        progress=lambda phase, step, steps: phases.add(phase),
    )
    name = f"tiny-64x96-fp32-sm75-86-trt_rtx{rtx.__version__}.engine"
    assert built.path == Path(name)
    assert "Building engine" in phases
    assert dict(built.layers)["reduce float"] == 1
    card = read_engine_card(built.path)
    assert card == built.card
    assert card.compute_capabilities == ("7.5", "8.6")
    assert (card.backend, card.version, card.precision) == ("tensorrt_rtx", rtx.__version__, "fp32")
    assert card.shapes == ((1, 32, 32), (2, 64, 96), (2, 128, 160))
    expected = dataclasses.replace(
        CARD, input_name="image", output_name="map", long_side_limit=128, sha256=card.model.sha256
    )
    assert card.model == expected
    assert "boxes the same" in built.checked
    assert "did not run" in built.checked
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    assert files == ["a.onnx", name, f"{name}.json"]


def test_profile_and_types_reach_the_engine(
    rtx: Any,
    no_gpu: None,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a GPU, the builder's description of the engine is all that can be inspected."""
    caplog.set_level(1, "dbnet_trt")
    configs = []

    def configure(*arguments: Any) -> Any:
        configs.append(original(*arguments))
        return configs[-1]

    original = compile_module._configure
    monkeypatch.setattr(compile_module, "_configure", configure)
    config = dataclasses.replace(SMALL, precision="fp16")
    build_engine(make_model(folder / "a.onnx"), config=config)
    assert "MinShape: [1,3,32,32], OptShape: [2,3,64,96], MaxShape: [2,3,128,160]" in caplog.text
    assert "Name: image, IOMode: Input, DataType: Half" in caplog.text
    assert "Name: map, IOMode: Output, DataType: Half" in caplog.text
    assert "Number of target compute capabilities: 2" in caplog.text
    (used,) = configs
    assert used.get_flag(rtx.BuilderFlag.REQUIRE_USER_ALLOCATION)
    assert used.max_aux_streams == 0


def test_default_name_has_no_odd_characters(rtx: Any, no_gpu: None, folder: Path) -> None:
    network = lower(read_network(make_model(folder / "a.onnx")), half=False)
    target = Target("tensorrt_rtx", ("8.6",), SMALL.profile)
    data = compile_network(network, target).data
    assert len(data) > 1000
    card = read_engine_card(build_engine(folder / "a.onnx", config=SMALL).path)
    odd = dataclasses.replace(card, model=dataclasses.replace(card.model, name="a b/ü:1"))
    assert default_name(odd).startswith("a_b_ü_1-64x96-fp32-sm75-86-")


def test_sigmoid_and_other_outputs_are_removed(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx", num_outputs=2))
    graph = model.graph
    graph.node[2].output[0] = "inner"
    graph.node.append(helper.make_node("Sigmoid", ["inner"], ["map"]))
    onnx.save(model, folder / "a.onnx")
    card = dataclasses.replace(CARD, output="probability", output_name="map")
    built = build_engine(folder / "a.onnx", card=card, config=SMALL)
    assert built.card.model.output == "logit"
    assert "activation float" not in dict(built.layers)


@pytest.mark.slow
def test_plugin_reaches_the_export(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporting = pytest.importorskip("dbnet_trt.network.export")
    seen = []

    def export(source: Path, target: Path, **options: str) -> None:
        seen.append(options)
        make_model(target)

    monkeypatch.setattr(exporting, "export_checkpoint", export)
    read_network(folder / "a.safetensors", half=True, dcn="plugin")
    build.lower_model(folder / "a.safetensors", None, BuildConfig("fp32", dcn="plugin"))
    assert seen == [
        {"precision": "fp16", "dcn": "plugin"},
        {"precision": "fp32", "dcn": "plugin"},
    ]


# ---- target GPUs and configuration -------------------------------------------------------------


def test_gpus_that_the_library_does_not_support(rtx: Any, no_gpu: None) -> None:
    config = dataclasses.replace(SMALL, compute_capability="90")
    with pytest.raises(BuildError, match=r"builds for 7\.5, .*not for 9\.0"):
        choose_target(config)


def test_plugin_for_deformable_convolutions_is_not_in_rtx(rtx: Any, no_gpu: None) -> None:
    with pytest.raises(BuildError, match="use --dcn gridsample"):
        choose_target(dataclasses.replace(SMALL, dcn="plugin"))


@pytest.mark.skipif(cuda_available(), reason="there is a GPU")
def test_without_a_gpu_rtx_is_used_with_a_warning(
    rtx: Any, caplog: pytest.LogCaptureFixture
) -> None:
    target = choose_target(BuildConfig())
    assert target.backend == "tensorrt_rtx"
    assert "8.6" in target.compute_capabilities
    assert "7.5" not in target.compute_capabilities
    assert "building with TensorRT-RTX, which needs no GPU, as" in caplog.text


def test_with_a_gpu_tensorrt_builds_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(build, "read_cuda_status", lambda: USABLE)
    target = choose_target(BuildConfig())
    assert (target.backend, target.compute_capabilities) == ("tensorrt", ("8.6",))
    assert target.timing_cache is not None
    assert target.timing_cache.name == "tensorrt-10.9.0-sm86.timing"
    with pytest.raises(BuildError, match="needs --rtx"):
        choose_target(BuildConfig(compute_capability="86"))


def test_missing_library(no_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt_rtx", None)
    with pytest.raises(EngineError, match=r"dbnet-trt\[tensorrt-rtx\]"):
        choose_target(SMALL)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shapes": "32x32/64x64"}, "SMALLEST/BEST/LARGEST"),
        ({"shapes": "32x32/64/96x96"}, "SMALLEST/BEST/LARGEST"),
        ({"shapes": "64x64/32x32/96x96"}, "small to large"),
        ({"shapes": "32x32/64x64/96x100"}, "multiples of 32"),
        ({"shapes": "0x32/64x64/96x96"}, "multiples of 32"),
        ({"batch": 0}, "batch must be 1 or more"),
        ({"precision": "fp8"}, "calibration"),
        ({"precision": "fp16", "calibration": Path()}, "calibration"),
        (
            {"distill_steps": 10, "precision": "int8"},
            "--distill-steps is for files in int8 for CPUs",
        ),
        ({"distill_steps": 10, "target": "cpu"}, "--distill-steps is for files in int8 for CPUs"),
        ({"compute_capability": "ampere"}, "75,86,89"),
    ],
)
def test_config_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BuildConfig(**fields)


def test_config_parses_shapes_and_capabilities() -> None:
    assert BuildConfig(shapes="64x96", batch=3).profile == ((1, 64, 96), (3, 64, 96), (3, 64, 96))
    assert BuildConfig(compute_capability="120,8.6,75").capabilities == ("7.5", "8.6", "12.0")
