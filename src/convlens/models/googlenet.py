"""GoogLeNet: as published, in the common library's form (with its parameter names), and in a textbook's form."""

from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.geometry import conv_size
from convlens.models.choices import Choices
from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register
from convlens.nn import LocalResponseNorm

# The paper's table 1: maps of the 1x1 branch, of the 3x3 branch (reduced, full), of the 5x5 branch, after pooling
INCEPTION = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
IMAGENET = ((0, 0.485, 0.229), (1, 0.456, 0.224), (2, 0.406, 0.225))  # channel, mean, deviation


class ConvReLU(nn.Module):
    """Convolution with bias, ReLU."""

    def __init__(self, before: int, after: int, kernel: int, relu: bool = True, **geometry: Any):
        super().__init__()
        self.conv = nn.Conv2d(before, after, kernel, **geometry)
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

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
    """Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and `wide` x `wide`; pooling and 1x1."""

    @classmethod
    def number(cls, name: str, conv: Any, wide: int) -> "Inception":
        """The module of that name in table 1; its input is the output of the one before."""
        names = list(INCEPTION)
        c1, _, c3, _, c5, cp = INCEPTION[names[names.index(name) - 1]]
        return cls(conv, 192 if name == "3a" else c1 + c3 + c5 + cp, *INCEPTION[name], wide)

    def __init__(self, conv: Any, before: int, c1: int, r3: int, c3: int, r5: int, c5: int, cp: int, wide: int):
        super().__init__()
        self.branch1 = conv(before, c1, 1)
        self.branch2 = nn.Sequential(conv(before, r3, 1), conv(r3, c3, 3, padding=1))
        self.branch3 = nn.Sequential(conv(before, r5, 1), conv(r5, c5, wide, padding=wide // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), conv(before, cp, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    """A classifier on maps halfway up, for training only: 4x4 cells, 128 maps, 1024 units."""

    def __init__(self, conv: Any, before: int, num_classes: int, pool: nn.Module, cells: int):
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


FORMS: Choices[Any] = Choices("form", {"published": ConvReLU, "library": ConvNormReLU, "text": ConvReLU})


class GoogLeNet(Network):
    """Stem, nine inception modules, average pooling, one dense layer.

    With `aux`, training mode returns a tuple (logits, auxiliary logits after 4d, after 4a), the common library's order;
    the paper adds the losses of the auxiliary heads with weight 0.3. Evaluation mode returns the
    logits alone.

    Args:
        form: "published" (biases, 5x5 branch, local response norm), "library" (batch norm, 3x3 in place of 5x5) or
            "text" (biases, 5x5 branch, no norm).
        lrn: False leaves the local response norm of the published form out.
        reduce_relu: whether a ReLU follows the two convolutions of the second stage.
        transform_input: turns pixels normalized by ImageNet's mean and deviation into pixels in -1..1, which the
            common library's weights expect.
    """

    output_layers = ("fc",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        form: str = "published",
        aux: bool = False,
        lrn: bool = True,
        reduce_relu: bool = True,
        transform_input: bool = False,
        dropout: float = 0.4,
        init: str = "glorot",
    ):
        super().__init__()
        if transform_input and in_channels != 3:
            raise InputError(f"transform_input is for color images of 3 channels, not {in_channels}")
        self.init, self.transform_input = init, transform_input
        conv = FORMS[form]
        wide = 3 if form == "library" else 5
        norm = LocalResponseNorm if form == "published" and lrn else nn.Identity
        rounding: Any = {"padding": 1} if form == "text" else {"ceil_mode": True}
        pool = partial(nn.MaxPool2d, 3, 2, **rounding)
        stem: Any = conv if reduce_relu else partial(conv, relu=False)
        self.conv1 = conv(in_channels, 64, 7, stride=2, padding=3)
        self.maxpool1, self.norm1 = pool(), norm()
        self.conv2 = stem(64, 64, 1)
        self.conv3 = stem(64, 192, 3, padding=1)
        self.norm2, self.maxpool2 = norm(), pool()
        module: Any = partial(Inception.number, conv=conv, wide=wide)
        self.inception3a, self.inception3b = module("3a"), module("3b")
        self.inception4a, self.inception4b, self.inception4c = module("4a"), module("4b"), module("4c")
        self.inception4d, self.inception4e = module("4d"), module("4e")
        self.inception5a, self.inception5b = module("5a"), module("5b")
        self.maxpool3 = pool()
        self.maxpool4 = nn.MaxPool2d(2, 2, ceil_mode=True) if form == "library" else pool()
        self.aux1 = self.aux2 = None
        if aux:  # 14x14 maps are pooled to 4x4, in the library's form maps of any size
            library = form == "library"
            small = nn.AdaptiveAvgPool2d((4, 4)) if library else nn.AvgPool2d(5, 3)
            cells = 16 if library else prod(auxiliary_side(side) for side in image_size)
            self.aux1 = Auxiliary(conv, 512, num_classes, small, cells)
            self.aux2 = Auxiliary(conv, 528, num_classes, small, cells)
            self.output_layers = ("fc", "aux1.fc2", "aux2.fc2")
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1024, num_classes)
        self.stages = {"stem": Stage("maxpool2", 192, 8)} | {
            name: Stage(f"inception{name}", c1 + c3 + c5 + cp, {"3": 8, "4": 16, "5": 32}[name[0]])
            for name, (c1, _, c3, _, c5, cp) in INCEPTION.items()
        }
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        return self._maps(x)[-1]

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps after 4a, 4d and 5b. Sizes for 224x224 pixels."""
        if self.transform_input:
            x = torch.cat([x[:, i : i + 1] * (std / 0.5) + (mean - 0.5) / 0.5 for i, mean, std in IMAGENET], 1)
        x = self.norm1(self.maxpool1(self.conv1(x)))  # 64 x 56 x 56
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))  # 192 x 28 x 28
        x = self.maxpool3(self.inception3b(self.inception3a(x)))  # 480 x 14 x 14
        a = self.inception4a(x)  # 512 x 14 x 14
        d = self.inception4d(self.inception4c(self.inception4b(a)))  # 528 x 14 x 14
        x = self.maxpool4(self.inception4e(d))  # 832 x 7 x 7
        return a, d, self.inception5b(self.inception5a(x))  # 1024 x 7 x 7

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        a, d, x = self._maps(x)
        logits = self.fc(self.dropout(torch.flatten(self.avgpool(x), 1)))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux2(d), self.aux1(a)
        return logits


PAPER = Paper(
    "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich", 2014, "Going deeper with convolutions"
)
GLOROT = ("Glorot initialization (the paper gives none)",)
NO_AUX = ("no auxiliary heads",)
LIBRARY = (
    "batch norm after each convolution, no biases", "3x3 instead of 5x5 in the third branch",
    "no local response norm", "the last pooling has 2x2 windows", "dropout of 0.2 instead of 0.4",
)  # fmt: skip
TEXT = ("no local response norm", "one channel", "pooling padded by 1 instead of rounding sizes up", "no dropout")
ERRORS = {"imagenet top-5": 10.07, "imagenet top-5 (7 networks, 144 crops)": 6.67}
COMMON = {"imagenet top-1 (common library)": 30.222, "imagenet top-5 (common library)": 10.470}

# an auxiliary head on m maps: 128 (m + 1) + 1024 * 2049 + 1000 * 1025; with m = 512 and 528 together 6,379,728
VARIANTS: Any = (
    ("googlenet_2014", 6_998_552, NO_AUX + GLOROT, ERRORS, {}),
    ("googlenet_2014_aux", 13_378_280, GLOROT, ERRORS, {"aux": True}),
    ("googlenet_2014_nobn", 6_998_552, (*NO_AUX, *GLOROT, "no local response norm"), None, {"lrn": False}),
    ("googlenet", 6_624_904, NO_AUX + LIBRARY, COMMON, {"form": "library"}),
    ("googlenet_aux", 13_004_888, LIBRARY, COMMON, {"form": "library", "aux": True}),
)
for name, parameters, differences, errors, arguments in VARIANTS:
    if "form" in arguments:
        arguments |= {"dropout": 0.2, "init": "truncated_0.01"}
    register(
        GoogLeNet, name, parameters=parameters, input=(3, 224, 224), num_classes=1000, paper=PAPER,
        differences=differences, errors=errors, **arguments,
    )  # fmt: skip
for name, reduce_relu in (("googlenet_d2l", False), ("googlenet_d2l_relu_in_b2", True)):
    register(
        GoogLeNet, name, parameters=5_977_530, input=(1, 96, 96), num_classes=10, paper=PAPER,
        differences=NO_AUX + GLOROT + TEXT + (() if reduce_relu else ("no ReLU in the second stage",)),
        form="text", reduce_relu=reduce_relu, dropout=0.0,
    )  # fmt: skip
