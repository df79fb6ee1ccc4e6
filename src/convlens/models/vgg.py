"""VGG: the table of the paper (A to E), with batch norm, and the forms of textbooks for small images."""

from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.choices import Choices
from convlens.models.network import Network, Stage, flat_features
from convlens.models.registry import Paper, register
from convlens.nn import KerasBatchNorm2d, LocalResponseNorm

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
        "D-512": "64 64 M 128 128 M 256 256 512 M 512 512 512 M 512 512 512 M",
    },
)
NORMS: Choices[Any] = Choices("norm", {"batch": nn.BatchNorm2d, "keras": KerasBatchNorm2d})


class VGG(Network):
    """Five groups of 3x3 convolutions, each ended by pooling, and three dense layers.

    Args:
        column: a column of the paper's table.
        norm: None, "batch" or "keras" (batch norm with Keras' constants) between convolution and ReLU.
        hidden: widths of the two hidden dense layers.
        side: pools the last maps to side x side cells; None hands them on as they are.
        dropout: in the dense layers. pool_dropout: after each pooling.
        skip: adds the input of the last group to what comes out of its last convolution, before the ReLU.
        divide: divides all widths of the column.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        column: str = "D",
        norm: str | None = None,
        hidden: tuple[int, int] = (4096, 4096),
        side: int | None = 7,
        dropout: float = 0.5,
        pool_dropout: float = 0.0,
        skip: bool = False,
        divide: int = 1,
        init: str = "glorot",
    ):
        super().__init__()
        self.init = init
        layers: list[nn.Module] = []
        self.stages = {}
        groups = COLUMNS[column].removesuffix(" M").split(" M ")
        for number, tokens in enumerate(groups, start=1):
            group: list[nn.Module] = []
            for token in tokens.split():
                if token == "L":
                    group.append(LocalResponseNorm())
                    continue
                kernel, maps = (1, int(token[2:])) if token.startswith("1x") else (3, int(token))
                maps //= divide
                group.append(nn.Conv2d(in_channels, maps, kernel, padding=kernel // 2))
                if norm is not None:
                    group.append(NORMS[norm](maps))
                group.append(nn.ReLU(inplace=not skip))
                in_channels = maps
            if skip and number == len(groups):
                group = [Skip(*group[:-1]), group[-1]]
            # on odd sizes the small-image forms keep the last row, as Keras' `same` does
            layers += [*group, nn.MaxPool2d(2, 2, ceil_mode=side is None)]
            self.stages[f"group{number}"] = Stage(f"features.{len(layers) - 1}", in_channels, 2**number)
            if pool_dropout:
                layers.append(nn.Dropout(pool_dropout))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.Identity() if side is None else nn.AdaptiveAvgPool2d((side, side))
        flat = flat_features(self.features, in_channels, image_size) if side is None else in_channels * side**2
        drop = [nn.Dropout(dropout)] if dropout else []
        self.classifier = nn.Sequential(
            nn.Linear(flat, hidden[0]), nn.ReLU(inplace=True), *drop,
            nn.Linear(hidden[0], hidden[1]), nn.ReLU(inplace=True), *drop,
            nn.Linear(hidden[1], num_classes),
        )  # fmt: skip
        self.output_layers = (f"classifier.{len(self.classifier) - 1}",)
        self.initialize()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Skip(nn.Sequential):
    """Adds its input to its output."""

    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


PAPER = Paper("Simonyan, Zisserman", 2014, "Very deep convolutional networks for large-scale image recognition")
ADAPTIVE = ("average pooling to 7x7 before the dense layers, which changes nothing at 224x224 pixels",)
BATCH_NORM = ("batch norm after each convolution",)
SMALL = ("32x32 pixels, hence 1x1 cells before the dense layers",)

for column, name, plain, normed, single, normed_single, published, aliases in (
    ("A", "vgg11", 132_863_336, 132_868_840, (30.980, 11.372), (29.630, 10.190), (29.6, 10.4), ()),
    ("B", "vgg13", 133_047_848, 133_053_736, (30.072, 10.754), (28.414, 9.626), (28.7, 9.9), ()),
    ("D", "vgg16", 138_357_544, 138_365_992, (28.408, 9.618), (26.640, 8.484), (25.6, 8.1), ("keras_vgg16",)),
    ("E", "vgg19", 143_667_240, 143_678_248, (27.624, 9.124), (25.782, 8.158), (25.5, 8.0), ("keras_vgg19",)),
):
    keys = ("imagenet top-1 (common library)", "imagenet top-5 (common library)")
    paper_keys = ("imagenet top-1, single scale", "imagenet top-5, single scale")
    register(
        VGG, name, parameters=plain, input=(3, 224, 224), num_classes=1000, paper=PAPER, differences=ADAPTIVE,
        errors=dict(zip(paper_keys + keys, published + single, strict=True)), aliases=aliases, column=column,
    )  # fmt: skip
    register(
        VGG, f"{name}_bn", parameters=normed, input=(3, 224, 224), num_classes=1000, paper=PAPER,
        differences=ADAPTIVE + BATCH_NORM, errors=dict(zip(keys, normed_single, strict=True)),
        column=column, norm="batch",
    )  # fmt: skip
register(
    VGG, "vgg11_lrn", parameters=132_863_336, input=(3, 224, 224), num_classes=1000, paper=PAPER,
    differences=ADAPTIVE, errors={"imagenet top-1, single scale": 29.7, "imagenet top-5, single scale": 10.5},
    column="A-LRN",
)  # fmt: skip
register(
    VGG, "vgg16_c_1x1", parameters=133_638_952, input=(3, 224, 224), num_classes=1000, paper=PAPER,
    differences=ADAPTIVE, errors={"imagenet top-1, single scale": 27.3, "imagenet top-5, single scale": 8.8},
    aliases=("vgg16_1x1",), column="C",
)  # fmt: skip
register(
    VGG, "vgg_blocks_d2l", parameters=128_806_154, input=(1, 224, 224), num_classes=10, paper=PAPER,
    differences=("one channel",), column="A", side=None,
)  # fmt: skip
register(
    VGG, "vgg_blocks_small_ratio8", parameters=2_018_346, input=(1, 224, 224), num_classes=10, paper=PAPER,
    differences=("one channel", "all widths divided by 8"), column="A", side=None, divide=8, hidden=(512, 512),
)  # fmt: skip
for name, parameters, column, extra in (
    ("vgg16_bn_cifar", 15_253_578, "D", ()),
    ("vgg16_bn_cifar_literal_c7_512", 17_023_818, "D-512", ("512 instead of 256 maps in the seventh convolution",)),
):
    register(
        VGG, name, parameters=parameters, input=(3, 32, 32), num_classes=10, paper=PAPER,
        differences=(*SMALL, *BATCH_NORM, "512 hidden units", "dropout of 0.2 after each pooling", *extra),
        column=column, norm="keras", side=None, hidden=(512, 512), dropout=0.2, pool_dropout=0.2,
    )  # fmt: skip
for name, parameters, classes, hidden, skip, extra in (
    ("vgg13_cifar", 9_570_506, 10, (256, 128), False, ()),
    ("vgg13_cifar_fc_256_64_10", 9_553_418, 10, (256, 64), False, ()),
    ("vgg13_cifar100_head", 9_582_116, 100, (256, 128), False, ()),
    ("vgg13_skip_cifar", 9_570_506, 10, (256, 128), True, ("a skip connection around the last two convolutions",)),
):
    register(
        VGG, name, parameters=parameters, input=(3, 32, 32), num_classes=classes, paper=PAPER,
        differences=(*SMALL, f"{hidden[0]} and {hidden[1]} hidden units, no dropout", *extra),
        column="B", side=None, hidden=hidden, dropout=0.0, skip=skip,
    )  # fmt: skip
