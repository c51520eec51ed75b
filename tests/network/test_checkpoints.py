# SPDX-License-Identifier: Apache-2.0
"""Loading of weights of other projects, in their names and shapes."""

import errno
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from dbnet_trt import EngineError
from dbnet_trt.files import write_atomically
from dbnet_trt.network.checkpoints import load_weights
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.dbnet import DBNet

FULL = ModelConfig("resnet18", 16, deformable=True, adaptive_scale_fusion=True)


def randomized(config: ModelConfig, seed: int) -> DBNet:
    torch.manual_seed(seed)
    model = DBNet(config).eval()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) * 0.2 + 0.01)
    return model


def coarsest_first(value: torch.Tensor, axis: int) -> torch.Tensor:
    return torch.cat(value.chunk(4, axis)[::-1], axis)


def original_layout(model: DBNet) -> dict[str, torch.Tensor]:
    """Convert weights to the state dict that the original repository would write."""
    written = {}
    for name, value in model.state_dict().items():
        kept = value
        head, _, rest = name.partition(".")
        if head == "backbone":
            key = "backbone." + rest.replace(".conv2.offset.", ".conv2_offset.")
        elif head == "neck":
            kind, level, leaf = rest.split(".", 2)
            number = int(level) + 2
            nested = "0." if kind == "smooth" and number > 2 else ""
            key = f"decoder.{'in' if kind == 'lateral' else 'out'}{number}.{nested}{leaf}"
        elif head == "fusion":
            part, _, leaf = rest.partition(".")
            if part == "conv":
                key, kept = f"decoder.concat_attention.conv.{leaf}", value
                kept = coarsest_first(value, 1) if leaf == "weight" else value
            else:
                names = {"channel": "channel_wise", "spatial": "spatial_wise"}
                if part == "channel":  # there the first layer is the pooling
                    index, _, leaf = leaf.partition(".")
                    leaf = f"{int(index) + 1}.{leaf}"
                if part == "weights":
                    kept = coarsest_first(value, 0)
                attention = names.get(part, "attention_wise")
                key = f"decoder.concat_attention.enhanced_attention.{attention}.{leaf}"
        else:
            key = f"decoder.{'binarize' if head == 'prob_head' else 'thresh'}.{rest}"
            kept = coarsest_first(value, 1) if rest == "0.weight" else value
        written[f"model.module.{key}"] = kept
    return written


def mmocr_layout(model: DBNet) -> dict[str, torch.Tensor]:
    """Convert weights to the state dict that mmocr would write, inside "state_dict"."""
    written = {}
    for name, value in model.state_dict().items():
        head, _, rest = name.partition(".")
        if head == "backbone":
            key = "backbone." + rest.replace(".conv2.offset.", ".conv2.conv_offset.")
        elif head == "neck":
            kind, level, leaf = rest.split(".", 2)
            key = f"neck.{kind}_convs.{level}.conv.{leaf}"
        else:
            key = f"det_head.{'binarize' if head == 'prob_head' else 'threshold'}.{rest}"
        written[key] = value
    return written


def assert_loads(path: Path, expected: DBNet, extra: tuple[str, ...] = ()) -> None:
    model = randomized(expected.config, seed=2)
    report = load_weights(model, path)
    assert report.missing == ()
    assert report.unused == extra
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(images), expected(images))


def save(content: Mapping[str, object], path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("config", [FULL, ModelConfig("resnet50", 16)], ids=str)
def test_original_repository(tmp_path: Path, config: ModelConfig) -> None:
    model = randomized(config, seed=1)
    state = original_layout(model) | {"model.module.backbone.fc.weight": torch.zeros(10, 8)}
    path = save(state, tmp_path / "final")
    assert_loads(path, model, ("model.module.backbone.fc.weight",))


def test_mmocr(tmp_path: Path) -> None:
    model = randomized(ModelConfig("resnet18", 16, deformable=True), seed=1)
    content = {"state_dict": mmocr_layout(model), "meta": {"epoch": 1200}}
    assert_loads(save(content, tmp_path / "dbnet.pth"), model)


@pytest.mark.parametrize("prefix", ["", "layers.", "model.encoder."])
def test_torchvision_backbone(tmp_path: Path, prefix: str) -> None:
    source = randomized(ModelConfig("resnet18", 16), seed=1)
    state = source.backbone.state_dict() | {"fc.weight": torch.zeros(10, 512)}
    state = {prefix + name: value for name, value in state.items()}
    model = randomized(ModelConfig("resnet18", 16), seed=2)
    report = load_weights(model, save(state, tmp_path / "resnet18.pth"))
    assert report.unused == (prefix + "fc.weight",)
    assert all(not name.startswith("backbone.") for name in report.missing)
    assert "missing" in str(report)
    for name, value in source.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value)


