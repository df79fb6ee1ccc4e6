"""ResNet-18 and 34 for 32x32 pixels, as two textbooks write them in Keras."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import register
from convlens.models.resnet import PAPER, Four
from convlens.nn import Conv2dSame, KerasBatchNorm2d, MaxPool2dSame


class Block(nn.Module):
    """Two 3x3 convolutions with Keras' `same` padding. `biased`: biases everywhere, no norm on the shortcut."""

    def __init__(self, before: int, maps: int, stride: int, biased: bool):
        super().__init__()
        self.conv1 = Conv2dSame(before, maps, 3, stride, bias=biased)
        self.bn1 = KerasBatchNorm2d(maps)
        self.conv2 = Conv2dSame(maps, maps, 3, bias=biased)
        self.bn2 = KerasBatchNorm2d(maps)
        self.downsample: nn.Module | None = None
        if stride > 1:
            self.downsample = nn.Conv2d(before, maps, 1, stride, bias=biased)
            if not biased:
                self.downsample = nn.Sequential(self.downsample, KerasBatchNorm2d(maps))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut)


class SmallResNet(Network):
    """A 3x3 stem, stages of 64, 128, 256 and 512 maps, average pooling, one dense layer.

    Args:
        blocks: blocks a stage.
        biased: biases in the convolutions, no norm on the shortcuts, an unpadded stem with a 2x2 pooling of stride 1.
    """

    init = "glorot"
    output_layers = ("fc",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        *,
        blocks: Four = (2, 2, 2, 2),
        biased: bool = False,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 3, padding=0 if biased else 1, bias=biased)
        self.bn1 = KerasBatchNorm2d(64)
        self.pool = MaxPool2dSame(2, 1) if biased else nn.Identity()

        def stage(before: int, maps: int, count: int) -> nn.Sequential:
            first = Block(before, maps, 1 if before == maps else 2, biased)
            return nn.Sequential(first, *(Block(maps, maps, 1, biased) for _ in range(count - 1)))

        self.layer1 = stage(64, 64, blocks[0])
        self.layer2 = stage(64, 128, blocks[1])
        self.layer3 = stage(128, 256, blocks[2])
        self.layer4 = stage(256, 512, blocks[3])
        self.fc = nn.Linear(512, num_classes)
        self.stages = {"stem": Stage("pool", 64, 1)} | {
            f"stage{i}": Stage(f"layer{i}", 2 ** (i + 5), 2 ** (i - 1)) for i in (1, 2, 3, 4)
        }
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


SMALL = ("a 3x3 stem for 32x32 pixels", "same padding of Keras in strided convolutions", "Glorot initialization")
BIASED = (
    "biases in the convolutions", "no batch norm on the shortcuts", "no padding in the stem",
    "a 2x2 pooling of stride 1 after the stem",
)  # fmt: skip


@register(parameters=11_173_962, input=(3, 32, 32), paper=PAPER, differences=SMALL)
def resnet18_cifar(num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> SmallResNet:
    """ResNet-18 for 32x32 pixels."""
    return SmallResNet(num_classes, in_channels, **arguments)


@register(parameters=11_176_970, input=(3, 32, 32), paper=PAPER, differences=SMALL + BIASED)
def resnet18_tfbook(
    num_classes: int = 10, in_channels: int = 3, *, biased: bool = True, **arguments: Any
) -> SmallResNet:
    """ResNet-18 for 32x32 pixels, with biases."""
    return SmallResNet(num_classes, in_channels, biased=biased, **arguments)


@register(parameters=21_288_842, input=(3, 32, 32), paper=PAPER, differences=SMALL + BIASED)
def resnet34_tfbook(
    num_classes: int = 10, in_channels: int = 3, *, biased: bool = True, blocks: Four = (3, 4, 6, 3)
) -> SmallResNet:
    """ResNet-34 for 32x32 pixels, with biases."""
    return SmallResNet(num_classes, in_channels, biased=biased, blocks=blocks)
