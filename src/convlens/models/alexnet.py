"""AlexNet: two towers as published, the one tower of the common library, and two textbook forms."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from convlens.models.choices import Choices
from convlens.models.network import Network, Stage, flat_features
from convlens.models.registry import Paper, register
from convlens.nn import KerasBatchNorm2d, LocalResponseNorm


class Conv(NamedTuple):
    """One row of the network: a convolution with ReLU, and what follows it."""

    maps: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    norm: str | None = None  # "lrn" after the ReLU, "batch" before it
    pool: bool = False  # overlapping: windows of 3, stride 2


PUBLISHED = (  # the two towers meet in the third convolution only
    Conv(96, 11, 4, 0, norm="lrn", pool=True),
    Conv(256, 5, 1, 2, groups=2, norm="lrn", pool=True),
    Conv(384, 3, 1, 1),
    Conv(384, 3, 1, 1, groups=2),
    Conv(256, 3, 1, 1, groups=2, pool=True),
)
ONE_TOWER = (  # Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014
    Conv(64, 11, 4, 2, pool=True), Conv(192, 5, 1, 2, pool=True),
    Conv(384, 3, 1, 1), Conv(256, 3, 1, 1), Conv(256, 3, 1, 1, pool=True),
)  # fmt: skip
UNGROUPED = (
    Conv(96, 11, 4, 0, pool=True), Conv(256, 5, 1, 2, pool=True),
    Conv(384, 3, 1, 1), Conv(384, 3, 1, 1), Conv(256, 3, 1, 1, pool=True),
)  # fmt: skip
SMALL = (
    Conv(96, 3, norm="batch", pool=True), Conv(256, 3, norm="batch", pool=True),
    Conv(384, 3, 1, 1), Conv(384, 3, 1, 1), Conv(256, 3, 1, 1, pool=True),
)  # fmt: skip
FORMS = Choices("form", {"published": PUBLISHED, "one_tower": ONE_TOWER, "ungrouped": UNGROUPED, "small": SMALL})


class AlexNet(Network):
    """Five convolutions, three dense layers. The one-tower form has the common library's parameter names."""

    output_layers = ("classifier.6",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (227, 227),
        *,
        form: str = "published",
        hidden: int = 4096,
        dropout: float = 0.5,
        init: str = "normal_0.01",
    ):
        super().__init__()
        self.init = init
        layers: list[nn.Module] = []
        self.stages, stride = {}, 1
        for i, row in enumerate(FORMS[form], start=1):
            layers.append(nn.Conv2d(in_channels, row.maps, row.kernel, row.stride, row.padding, groups=row.groups))
            if row.norm == "batch":
                layers.append(KerasBatchNorm2d(row.maps))
            layers.append(nn.ReLU(inplace=True))
            stride *= row.stride
            self.stages[f"conv{i}"] = Stage(f"features.{len(layers) - 1}", row.maps, stride)
            if row.norm == "lrn":
                layers.append(LocalResponseNorm())
            if row.pool:
                layers.append(nn.MaxPool2d(3, 2))
                stride *= 2
                self.stages[f"pool{i}"] = Stage(f"features.{len(layers) - 1}", row.maps, stride)
            in_channels = row.maps
        self.features = nn.Sequential(*layers)
        if form == "one_tower":
            self.avgpool: nn.Module = nn.AdaptiveAvgPool2d((6, 6))
            flat, first, after = in_channels * 36, [nn.Dropout(dropout)], [nn.ReLU(inplace=True)]
        else:  # the paper drops the outputs of the dense layers, not their inputs
            self.avgpool = nn.Identity()
            flat, first = flat_features(self.features, in_channels, image_size), []
            after = [nn.ReLU(inplace=True), nn.Dropout(dropout)]
        middle = [nn.Dropout(dropout)] if first else []
        self.classifier = nn.Sequential(
            *first, nn.Linear(flat, hidden), *after,
            *middle, nn.Linear(hidden, hidden), *after,
            nn.Linear(hidden, num_classes),
        )  # fmt: skip
        self.initialize()

    def init_layer(self, name: str, layer: nn.Module) -> None:
        super().init_layer(name, layer)
        if self.init == "normal_0.01" and name in self.born_active():
            nn.init.ones_(layer.bias)  # type: ignore[arg-type]

    def born_active(self) -> set[str]:
        """The layers that the paper starts with bias 1: convolutions 2, 4 and 5, and the hidden dense layers."""
        convolutions = [f"features.{i}" for i, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)]
        dense = [f"classifier.{i}" for i, layer in enumerate(self.classifier) if isinstance(layer, nn.Linear)]
        return {convolutions[1], convolutions[3], convolutions[4], *dense[:-1]}

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


PAPER = Paper("Krizhevsky, Sutskever, Hinton", 2012, "ImageNet classification with deep convolutional neural networks")
ONE = ("one tower: no grouped convolutions",)
NO_LRN = ("no local response norm",)

register(
    AlexNet, "alexnet_2012", parameters=60_965_224, input=(3, 227, 227), num_classes=1000, paper=PAPER,
    differences=("227x227 pixels instead of the printed 224x224, so that the first map is 55x55",
                 "the two graphics cards are written as two groups"),
    errors={"imagenet top-1": 40.7, "imagenet top-5": 18.2},
    aliases=("alexnet_2012_two_gpu",),
)  # fmt: skip
register(
    AlexNet, "alexnet", parameters=61_100_840, input=(3, 224, 224), num_classes=1000, paper=PAPER,
    differences=(*ONE, *NO_LRN, "64, 192, 384, 256, 256 maps instead of 96, 256, 384, 384, 256",
                 "average pooling to 6x6 before the dense layers", "dropout before the dense layers, not after",
                 "PyTorch's initialization"),
    errors={"imagenet top-1 (common library)": 43.478, "imagenet top-5 (common library)": 20.934},
    form="one_tower", init="pytorch",
)  # fmt: skip
register(
    AlexNet, "alexnet_d2l", parameters=46_764_746, input=(1, 224, 224), num_classes=10, paper=PAPER,
    differences=(*ONE, *NO_LRN, "one channel", "Glorot initialization"), form="ungrouped", init="glorot",
)  # fmt: skip
register(
    AlexNet, "alexnet8_cifar", parameters=9_638_474, input=(3, 32, 32), num_classes=10, paper=PAPER,
    differences=(*ONE, "batch norm in the first two layers instead of local response norm",
                 "3x3 kernels with stride 1 for 32x32 pixels", "2048 hidden units", "Glorot initialization"),
    form="small", hidden=2048, init="glorot",
)  # fmt: skip
