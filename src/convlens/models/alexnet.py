"""AlexNet: two towers as published, and the one tower of the common library."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convlens.models.network import Network, Stage, flat_features
from convlens.models.registry import Paper, register
from convlens.nn import LocalResponseNorm


class Conv(NamedTuple):
    """One row of the network: a convolution with ReLU, and what follows it."""

    maps: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    lrn: bool = False  # local response norm after the ReLU
    norm_layer: Callable[[int], nn.Module] | None = None  # before the ReLU
    pool: bool = False  # overlapping: windows of 3, stride 2


PUBLISHED = (  # the two towers meet in the third convolution only
    Conv(96, 11, 4, 0, lrn=True, pool=True),
    Conv(256, 5, 1, 2, groups=2, lrn=True, pool=True),
    Conv(384, 3, 1, 1),
    Conv(384, 3, 1, 1, groups=2),
    Conv(256, 3, 1, 1, groups=2, pool=True),
)
ONE_TOWER = (  # Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014
    Conv(64, 11, 4, 2, pool=True), Conv(192, 5, 1, 2, pool=True),
    Conv(384, 3, 1, 1), Conv(256, 3, 1, 1), Conv(256, 3, 1, 1, pool=True),
)  # fmt: skip


class AlexNet(Network):
    """Five convolutions, three dense layers.

    Args:
        rows: the convolutions, and what follows each of them.
        hidden: units of the two hidden dense layers. dropout: of their outputs.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (227, 227),
        *,
        rows: Sequence[Conv] = PUBLISHED,
        hidden: int = 4096,
        dropout: float = 0.5,
        init: str = "normal_0.01",
    ):
        super().__init__()
        self.init = init
        self.features, self.stages = convolutions(rows, in_channels)
        flat = flat_features(self.features, Conv(*rows[-1]).maps, image_size)
        # the paper drops the outputs of the dense layers, not their inputs
        after: list[nn.Module] = [nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(
            nn.Linear(flat, hidden), *after, nn.Linear(hidden, hidden), *after, nn.Linear(hidden, num_classes)
        )
        self.output_layers = ("classifier.6",)
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
        return self.classifier(torch.flatten(self.features(x), 1))


def convolutions(rows: Sequence[Conv], in_channels: int) -> tuple[nn.Sequential, dict[str, Stage]]:
    """The layers of such rows, and where each convolution and each pooling ends."""
    layers: list[nn.Module] = []
    stages, stride = {}, 1
    for i, row in enumerate((Conv(*row) for row in rows), start=1):  # plain tuples will do
        layers.append(nn.Conv2d(in_channels, row.maps, row.kernel, row.stride, row.padding, groups=row.groups))
        if row.norm_layer is not None:
            layers.append(row.norm_layer(row.maps))
        layers.append(nn.ReLU(inplace=True))
        stride *= row.stride
        stages[f"conv{i}"] = Stage(f"features.{len(layers) - 1}", row.maps, stride)
        if row.lrn:
            layers.append(LocalResponseNorm())
        if row.pool:
            layers.append(nn.MaxPool2d(3, 2))
            stride *= 2
            stages[f"pool{i}"] = Stage(f"features.{len(layers) - 1}", row.maps, stride)
        in_channels = row.maps
    return nn.Sequential(*layers), stages


class OneTowerAlexNet(Network):
    """AlexNet without groups, with the common library's parameter names: the last maps are pooled to 6x6 cells."""

    output_layers = ("classifier.6",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        hidden: int = 4096,
        dropout: float = 0.5,
        init: str = "pytorch",
    ):
        super().__init__()
        self.init = init
        self.features, self.stages = convolutions(ONE_TOWER, in_channels)
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(ONE_TOWER[-1].maps * 36, hidden), nn.ReLU(inplace=True),
            nn.Dropout(dropout), nn.Linear(hidden, hidden), nn.ReLU(inplace=True),
            nn.Linear(hidden, num_classes),
        )  # fmt: skip
        self.initialize()

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


PAPER = Paper("Krizhevsky, Sutskever, Hinton", 2012, "ImageNet classification with deep convolutional neural networks")
ONE = ("one tower: no grouped convolutions",)
NO_LRN = ("no local response norm",)


@register(
    parameters=60_965_224, input=(3, 227, 227), paper=PAPER,
    differences=("227x227 pixels instead of the printed 224x224, so that the first map is 55x55",
                 "the two graphics cards are written as two groups"),
    errors={"imagenet top-1": 40.7, "imagenet top-5": 18.2},
    aliases=("alexnet_2012_two_gpu",),
)  # fmt: skip
def alexnet_2012(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> AlexNet:
    """AlexNet as published, in two towers."""
    return AlexNet(num_classes, in_channels, **arguments)


@register(
    parameters=61_100_840, input=(3, 224, 224), paper=PAPER,
    differences=(*ONE, *NO_LRN, "64, 192, 384, 256, 256 maps instead of 96, 256, 384, 384, 256",
                 "average pooling to 6x6 before the dense layers", "dropout before the dense layers, not after",
                 "PyTorch's initialization"),
    errors={"imagenet top-1 (common library)": 43.478, "imagenet top-5 (common library)": 20.934},
)  # fmt: skip
def alexnet(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> OneTowerAlexNet:
    """AlexNet in one tower, as the common library has it."""
    return OneTowerAlexNet(num_classes, in_channels, **arguments)
