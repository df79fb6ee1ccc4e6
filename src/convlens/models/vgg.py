"""VGG: the table of the paper (A to E), with batch norm, and any column of one's own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.models.choices import Choices
from convlens.models.network import NORMS, Make, Network, Stage, flat_features
from convlens.models.registry import Paper, register
from convlens.nn import LocalResponseNorm

# Columns of the paper's table 1. A number is a 3x3 convolution with so many maps, "1x256" a 1x1 convolution,
# M max pooling, L local response norm.
COLUMNS = Choices(
    "column",
    {
        "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
        "A-LRN": "64 L M 128 M 256 256 M 512 512 M 512 512 M",
        "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
        "C": "64 64 M 128 128 M 256 256 1x256 M 512 512 1x512 M 512 512 1x512 M",
        "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
        "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
    },
)
Column = str | Sequence[int | str]


def groups_of(column: Column) -> list[list[str]]:
    """The convolutions and norms of a column, in groups: each ends where M stands.

    column: a name of the paper's table, or one's own, as a text such as "64 64 M 128 M" or as a list such as
        [64, 64, "M", 128, "M"].

    Raises:
        InputError: no such column, or something in it that is none of the known.
    """
    if isinstance(column, str):
        tokens = (column if " " in column or column.isdigit() else COLUMNS[column]).split()
    else:
        tokens = [str(token) for token in column]
    groups: list[list[str]] = [[]]
    for token in tokens:
        if token == "M":
            groups.append([])
        elif token == "L" or (token.removeprefix("1x").isdigit() and int(token.removeprefix("1x"))):
            groups[-1].append(token)
        else:
            raise InputError(
                f"column: {token!r} is neither a number of maps (64: 3x3, '1x64': 1x1) nor 'M' (max pooling) nor 'L' "
                f"(local response norm)"
            )
    if groups.pop() or not groups or not all(any(token != "L" for token in group) for group in groups):
        raise InputError("column: each group needs a convolution and a pooling 'M' after it, such as 64 64 M 128 M")
    return groups


def group_layers(
    tokens: Sequence[str], in_channels: int, norm_layer: Make | None = None, *, inplace: bool = True
) -> tuple[list[nn.Module], int]:
    """The layers of one group without its pooling, and how many maps come out of them."""
    layers: list[nn.Module] = []
    for token in tokens:
        if token == "L":
            layers.append(LocalResponseNorm())
            continue
        maps, kernel = int(token.removeprefix("1x")), 1 if token.startswith("1x") else 3
        layers.append(nn.Conv2d(in_channels, maps, kernel, padding=kernel // 2))
        if norm_layer is not None:
            layers.append(norm_layer(maps))
        layers.append(nn.ReLU(inplace=inplace))
        in_channels = maps
    return layers, in_channels


class VGG(Network):
    """Groups of 3x3 convolutions, each ended by pooling, and three dense layers.

    Args:
        column: a column of the paper's table ("A", "A-LRN", "B", "C", "D", "E"), or one's own, as a text
            ("64 64 M 128 M") or a list ([64, 64, "M", 128, "M"]); M is a 2x2 pooling.
        norm_layer: None, "batch", "keras" (batch norm with Keras' constants), or what makes a norm for so many maps;
            between convolution and ReLU.
        hidden: widths of the two hidden dense layers.
        side: pools the last maps to side x side cells; None hands them on as they are.
        dropout: in the dense layers.

    Shapes: (N, in_channels, H, W) to (N, num_classes).
    """

    output_layers = ("classifier.6",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        column: Column = "D",
        norm_layer: str | Make | None = None,
        hidden: tuple[int, int] = (4096, 4096),
        side: int | None = 7,
        dropout: float = 0.5,
        init: str = "glorot",
    ):
        super().__init__()
        self.init = init
        norm = None if norm_layer is None else NORMS.named(norm_layer)
        layers: list[nn.Module] = []
        self.stages = {}
        groups = groups_of(column)
        for number, tokens in enumerate(groups, start=1):
            group, maps = self.group(tokens, in_channels, norm, last=number == len(groups))
            # on odd sizes the small-image forms keep the last row, as Keras' `same` does
            layers += [*group, nn.MaxPool2d(2, 2, ceil_mode=side is None)]
            self.stages[f"group{number}"] = Stage(f"features.{len(layers) - 1}", maps, 2**number)
            layers += self.after_pooling()
            in_channels = maps
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.Identity() if side is None else nn.AdaptiveAvgPool2d((side, side))
        flat = flat_features(self.features, in_channels, image_size) if side is None else in_channels * side**2
        self.classifier = dense_layers(flat, hidden, num_classes, dropout)
        self.output_layers = (f"classifier.{len(self.classifier) - 1}",)
        self.initialize()

    def group(
        self, tokens: Sequence[str], in_channels: int, norm: Make | None, *, last: bool
    ) -> tuple[list[nn.Module], int]:
        """The layers of a group before its pooling, and how many maps come out of them."""
        return group_layers(tokens, in_channels, norm)

    def after_pooling(self) -> list[nn.Module]:
        """What follows each pooling: nothing, unless a textbook wants it."""
        return []

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def dense_layers(flat: int, hidden: tuple[int, int], num_classes: int, dropout: float) -> nn.Sequential:
    """The three dense layers."""
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(
        nn.Linear(flat, hidden[0]), nn.ReLU(inplace=True), *drop,
        nn.Linear(hidden[0], hidden[1]), nn.ReLU(inplace=True), *drop,
        nn.Linear(hidden[1], num_classes),
    )  # fmt: skip


PAPER = Paper("Simonyan, Zisserman", 2014, "Very deep convolutional networks for large-scale image recognition")
IMAGENET = (3, 224, 224)
ADAPTIVE = ("average pooling to 7x7 before the dense layers, which changes nothing at 224x224 pixels",)
BATCH_NORM = ("batch norm after each convolution",)


def errors(single: tuple[float, float] | None, common: tuple[float, float] | None) -> dict[str, float]:
    """Top-1 and top-5 error on ImageNet: of the paper (single scale), and of the common library."""
    found = {}
    if single is not None:
        found |= {"imagenet top-1, single scale": single[0], "imagenet top-5, single scale": single[1]}
    if common is not None:
        found |= {"imagenet top-1 (common library)": common[0], "imagenet top-5 (common library)": common[1]}
    return found


@register(
    parameters=132_863_336, input=IMAGENET, paper=PAPER, differences=ADAPTIVE,
    errors=errors((29.6, 10.4), (30.98, 11.372)),
)  # fmt: skip
def vgg11(num_classes: int = 1000, in_channels: int = 3, *, column: Column = "A", **arguments: Any) -> VGG:
    """Column A: 11 layers with weights."""
    return VGG(num_classes, in_channels, column=column, **arguments)


@register(
    parameters=132_868_840, input=IMAGENET, paper=PAPER, differences=ADAPTIVE + BATCH_NORM,
    errors=errors(None, (29.63, 10.19)),
)  # fmt: skip
def vgg11_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    column: Column = "A",
    norm_layer: str | Make | None = "batch",
    **arguments: Any,
) -> VGG:
    """Column A with batch norm."""
    return VGG(num_classes, in_channels, column=column, norm_layer=norm_layer, **arguments)


@register(
    parameters=133_047_848, input=IMAGENET, paper=PAPER, differences=ADAPTIVE,
    errors=errors((28.7, 9.9), (30.072, 10.754)),
)  # fmt: skip
def vgg13(num_classes: int = 1000, in_channels: int = 3, *, column: Column = "B", **arguments: Any) -> VGG:
    """Column B: 13 layers with weights."""
    return VGG(num_classes, in_channels, column=column, **arguments)


@register(
    parameters=133_053_736, input=IMAGENET, paper=PAPER, differences=ADAPTIVE + BATCH_NORM,
    errors=errors(None, (28.414, 9.626)),
)  # fmt: skip
def vgg13_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    column: Column = "B",
    norm_layer: str | Make | None = "batch",
    **arguments: Any,
) -> VGG:
    """Column B with batch norm."""
    return VGG(num_classes, in_channels, column=column, norm_layer=norm_layer, **arguments)


@register(
    parameters=138_357_544, input=IMAGENET, paper=PAPER, differences=ADAPTIVE,
    errors=errors((25.6, 8.1), (28.408, 9.618)),
    aliases=("keras_vgg16",),
)  # fmt: skip
def vgg16(num_classes: int = 1000, in_channels: int = 3, *, column: Column = "D", **arguments: Any) -> VGG:
    """Column D: 16 layers with weights."""
    return VGG(num_classes, in_channels, column=column, **arguments)


@register(
    parameters=138_365_992, input=IMAGENET, paper=PAPER, differences=ADAPTIVE + BATCH_NORM,
    errors=errors(None, (26.64, 8.484)),
)  # fmt: skip
def vgg16_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    column: Column = "D",
    norm_layer: str | Make | None = "batch",
    **arguments: Any,
) -> VGG:
    """Column D with batch norm."""
    return VGG(num_classes, in_channels, column=column, norm_layer=norm_layer, **arguments)


@register(
    parameters=143_667_240, input=IMAGENET, paper=PAPER, differences=ADAPTIVE,
    errors=errors((25.5, 8.0), (27.624, 9.124)),
    aliases=("keras_vgg19",),
)  # fmt: skip
def vgg19(num_classes: int = 1000, in_channels: int = 3, *, column: Column = "E", **arguments: Any) -> VGG:
    """Column E: 19 layers with weights."""
    return VGG(num_classes, in_channels, column=column, **arguments)


@register(
    parameters=143_678_248, input=IMAGENET, paper=PAPER, differences=ADAPTIVE + BATCH_NORM,
    errors=errors(None, (25.782, 8.158)),
)  # fmt: skip
def vgg19_bn(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    column: Column = "E",
    norm_layer: str | Make | None = "batch",
    **arguments: Any,
) -> VGG:
    """Column E with batch norm."""
    return VGG(num_classes, in_channels, column=column, norm_layer=norm_layer, **arguments)


@register(
    parameters=132_863_336, input=IMAGENET, paper=PAPER, differences=ADAPTIVE, errors=errors((29.7, 10.5), None),
)  # fmt: skip
def vgg11_lrn(num_classes: int = 1000, in_channels: int = 3, *, column: Column = "A-LRN", **arguments: Any) -> VGG:
    """Column A-LRN: local response norm after the first convolution."""
    return VGG(num_classes, in_channels, column=column, **arguments)


@register(
    parameters=133_638_952, input=IMAGENET, paper=PAPER, differences=ADAPTIVE, errors=errors((27.3, 8.8), None),
    aliases=("vgg16_1x1",),
)  # fmt: skip
def vgg16_c_1x1(num_classes: int = 1000, in_channels: int = 3, *, column: Column = "C", **arguments: Any) -> VGG:
    """Column C: the last convolution of three groups is 1x1."""
    return VGG(num_classes, in_channels, column=column, **arguments)