def test_a_weight_of_another_shape_is_reported(tmp_path: Path) -> None:
    state = randomized(ModelConfig("mobilenetv2", 16), seed=1).state_dict()
    model = randomized(ModelConfig("mobilenetv2", 32), seed=2)
    report = load_weights(model, save(state, tmp_path / "m.pth"))
    assert "neck.lateral.0.weight" in report.unused
    assert "neck.lateral.0.weight" in report.missing
    loaded, total = report.count("backbone.")
    assert loaded == total > 0
    assert report.count("neck.")[0] == 0


class Dangerous:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": Dangerous()}, "cannot be read"),
        (["not a dict"], "holds a list, expected a state dict"),
        ({"other": torch.zeros(1)}, r'whose first is "backbone\..*"; the file\'s is "other"'),
        ({}, "the file has none"),
    ],
)
def test_files_without_a_state_dict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(EngineError, match=rf"x\.pth.*{message}"):
        load_weights(DBNet(ModelConfig("mobilenetv2", 16)), tmp_path / "x.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pth", None, "No such file"),
        ("x.pth", b"hello, this is text", "something other than tensors"),
        ("x.safetensors", b"hello, this is text", "header too large"),
    ],
)
def test_files_without_weights(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(EngineError, match=rf"cannot be read as weights \(.*{message}.*\); expect"):
        load_weights(DBNet(ModelConfig("mobilenetv2", 16)), tmp_path / name)


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space") as caught:
        write_atomically(path, fail)
    assert caught.value.filename == str(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "extra",
    [
        {"best": np.float64(0.8)},
        {"best": np.float32(0.8), "epoch": np.int64(3), "done": np.bool_(True)},
        {"history": np.zeros((3, 2)), "seeds": np.arange(3, dtype=np.uint32)},
    ],
)
@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_what_stands_beside_the_weights(
    tmp_path: Path, extra: dict[str, object], key: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = ModelConfig("resnet18", 16)
    model = randomized(config, 1)
    torch.save({key: model.state_dict(), **extra}, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        report = load_weights(DBNet(config), tmp_path / "a.pth")
    assert report.missing == ()
    assert caplog.messages == []


def test_code_beside_the_weights_is_refused(tmp_path: Path) -> None:
    objects = np.array([Path("a"), None], dtype=object)
    torch.save({"state_dict": {}, "objects": objects}, tmp_path / "a.pth")
    with pytest.raises(EngineError, match="something other than tensors"):
        load_weights(DBNet(ModelConfig("resnet18", 16)), tmp_path / "a.pth")


OTHER_NECKS = {
    "mmocr's DBNet++": ["neck.asf_conv.conv.weight", "neck.asf_attn.channel_wise.0.conv.weight"],
    "docTR": ["fpn.in_branches.0.0.weight", "fpn.out_branches.0.1.running_mean"],
    "WenmuZhou": ["neck.reduce_conv_c2.conv.weight", "neck.conv.0.weight"],
}


@pytest.mark.parametrize("project", OTHER_NECKS)
@pytest.mark.parametrize("fusion", [False, True])
def test_weights_that_are_not_loaded_are_named(
    tmp_path: Path, project: str, fusion: bool, caplog: pytest.LogCaptureFixture
) -> None:
    plain = randomized(ModelConfig("resnet18", 16), 1)
    others = {name: torch.rand(8) for name in OTHER_NECKS[project]}
    torch.save({"state_dict": plain.state_dict() | others}, tmp_path / "a.pth")
    model = DBNet(ModelConfig("resnet18", 16, adaptive_scale_fusion=fusion))
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        load_weights(model, tmp_path / "a.pth")
    assert f"2 weights of the file are not used: {', '.join(others)}" in caplog.messages[0]
    assert len(caplog.messages) == 1 + fusion
    if fusion:
        assert "of the model stay random: fusion." in caplog.messages[1]


def test_a_backbone_with_its_classifier_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = DBNet(ModelConfig("resnet18", 16))
    state = {
        name.removeprefix("backbone."): value
        for name, value in model.state_dict().items()
        if name.startswith("backbone.")
    }
    torch.save(state | {"fc.weight": torch.rand(9), "fc.bias": torch.rand(9)}, tmp_path / "a.pth")
    with caplog.at_level(logging.WARNING, "dbnet_trt"):
        load_weights(model, tmp_path / "a.pth")
    assert caplog.messages == []
