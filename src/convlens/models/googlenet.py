"""GoogLeNet: as published, and in the common library's form with its parameter names."""

from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.geometry import conv_size
from convlens.models.network import Make, Network, Stage
from convlens.models.registry import Paper, register
from convlens.nn import LocalResponseNorm

# The paper's table 1: maps of the 1x1 branch, of the 3x3 branch (reduced, full), of the 5x5 branch, after pooling
INCEPTION = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
IMAGENET = ((0, 0.485, 0.229), (1, 0.456, 0.224), (2, 0.406, 0.225))  # channel, mean, deviation


class ConvReLU(nn.Module):
    """Convolution with bias, ReLU."""

    def __init__(self, before: int, after: int, kernel: int, **geometry: Any):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, **geometry)
        self.relu: nn.Module = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


class ConvNormReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, before: int, after: int, kernel: int, **geometry: Any):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, bias=False, **geometry)
        self.bn = nn.BatchNorm2d(after, eps=0.001)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and `wide` x `wide`; pooling and 1x1. The size stays.

    Args:
        before: maps of the input.
        one: maps of the 1x1 branch. three, five: maps of the next two, (reduced, full). pooled: of the last.
        wide: kernel of the third branch: 5 in the paper.
        conv: makes a convolution and what follows it: `conv(before, after, kernel, padding=0)`.

    Shapes: (N, before, H, W) to (N, one + three[1] + five[1] + pooled, H, W).
    """

    def __init__(
        self,
        before: int,
        one: int,
        three: tuple[int, int],
        five: tuple[int, int],
        pooled: int,
        *,
        wide: int = 5,
        conv: Make = ConvReLU,
    ):
        super().__init__()
        self.branch1 = conv(before, one, 1)
        self.branch2 = nn.Sequential(conv(before, three[0], 1), conv(*three, 3, padding=1))
        self.branch3 = nn.Sequential(conv(before, five[0], 1), conv(*five, wide, padding=wide // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(before, pooled, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


def maps_after(name: str) -> int:
    """Maps that come out of the module of that name in table 1."""
    one, three, five, pooled = INCEPTION[name]
    return one + three[1] + five[1] + pooled


def inception(name: str, wide: int, conv: Make) -> Inception:
    """The module of that name in table 1; its input is the output of the one before."""
    names = list(INCEPTION)
    before = 192 if name == "3a" else maps_after(names[names.index(name) - 1])
    return Inception(before, *INCEPTION[name], wide=wide, conv=conv)


class Auxiliary(nn.Module):
    """A classifier on maps halfway up, for training only: 4x4 cells, 128 maps, 1024 units."""

    def __init__(self, conv: Make, before: int, num_classes: int, pool: nn.Module, cells: int):
        super().__init__()
        self.pool = pool
        self.conv = conv(before, 128, 1)
        self.fc1 = nn.Linear(128 * cells, 1024)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(self.conv(self.pool(x)), 1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


def auxiliary_side(side: int) -> int:
    """Cells along one axis that an auxiliary head of the published form sees: 4 for 224 pixels."""
    side = conv_size(side, 7, 2, 3)
    for _ in range(3):
        side = conv_size(side, 3, 2, ceil=True)
    return conv_size(side, 5, 3)


class GoogLeNet(Network):
    """Stem, nine inception modules, average pooling, one dense layer, as published.

    With `aux`, training mode returns a tuple (logits, auxiliary logits after 4d, after 4a), the common library's order;
    the paper adds the losses of the auxiliary heads with weight 0.3. Evaluation mode returns the logits alone.

    What other forms do differently stands in the class: `conv` makes a convolution, `wide` is the kernel of the third
    branch, `norm` makes the norm of the stem, `pool` a pooling, `last_pool` that before module 5a.
    """

    output_layers = ("fc",)
    conv: Make = ConvReLU
    wide = 5
    norm: Make = LocalResponseNorm
    pool: Make = staticmethod(partial(nn.MaxPool2d, 3, 2, ceil_mode=True))
    last_pool: Make = pool

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        aux: bool = False,
        dropout: float = 0.4,
        init: str = "glorot",
    ):
        super().__init__()
        self.init = init
        self.conv1 = self.conv(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1, self.norm1 = self.pool(), self.norm()
        self.conv2 = self.conv(64, 64, 1)
        self.conv3 = self.conv(64, 192, 3, padding=1)
        self.norm2, self.maxpool2 = self.norm(), self.pool()
        module = partial(inception, wide=self.wide, conv=self.conv)
        self.inception3a, self.inception3b = module("3a"), module("3b")
        self.inception4a, self.inception4b, self.inception4c = module("4a"), module("4b"), module("4c")
        self.inception4d, self.inception4e = module("4d"), module("4e")
        self.inception5a, self.inception5b = module("5a"), module("5b")
        self.maxpool3, self.maxpool4 = self.pool(), self.last_pool()
        self.aux1 = self.auxiliary(512, num_classes, image_size) if aux else None
        self.aux2 = self.auxiliary(528, num_classes, image_size) if aux else None
        if aux:
            self.output_layers = ("fc", "aux1.fc2", "aux2.fc2")
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(maps_after("5b"), num_classes)
        strides = {"3": 8, "4": 16, "5": 32}
        self.stages = {"stem": Stage("maxpool2", 192, 8)} | {
            name: Stage(f"inception{name}", maps_after(name), strides[name[0]]) for name in INCEPTION
        }
        self.initialize()

    def auxiliary(self, before: int, num_classes: int, image_size: tuple[int, int]) -> Auxiliary:
        """A head on maps of 14x14 cells, for images of 224x224 pixels, which it pools to 4x4."""
        cells = prod(auxiliary_side(side) for side in image_size)
        return Auxiliary(self.conv, before, num_classes, nn.AvgPool2d(5, 3), cells)

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        return self.maps(x)[-1]

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps after 4a, 4d and 5b. Sizes for 224x224 pixels."""
        x = self.norm1(self.maxpool1(self.conv1(x)))  # 64 x 56 x 56
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))  # 192 x 28 x 28
        x = self.maxpool3(self.inception3b(self.inception3a(x)))  # 480 x 14 x 14
        a = self.inception4a(x)  # 512 x 14 x 14
        d = self.inception4d(self.inception4c(self.inception4b(a)))  # 528 x 14 x 14
        x = self.maxpool4(self.inception4e(d))  # 832 x 7 x 7
        return a, d, self.inception5b(self.inception5a(x))  # 1024 x 7 x 7

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        a, d, x = self.maps(x)
        logits = self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux2(d), self.aux1(a)
        return logits


