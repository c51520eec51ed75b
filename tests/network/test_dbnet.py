# SPDX-License-Identifier: Apache-2.0
"""The network: shapes, sizes, options."""

import itertools
from typing import Any

import pytest
import torch
from dbnet_trt.network.backbone import build_backbone
from dbnet_trt.network.config import ModelConfig
from dbnet_trt.network.dbnet import DBNet, DBOutput
from dbnet_trt.training.config import OFFICIAL_LOSS, LossConfig
from dbnet_trt.training.losses import LabelMaps, compute_loss, dice_loss, hard_negative_bce

SWITCHES = [
    ModelConfig(backbone, 16, db, deformable, fusion)  # type: ignore[arg-type]
    for backbone, db, deformable, fusion in itertools.product(
        ("resnet18", "resnet50", "mobilenetv2"), (True, False), (False, True), (False, True)
    )
    if not (backbone == "mobilenetv2" and deformable)
]


@pytest.mark.parametrize("config", SWITCHES, ids=str)
def test_every_combination_of_options_runs(config: ModelConfig) -> None:
    model = DBNet(config)
    images = torch.randn(2, 3, 64, 96)
    output = model(images)
    assert isinstance(output, DBOutput)
    assert output.prob_logits.shape == (2, 64, 96)
    assert (output.thresh_map is not None) == config.db
    assert (output.binary_logits is not None) == config.db
    assert model.eval()(images).shape == (2, 64, 96)


def test_approximate_binary_map() -> None:
    torch.manual_seed(0)
    output = DBNet(ModelConfig("mobilenetv2", 16))(torch.randn(2, 3, 32, 32))
    expected = 50 * (output.prob_logits.sigmoid() - output.thresh_map)
    torch.testing.assert_close(output.binary_logits, expected)
    assert ((output.thresh_map > 0) & (output.thresh_map < 1)).all()


@pytest.mark.parametrize(
    ("name", "count", "names"),
    [
        # torchvision's resnet18 (11,689,512) and resnet50 (25,557,032) without the classifier
        ("resnet18", 11_689_512 - 513_000, {"layer2.0.downsample.0.weight", "layer1.0.bn2.bias"}),
        (
            "resnet50",
            25_557_032 - 2_049_000,
            {"layer4.2.conv3.weight", "layer1.0.downsample.1.bias"},
        ),
        ("mobilenetv2", 1_811_712, {"features.1.conv.0.0.weight", "features.16.conv.3.weight"}),
    ],
)
def test_backbones_equal_torchvisions(name: str, count: int, names: set[str]) -> None:
    backbone = build_backbone(name)  # type: ignore[arg-type]
    if name != "mobilenetv2":
        assert sum(parameter.numel() for parameter in backbone.parameters()) == count
    assert names <= set(backbone.state_dict())
    maps = backbone(torch.randn(1, 3, 64, 128))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (channels, 16 >> level, 32 >> level) for level, channels in enumerate(backbone.out_channels)
    ]


def test_the_light_model_is_light() -> None:
    model = DBNet(ModelConfig("mobilenetv2", 96))
    assert sum(parameter.numel() for parameter in model.parameters()) <= 2_500_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inner_channels": 30}, "multiple of 4"),
        ({"amplification": 0}, "amplification must be greater than 0"),
    ],
)
def test_bad_configuration(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**arguments)


def test_unknown_backbones() -> None:
    with pytest.raises(ValueError, match="backbone must be resnet18"):
        build_backbone("vgg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="depthwise"):
        build_backbone("mobilenetv2", deformable=True)


def labels(shrink: object, mask: object | None = None) -> LabelMaps:
    shrink_map = torch.tensor(shrink, dtype=torch.float32)[None]
    shrink_mask = torch.ones_like(shrink_map) if mask is None else torch.tensor(mask)[None].float()
    return LabelMaps(shrink_map, shrink_mask, torch.full_like(shrink_map, 0.5), shrink_map)


def test_hard_negatives_equal_a_calculation_by_hand() -> None:
    # One positive, so three of the five negatives count: the three with the highest logits.
    logits = torch.tensor([[[0.0, 3.0, 2.0, 1.0, -5.0, -6.0]]])
    target = torch.tensor([[[1.0, 0, 0, 0, 0, 0]]])
    expected = sum(torch.nn.functional.softplus(torch.tensor(x)) for x in (0.0, 3.0, 2.0, 1.0)) / 4
    found = hard_negative_bce(logits, target, torch.ones_like(target), 3)
    torch.testing.assert_close(found, expected)


def test_masked_pixels_do_not_count() -> None:
    logits = torch.tensor([[[0.0, 30.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0, 0.0]]])
    mask = torch.tensor([[[1.0, 0.0, 1.0]]])
    found = hard_negative_bce(logits, target, mask, 3)
    torch.testing.assert_close(found, torch.log(torch.tensor(2.0)))


def test_dice_loss() -> None:
    target = torch.tensor([[[1.0, 1.0, 0.0, 0.0]]])
    mask = torch.ones_like(target)
    assert dice_loss(torch.tensor([[[99.0, 99, -99, -99]]]), target, mask) == pytest.approx(0)
    assert dice_loss(torch.tensor([[[-99.0, -99, 99, 99]]]), target, mask) == pytest.approx(1)


def test_weights_of_the_loss_terms() -> None:
    logits = torch.randn(1, 2, 3)
    output = DBOutput(logits, torch.rand(1, 2, 3), torch.randn(1, 2, 3))
    maps = labels([[1.0, 0, 0], [0, 0, 1]])
    losses = compute_loss(output, maps, LossConfig())
    torch.testing.assert_close(losses.total, losses.prob + losses.binary + 10 * losses.thresh)
    official = compute_loss(output, maps, OFFICIAL_LOSS)
    torch.testing.assert_close(
        official.total, 5 * official.prob + official.binary + 10 * official.thresh
    )
    without = compute_loss(output, maps, LossConfig(thresh_weight=0))
    torch.testing.assert_close(without.total, without.prob + without.binary)


def test_the_loss_without_a_threshold_map() -> None:
    output = DBOutput(torch.randn(1, 2, 3), None, None)
    maps = labels([[1.0, 0, 0], [0, 0, 1]])
    losses = compute_loss(output, maps, OFFICIAL_LOSS)
    dice = dice_loss(output.prob_logits, maps.shrink_map, maps.shrink_mask)
    torch.testing.assert_close(losses.binary, dice)
    torch.testing.assert_close(losses.total, 5 * losses.prob + dice)


@pytest.mark.parametrize("shrink", [[[0.0, 0, 0]], [[1.0, 1, 1]]])
def test_images_without_text_or_with_text_everywhere(shrink: object) -> None:
    output = DBOutput(torch.zeros(1, 1, 3, requires_grad=True), None, None)
    losses = compute_loss(output, labels(shrink), LossConfig())
    assert torch.isfinite(losses.total)
    losses.total.backward()


def test_huge_logits_stay_finite() -> None:
    logits = torch.full((1, 2, 2), 1e4, requires_grad=True)
    output = DBOutput(logits, torch.rand(1, 2, 2), 50 * logits)
    losses = compute_loss(output, labels([[1.0, 0], [0, 0]]), LossConfig())
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"negative_ratio": -1}, "negative_ratio must be 0 or more"),
        ({"binary_loss": "l2"}, 'binary_loss must be "bce" or "dice"'),
    ],
)
def test_bad_loss_configuration(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossConfig(**arguments)  # type: ignore[arg-type]
