"""SqueezeNet, with the common library's parameter names."""

from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.choices import Choices
from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class Fire(nn.Module):
    """A 1x1 convolution squeezes the maps; a 1x1 and a 3x3 beside it expand them again.

    Shapes: (N, before, H, W) to (N, 2 * expand, H, W).
    """

    def __init__(self, before: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze = nn.Conv2d(before, squeeze, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        one, three = self.expand1x1(x), self.expand3x3(x)
        return torch.cat([self.expand1x1_activation(one), self.expand3x3_activation(three)], 1)


# (squeeze, expand) of fire modules 2 to 9; "pool" halves the size
VERSIONS = Choices(
    "version",
    {
        "1.0": ((16, 64), (16, 64), (32, 128), "pool", (32, 128), (48, 192), (48, 192), (64, 256), "pool", (64, 256)),
        "1.1": ((16, 64), (16, 64), "pool", (32, 128), (32, 128), "pool", (48, 192), (48, 192), (64, 256), (64, 256)),
    },
)


class SqueezeNet(Network):
    """One convolution, eight fire modules, a 1x1 convolution (one map per class), average pooling. No dense layer."""

    init = "he"
    output_layers = ("classifier.1",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        version: str = "1.0",
        dropout: float = 0.5,
    ):
        super().__init__()
        maps, kernel = (96, 7) if version == "1.0" else (64, 3)
        layers: list[nn.Module] = [nn.Conv2d(in_channels, maps, kernel, 2), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
        self.stages, stride = {"stem": Stage("features.2", maps, 4)}, 4
        for row in VERSIONS[version]:
            if isinstance(row, str):
                layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
                stride *= 2
                continue
            layers.append(Fire(maps, *row))
            maps = 2 * row[1]
            self.stages[f"fire{len(self.stages) + 1}"] = Stage(f"features.{len(layers) - 1}", maps, stride)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Conv2d(maps, num_classes, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d((1, 1))
        )
        self.initialize()

    def init_layer(self, name: str, layer: nn.Module) -> None:
        super().init_layer(name, layer)
        if name == "classifier.1":
            nn.init.normal_(layer.weight, 0.0, 0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


PAPER = Paper(
    "Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer", 2016,
    "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size",
)  # fmt: skip
HE = ("He initialization, N(0, 0.01^2) in the last convolution",)
ERRORS = {
    "imagenet top-1": 42.5, "imagenet top-5": 19.7,
    "imagenet top-1 (common library)": 41.908, "imagenet top-5 (common library)": 19.58,
}  # fmt: skip


@register(
    parameters=1_248_424, input=(3, 224, 224), paper=PAPER, differences=HE, errors=ERRORS, aliases=("squeezenet1_0",)
)
def squeezenet(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> SqueezeNet:
    """SqueezeNet as published."""
    return SqueezeNet(num_classes, in_channels, **arguments)


@register(
    parameters=1_235_496, input=(3, 224, 224), paper=PAPER,
    differences=(*HE, "3x3 stem with 64 maps and earlier pooling (the authors' later release)"),
    errors={"imagenet top-1 (common library)": 41.822, "imagenet top-5 (common library)": 19.376},
)  # fmt: skip
def squeezenet1_1(
    num_classes: int = 1000, in_channels: int = 3, *, version: str = "1.1", **arguments: Any
) -> SqueezeNet:
    """The authors' later release: as accurate, with less than half the work."""
    return SqueezeNet(num_classes, in_channels, version=version, **arguments)