class LibraryGoogLeNet(GoogLeNet):
    """The common library's form: batch norm, 3x3 in place of 5x5; its auxiliary heads take maps of any size.

    Args:
        transform_input: turns pixels normalized by ImageNet's mean and deviation into pixels in -1..1, which the
            common library's weights expect.
    """

    conv = ConvNormReLU
    wide = 3
    norm = nn.Identity
    last_pool = staticmethod(partial(nn.MaxPool2d, 2, 2, ceil_mode=True))

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        aux: bool = False,
        transform_input: bool = False,
        dropout: float = 0.2,
        init: str = "truncated_0.01",
    ):
        if transform_input and in_channels != 3:
            raise InputError(f"transform_input is for color images of 3 channels, not {in_channels}")
        super().__init__(num_classes, in_channels, aux=aux, dropout=dropout, init=init)
        self.transform_input = transform_input

    def auxiliary(self, before: int, num_classes: int, image_size: tuple[int, int]) -> Auxiliary:
        return Auxiliary(self.conv, before, num_classes, nn.AdaptiveAvgPool2d((4, 4)), 16)

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self.transform_input:
            x = torch.cat([x[:, i : i + 1] * (std / 0.5) + (mean - 0.5) / 0.5 for i, mean, std in IMAGENET], 1)
        return super().maps(x)


PAPER = Paper(
    "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich", 2014, "Going deeper with convolutions"
)
GLOROT = ("Glorot initialization (the paper gives none)",)
NO_AUX = ("no auxiliary heads",)
LIBRARY = (
    "batch norm after each convolution, no biases", "3x3 instead of 5x5 in the third branch",
    "no local response norm", "the last pooling has 2x2 windows", "dropout of 0.2 instead of 0.4",
)  # fmt: skip
ERRORS = {"imagenet top-5": 10.07, "imagenet top-5 (7 networks, 144 crops)": 6.67}
COMMON = {"imagenet top-1 (common library)": 30.222, "imagenet top-5 (common library)": 10.470}


@register(parameters=6_998_552, input=(3, 224, 224), paper=PAPER, differences=NO_AUX + GLOROT, errors=ERRORS)
def googlenet_2014(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> GoogLeNet:
    """GoogLeNet as published, without the auxiliary heads."""
    return GoogLeNet(num_classes, in_channels, **arguments)


# an auxiliary head on m maps: 128 (m + 1) + 1024 * 2049 + 1000 * 1025; with m = 512 and 528 together 6,379,728
@register(parameters=13_378_280, input=(3, 224, 224), paper=PAPER, differences=GLOROT, errors=ERRORS)
def googlenet_2014_aux(
    num_classes: int = 1000, in_channels: int = 3, *, aux: bool = True, **arguments: Any
) -> GoogLeNet:
    """GoogLeNet as published."""
    return GoogLeNet(num_classes, in_channels, aux=aux, **arguments)


@register(parameters=6_624_904, input=(3, 224, 224), paper=PAPER, differences=NO_AUX + LIBRARY, errors=COMMON)
def googlenet(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> LibraryGoogLeNet:
    """GoogLeNet in the common library's form, without the auxiliary heads."""
    return LibraryGoogLeNet(num_classes, in_channels, **arguments)


@register(parameters=13_004_888, input=(3, 224, 224), paper=PAPER, differences=LIBRARY, errors=COMMON)
def googlenet_aux(
    num_classes: int = 1000, in_channels: int = 3, *, aux: bool = True, **arguments: Any
) -> LibraryGoogLeNet:
    """GoogLeNet in the common library's form."""
    return LibraryGoogLeNet(num_classes, in_channels, aux=aux, **arguments)
