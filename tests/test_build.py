# SPDX-License-Identifier: Apache-2.0
"""Engines really built, by TensorRT-RTX without a GPU."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dbnet_trt import BuildError, EngineError, ModelCard, build, cuda_available
from dbnet_trt import compile as compile_module
from dbnet_trt.build import BuildConfig, build_engine, choose_target, default_name
from dbnet_trt.cli import main
from dbnet_trt.compile import Target, compile_network
from dbnet_trt.engine_card import card_path, read_engine_card
from dbnet_trt.lowering import lower, read_network
from fake_gpu import install
from onnx import helper
from tiny import CARD, make_model

SMALL = BuildConfig("fp32", "32x32/64x96/128x160", 2, rtx=True, compute_capability="86,75")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tests leave the user's cache folder and the checkout alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed")


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cuda_available", lambda: False)


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
    """The builder's own description of the engine, which is all one sees without a GPU."""
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


# ---- every kind of network ---------------------------------------------------------------------

WIDE = dataclasses.replace(
    SMALL, shapes="32x32/736x1280/1536x2048", compute_capability="", check=False
)


@pytest.fixture(scope="module")
def unchecked() -> Iterator[None]:
    """Exports that are not run by ONNX Runtime, which tests/training does."""
    exporting = pytest.importorskip("dbnet_trt.training.export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "_check", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def resnet18(unchecked: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dbnet_trt.training.export import export_onnx
    from dbnet_trt.training.model import DBNet, ModelConfig

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
    from dbnet_trt.training.checkpoints import save_model
    from dbnet_trt.training.model import DBNet, ModelConfig

    model = DBNet(ModelConfig("resnet18", 16, deformable=True, adaptive_scale_fusion=fusion))
    save_model(folder / "a.safetensors", model, ModelCard("dcn"))
    config = dataclasses.replace(WIDE, precision=precision, compute_capability="86")
    layers = dict(build_engine(folder / "a.safetensors", config=config).layers)
    # Six convolutions of ResNet-18 deform, each with nine taps; coordinates stay in fp32.
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


# ---- cache -------------------------------------------------------------------------------------


def test_same_again_comes_from_the_cache(rtx: Any, no_gpu: None, folder: Path) -> None:
    source = make_model(folder / "a.onnx")
    first = build_engine(source, folder / "first.engine", config=SMALL)
    second = build_engine(source, folder / "second.engine", config=SMALL)
    assert (first.from_cache, second.from_cache) == (False, True)
    assert second.card == first.card
    assert second.path.read_bytes() == first.path.read_bytes()
    for changes in (
        {"precision": "fp16"},
        {"shapes": "32x32/64x64/128x160"},
        {"batch": 1},
        {"compute_capability": "86"},
        {"check": False},
        {"cache": False},
    ):
        config = dataclasses.replace(SMALL, **changes)
        assert not build_engine(source, folder / "b.engine", config=config).from_cache, changes
    make_model(source, weight=21.0)
    assert not build_engine(source, folder / "b.engine", config=SMALL).from_cache


def test_another_version_is_built_again(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    build_engine(source, config=SMALL)
    monkeypatch.setattr(rtx, "__version__", "1.0.0")
    assert not build_engine(source, config=SMALL).from_cache


def test_damaged_cache_is_built_again(rtx: Any, no_gpu: None, folder: Path) -> None:
    source = make_model(folder / "a.onnx")
    build_engine(source, config=SMALL)
    (entry,) = (folder / "cache" / "dbnet_trt" / "engines").glob("*.blob")
    entry.write_bytes(entry.read_bytes()[:-1])
    assert not build_engine(source, config=SMALL).from_cache


def test_old_engines_leave_the_cache(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    build_engine(source, config=SMALL)
    (first,) = (folder / "cache" / "dbnet_trt" / "engines").glob("*.blob")
    os.utime(first, (0, 0))
    monkeypatch.setattr(build, "MAX_CACHE_BYTES", int(1.5 * first.stat().st_size))
    build_engine(source, config=dataclasses.replace(SMALL, batch=1))
    (second,) = (folder / "cache" / "dbnet_trt" / "engines").glob("*.blob")
    assert second != first


# ---- what goes wrong ---------------------------------------------------------------------------


@pytest.fixture
def ctrl_c_interrupts() -> Iterator[None]:
    """Whoever runs the tests in the background may have SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupted_build_leaves_nothing(
    rtx: Any, no_gpu: None, ctrl_c_interrupts: None, folder: Path
) -> None:
    source = make_model(folder / "a.onnx")
    steps = []

    def press_ctrl_c(*step: object) -> None:
        steps.append(step)
        if len(steps) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)  # the other thread hears of it

    with pytest.raises(KeyboardInterrupt):
        build_engine(source, config=SMALL, progress=press_ctrl_c)
    assert not any(phase == "Computing profile costs" for phase, *_ in steps)  # it stopped early
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["a.onnx"]


def test_full_disk_leaves_the_old_engine(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    built = build_engine(source, config=SMALL)
    before = built.path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        build_engine(make_model(source, weight=3.0), built.path, config=SMALL)
    assert built.path.read_bytes() == before
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [
        "a.onnx",
        built.path.name,
        card_path(built.path).name,
    ]


def test_operator_that_no_one_knows(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx"))
    model.graph.node[-1].op_type = "Enchant"
    onnx.save(model, folder / "a.onnx")
    config = dataclasses.replace(SMALL, check=False)
    with pytest.raises(BuildError, match=r"TensorRT-RTX cannot read \"tiny\".*Enchant"):
        build_engine(folder / "a.onnx", config=config)
    assert not list(folder.glob("*.engine"))


def test_shapes_that_the_network_does_not_take(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 64
    onnx.save(model, folder / "a.onnx")
    config = dataclasses.replace(SMALL, check=False)
    with pytest.raises(BuildError, match="TensorRT"):
        build_engine(folder / "a.onnx", config=config)


def test_engine_that_finds_other_text_is_not_written(
    rtx: Any, no_gpu: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_model(folder / "a.onnx")
    original = lower

    def break_weights(network: Any, *, half: bool) -> Any:
        lowered = original(network, half=half)
        for tensor in lowered.model.graph.initializer:
            if tensor.name == "weight":
                broken = onnx.numpy_helper.from_array(np.array([-20], np.float32), "weight")
                tensor.CopyFrom(broken)
        return lowered

    monkeypatch.setattr(build, "lower", break_weights)
    with pytest.raises(BuildError, match="does not find what ONNX Runtime finds"):
        build_engine(source, config=SMALL)
    assert not list(folder.glob("*.engine*"))


def test_gpus_that_the_library_does_not_know(rtx: Any, no_gpu: None) -> None:
    config = dataclasses.replace(SMALL, compute_capability="90")
    with pytest.raises(BuildError, match=r"builds for 7\.5, .*not for 9\.0"):
        choose_target(config)


def test_plugin_for_deformable_convolutions_is_not_in_rtx(rtx: Any, no_gpu: None) -> None:
    with pytest.raises(BuildError, match="use --dcn gridsample"):
        choose_target(dataclasses.replace(SMALL, dcn="plugin"))


def test_plugin_reaches_the_export(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exporting = pytest.importorskip("dbnet_trt.training.export")
    seen = []

    def export(source: Path, target: Path, **options: str) -> None:
        seen.append(options)
        make_model(target)

    monkeypatch.setattr(exporting, "export_checkpoint", export)
    read_network(folder / "a.safetensors", half=True, dcn="plugin")
    build._lower(folder / "a.safetensors", None, BuildConfig("fp32", dcn="plugin"))
    assert seen == [
        {"precision": "fp16", "dcn": "plugin"},
        {"precision": "fp32", "dcn": "plugin"},
    ]


@pytest.mark.skipif(cuda_available(), reason="there is a GPU")
def test_without_a_gpu_rtx_is_taken_and_said(rtx: Any, caplog: pytest.LogCaptureFixture) -> None:
    target = choose_target(BuildConfig())
    assert target.backend == "tensorrt_rtx"
    assert "8.6" in target.compute_capabilities
    assert "7.5" not in target.compute_capabilities
    assert "no CUDA GPU here" in caplog.text


def test_with_a_gpu_tensorrt_builds_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setattr(build, "cuda_available", lambda: True)
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
        ({"precision": "int8"}, "calibration"),
        ({"precision": "fp16", "calibration": Path()}, "calibration"),
        ({"compute_capability": "ampere"}, "75,86,89"),
    ],
)
def test_config_is_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BuildConfig(**fields)


def test_config_reads_what_is_meant() -> None:
    assert BuildConfig(shapes="64x96", batch=3).profile == ((1, 64, 96), (3, 64, 96), (3, 64, 96))
    assert BuildConfig(compute_capability="120,8.6,75").capabilities == ("7.5", "8.6", "12.0")


# ---- the command -------------------------------------------------------------------------------


def test_command(rtx: Any, no_gpu: None, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_model(folder / "a.onnx")
    arguments = ["build", "a.onnx", "--precision", "fp32", "--shapes", "32x32/64x64/96x96"]
    arguments += ["--rtx", "--compute-capability", "86", "--verbose", "--output", "x.engine"]
    assert main([*arguments, "--triton", "models"]) == 0
    printed = capsys.readouterr().out
    assert "x.engine" in printed
    assert "boxes the same" in printed
    assert "reduce float" in printed
    assert (folder / "models" / "tiny" / "1" / "x.engine").is_file()
    assert main(["build", "b.onnx"]) == 2
    assert "there is no file b.onnx" in capsys.readouterr().err
    assert main(["build", "a.onnx", "--card", "mmocrr"]) == 2


def test_timing_cache_is_read_and_written(
    rtx: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TensorRT itself; here its calls are watched through a library that has no GPUs."""
    calls = []

    class Config:
        def create_timing_cache(self, data: bytes) -> str:
            calls.append(data)
            return "cache"

        def set_timing_cache(self, cache: str, ignore_mismatch: bool) -> bool:
            return len(calls) != 2  # the second build's first cache is of another GPU

        def get_timing_cache(self) -> Any:
            return type("Cache", (), {"serialize": lambda _: b"measured"})()

    path = folder / "a.timing"
    for _ in range(2):
        with compile_module._timing_cache(object(), Config(), path):
            pass
    assert calls == [b"", b"measured", b""]
    assert path.read_bytes() == b"measured"


def test_default_name_has_no_odd_characters(rtx: Any, no_gpu: None, folder: Path) -> None:
    network = lower(read_network(make_model(folder / "a.onnx")), half=False)
    target = Target("tensorrt_rtx", ("8.6",), SMALL.profile)
    data = compile_network(network, target).data
    assert len(data) > 1000
    card = read_engine_card(build_engine(folder / "a.onnx", config=SMALL).path)
    odd = dataclasses.replace(card, model=dataclasses.replace(card.model, name="a b/ü:1"))
    assert default_name(odd).startswith("a_b_ü_1-64x96-fp32-sm75-86-")


def test_sigmoid_and_other_outputs_stay_out(rtx: Any, no_gpu: None, folder: Path) -> None:
    model = onnx.load(make_model(folder / "a.onnx", num_outputs=2))
    graph = model.graph
    graph.node[2].output[0] = "inner"
    graph.node.append(helper.make_node("Sigmoid", ["inner"], ["map"]))
    onnx.save(model, folder / "a.onnx")
    card = dataclasses.replace(CARD, output="probability", output_name="map")
    built = build_engine(folder / "a.onnx", card=card, config=SMALL)
    assert built.card.model.output == "logit"
    assert "activation float" not in dict(built.layers)
