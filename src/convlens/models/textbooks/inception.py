"""Inception10: a textbook's slim inception network for 32x32 pixels."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.models.googlenet import PAPER
from convlens.models.network import Network, Stage
from convlens.models.registry import register
from convlens.nn import Conv2dSame, KerasBatchNorm2d


def conv(before: int, after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution with bias, batch norm, ReLU."""
    return nn.Sequential(Conv2dSame(before, after, kernel, stride), KerasBatchNorm2d(after), nn.ReLU())


class EqualInception(nn.Module):
    """Four branches of equal width: 1x1; 1x1 and 3x3; 1x1 and 5x5; pooling and 1x1. The 1x1 takes the stride."""

    def __init__(self, before: int, maps: int, stride: int):
        super().__init__()
        self.branch1 = conv(before, maps, 1, stride)
        self.branch2 = nn.Sequential(conv(before, maps, 1, stride), conv(maps, maps, 3))
        self.branch3 = nn.Sequential(conv(before, maps, 1, stride), conv(maps, maps, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(before, maps, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Inception10(Network):
    """A 3x3 stem, two blocks of two inception modules, average pooling, one dense layer: ten layers deep.

    Args:
        widths: maps per branch in each of the modules; the first module of each pair halves the size.
    """

    init = "glorot"
    output_layers = ("fc",)

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, widths: tuple[int, ...] = (16, 16, 32, 32)):
        super().__init__()
        self.stem = conv(in_channels, widths[0], 3)
        before, modules = widths[0], []
        for i, maps in enumerate(widths):
            modules.append(EqualInception(before, maps, 2 if i % 2 == 0 else 1))
            before = 4 * maps
        self.blocks = nn.Sequential(*modules)
        self.fc = nn.Linear(before, num_classes)
        self.stages = {"stem": Stage("stem", widths[0], 1)} | {
            f"inception{i + 1}": Stage(f"blocks.{i}", 4 * maps, 2 ** (i // 2 + 1)) for i, maps in enumerate(widths)
        }
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


SLIM = (
    "four modules instead of nine", "all branches of a module have the same width", "batch norm with biases kept",
    "a 3x3 stem for 32x32 pixels", "modules halve the size themselves", "no auxiliary heads", "no dropout",
    "Glorot initialization",
)  # fmt: skip


@register(
    parameters=120_234, input=(3, 32, 32), paper=PAPER, differences=SLIM, aliases=("inception10_cifar",),
)  # fmt: skip
def inception10(num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> Inception10:
    """16 and 32 maps a branch."""
    return Inception10(num_classes, in_channels, **arguments)


@register(
    parameters=922_826, input=(3, 32, 32), paper=PAPER,
    differences=(*SLIM, "the width doubles with each module, as the listing prints it"),
)  # fmt: skip
def inception10_cifar_literal(
    num_classes: int = 10, in_channels: int = 3, *, widths: tuple[int, ...] = (16, 32, 64, 128)
) -> Inception10:
    """As it was printed: 16, 32, 64 and 128 maps a branch."""
    return Inception10(num_classes, in_channels, widths=widths)
