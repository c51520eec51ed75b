# SPDX-License-Identifier: Apache-2.0
"""Backbones: ResNet and MobileNetV2, each with four feature maps at strides 4, 8, 16 and 32.

State dicts have torchvision's keys without the classifier's, so its ImageNet weights load.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .config import BackboneName

ConvFactory = Callable[[int, int, int], nn.Module]
"""Function of (input channels, output channels, stride) that builds a 3x3 convolution with padding
1 and without bias."""


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Module:
    """Build a 3x3 convolution with padding 1 and without bias.

    Args:
        in_channels: Number of input channels.
        out_channels: Number of output channels.
        stride: Step between outputs, in pixels of the input.
    """
    return nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; in a deformable block the second is deformable."""

    expansion = 1

    def __init__(self, in_channels: int, channels: int, stride: int, conv: ConvFactory) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, channels, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, 1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, channels, h / stride, w / stride), rounded up."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + shortcut)
        return result


class Bottleneck(nn.Module):
    """Convolutions 1x1, 3x3 (with the stride), and 1x1 to four times the channels; a shortcut."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int, conv: ConvFactory) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = conv(channels, channels, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, 4 * channels, h / stride, w / stride), rounded up."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(out + shortcut)
        return result


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if in_channels == out_channels and stride == 1:
        return None
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50."""

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        num_blocks: tuple[int, int, int, int],
        deformable_conv: ConvFactory | None = None,
    ) -> None:
        """Build the network.

        Args:
            block: Type of the residual blocks.
            num_blocks: Number of blocks in each of the four stages.
            deformable_conv: Builds the 3x3 convolutions of stages 2 to 4 (conv3 to conv5 in the
                paper's numbering); None builds plain ones.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = 64
        for stage, count in enumerate(num_blocks):
            conv = deformable_conv if deformable_conv is not None and stage > 0 else conv3x3
            width = 64 << stage
            blocks = []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(channels, width, stride, conv))
                channels = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.out_channels = tuple((64 << stage) * block.expansion for stage in range(4))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps at strides 4, 8, 16 and 32.

        Args:
            images: (B, 3, h, w) float, normalised; h and w are multiples of 32.

        Returns:
            Four maps (B, `out_channels[i]`, h / 2^(i+2), w / 2^(i+2)).
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in range(4):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            maps.append(x)
        return maps


class InvertedResidual(nn.Module):
    """Convolutions 1x1 (expansion), 3x3 (depthwise) and 1x1 (projection, without activation)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_bn_relu6(in_channels, hidden, 1))
        layers.append(_conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden))
        layers.append(nn.Conv2d(hidden, out_channels, 1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, h, w) to (B, out_channels, h / stride, w / stride), rounded up."""
        out: Tensor = self.conv(x)
        return x + out if self.has_shortcut else out


def _conv_bn_relu6(
    in_channels: int, out_channels: int, size: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )


class MobileNetV2(nn.Module):
    """MobileNetV2 without its last stage (320 channels) and classifier; 1.8 M parameters."""

    STAGES = (
        # expansion, channels, blocks, stride
        (1, 16, 1, 2),
        (6, 24, 2, 1),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
    )
    TAPS = (3, 6, 13, 16)
    """Indices of the last blocks at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(_conv_bn_relu6(3, 32, 3, 2))
        channels = 32
        for expansion, out_channels, count, first_stride in self.STAGES:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                self.features.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        self.out_channels = (24, 32, 96, 160)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps at strides 4, 8, 16 and 32.

        Args:
            images: (B, 3, h, w) float, normalised; h and w are multiples of 32.

        Returns:
            Four maps (B, `out_channels[i]`, h / 2^(i+2), w / 2^(i+2)).
        """
        maps = []
        x = images
        for index, block in enumerate(self.features):
            x = block(x)
            if index in self.TAPS:
                maps.append(x)
        return maps


def build_backbone(name: BackboneName, deformable: bool = False) -> ResNet | MobileNetV2:
    """Build a backbone with random weights.

    Args:
        name: Name of the backbone.
        deformable: Whether the 3x3 convolutions of stages 2 to 4 are deformable.

    Raises:
        ValueError: There is no such backbone, or it has no deformable form.
    """
    deformable_conv: ConvFactory | None = None
    if deformable:
        from .dcn import DeformableConv2d

        deformable_conv = DeformableConv2d
    if name == "resnet18":
        return ResNet(BasicBlock, (2, 2, 2, 2), deformable_conv)
    if name == "resnet50":
        return ResNet(Bottleneck, (3, 4, 6, 3), deformable_conv)
    if name != "mobilenetv2":
        raise ValueError(f"backbone must be resnet18, resnet50 or mobilenetv2, got {name!r}")
    if deformable:
        raise ValueError("mobilenetv2 has depthwise convolutions only; set deformable to False")
    return MobileNetV2()
