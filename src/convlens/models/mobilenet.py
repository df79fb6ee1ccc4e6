"""MobileNet v1: depthwise-separable convolutions all the way."""

from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register
from convlens.nn import Conv2dSame, KerasBatchNorm2d

# table 1 of the paper: maps and stride of the separable layers
LAYERS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1),
    (512, 2), (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def separable(before: int, after: int, stride: int) -> nn.Sequential:
    """3x3 a channel, norm, ReLU; 1x1 across channels, norm, ReLU."""
    return nn.Sequential(
        Conv2dSame(before, before, 3, stride, groups=before, bias=False), KerasBatchNorm2d(before), nn.ReLU(),
        nn.Conv2d(before, after, 1, bias=False), KerasBatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


class MobileNetV1(Network):
    """A strided 3x3 convolution, 13 separable layers, average pooling, one dense layer.

    Args:
        width: the paper's multiplier of all widths (1, 0.75, 0.5, 0.25).
    """

    init = "glorot"
    output_layers = ("classifier.1",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        width: float = 1.0,
        dropout: float = 0.001,
    ):
        super().__init__()
        before, all_strides = int(32 * width), 2
        layers: list[nn.Module] = [
            nn.Sequential(Conv2dSame(in_channels, before, 3, 2, bias=False), KerasBatchNorm2d(before), nn.ReLU())
        ]
        self.stages = {"stem": Stage("features.0", before, all_strides)}
        for number, (maps, stride) in enumerate(LAYERS, start=1):
            layers.append(separable(before, int(maps * width), stride))
            before, all_strides = int(maps * width), all_strides * stride
            self.stages[f"layer{number}"] = Stage(f"features.{number}", before, all_strides)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(before, num_classes))
        self.initialize()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1)), 1)
        return self.classifier(x)


PAPER = Paper(
    "Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam", 2017,
    "MobileNets: efficient convolutional neural networks for mobile vision applications",
)  # fmt: skip


@register(
    parameters=4_231_976, input=(3, 224, 224), paper=PAPER,
    differences=("Glorot initialization (the paper gives none)",), errors={"imagenet top-1": 29.4},
)  # fmt: skip
def mobilenet_v1(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> MobileNetV1:
    """MobileNet v1 at its full width."""
    return MobileNetV1(num_classes, in_channels, **arguments)
