"""Xception: residual blocks of separable convolutions."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register
from convlens.nn import KerasBatchNorm2d, MaxPool2dSame, SeparableConv2d


def conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """An unpadded 3x3 convolution, norm, ReLU."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, bias=False), KerasBatchNorm2d(after), nn.ReLU())


def separable(before: int, after: int) -> nn.Sequential:
    """A separable 3x3 convolution and norm; the ReLU stands before it or after it."""
    return nn.Sequential(SeparableConv2d(before, after, 3, padding=1, bias=False), KerasBatchNorm2d(after))


class Block(nn.Module):
    """ReLU and separable convolution, two or three times; pooled and with a 1x1 shortcut where the size halves."""

    def __init__(self, widths: tuple[int, ...], *, halve: bool, first_relu: bool = True):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.ReLU(), separable(before, after)]
        if not first_relu:
            del layers[0]
        if halve:
            layers.append(MaxPool2dSame(3, 2))
        self.body = nn.Sequential(*layers)
        self.shortcut = (
            nn.Sequential(nn.Conv2d(widths[0], widths[-1], 1, 2, bias=False), KerasBatchNorm2d(widths[-1]))
            if halve
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class Xception(Network):
    """Entry flow, eight equal blocks in the middle flow, exit flow (figure 5 of the paper)."""

    init = "glorot"

    def __init__(self, num_classes: int = 1000, in_channels: int = 3):
        super().__init__()
        self.entry = nn.Sequential(
            conv(in_channels, 32, 2),
            conv(32, 64),
            Block((64, 128, 128), halve=True, first_relu=False),
            Block((128, 256, 256), halve=True),
            Block((256, 728, 728), halve=True),
        )
        self.middle = nn.Sequential(*(Block((728, 728, 728, 728), halve=False) for _ in range(8)))
        self.exit = nn.Sequential(
            Block((728, 728, 1024), halve=True),
            separable(1024, 1536), nn.ReLU(),
            separable(1536, 2048), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Linear(2048, num_classes)
        self.stages = {
            "entry": Stage("entry", 728, 16), "middle": Stage("middle", 728, 16), "exit": Stage("exit", 2048, 32),
        }  # fmt: skip
        self.initialize()

    def features(self, x: Tensor) -> Tensor:
        return self.exit(self.middle(self.entry(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


PAPER = Paper("Chollet", 2016, "Xception: deep learning with depthwise separable convolutions")


@register(
    parameters=22_855_952, input=(3, 299, 299), paper=PAPER,
    differences=("Glorot initialization (the paper gives none)",),
    errors={"imagenet top-1": 21.0, "imagenet top-5": 5.5},
)  # fmt: skip
def xception(num_classes: int = 1000, in_channels: int = 3) -> Xception:
    """Xception."""
    return Xception(num_classes, in_channels)
