"""EfficientNet-Lite: inverted bottlenecks, widened and deepened together, of operations that every processor has.

Lite leaves out squeeze-and-excitation and takes ReLU6 for swish, so that the network bears 8 bits.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register
from convlens.nn import Conv2dSame, KerasBatchNorm2d

# table 1 of the paper: expansion, kernel, stride of the first block, maps, blocks
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280  # maps before and after the stages, in Lite of every width


def conv_norm(before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution with TensorFlow's `same` padding, and batch norm."""
    return [Conv2dSame(before, after, kernel, stride, groups=groups, bias=False), KerasBatchNorm2d(after)]


class InvertedBottleneck(nn.Module):
    """1x1 to `expansion` times the maps, kxk a channel, 1x1 back, linear; added to the input where the shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = before * expansion
        expand = [*conv_norm(before, inner), nn.ReLU6()] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            *conv_norm(inner, inner, kernel, stride, groups=inner), nn.ReLU6(),
            *conv_norm(inner, after),
        )  # fmt: skip
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.adds else self.layers(x)


def widened(maps: int, width: float) -> int:
    """So many times the maps, as the nearest multiple of 8, but no more than a tenth below."""
    near = max(8, int(maps * width + 4) // 8 * 8)
    return near + 8 if near < 0.9 * maps * width else near


class EfficientNetLite(Network):
    """A strided 3x3 convolution, seven stages of inverted bottlenecks, a 1x1 convolution, average pooling, dense layer.

    Args:
        width: multiplies the maps of the stages.
        depth: multiplies the blocks of the stages but the first and the last, rounded up.
    """

    init = "he_fan_out"
    output_layers = ("classifier.1",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        width: float = 1.0,
        depth: float = 1.0,
        dropout: float = 0.2,
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*conv_norm(in_channels, STEM, 3, 2), nn.ReLU6())]
        before, all_strides = STEM, 2
        self.stages = {"stem": Stage("features.0", STEM, 2)}
        for number, (expansion, kernel, stride, maps, blocks) in enumerate(STAGES, start=1):
            if 1 < number < len(STAGES):
                blocks = math.ceil(blocks * depth)
            after, all_strides = widened(maps, width), all_strides * stride
            for index in range(blocks):
                layers.append(InvertedBottleneck(before, after, kernel, 1 if index else stride, expansion))
                before = after
            self.stages[f"stage{number}"] = Stage(f"features.{len(layers) - 1}", after, all_strides)
        layers.append(nn.Sequential(*conv_norm(before, HEAD), nn.ReLU6()))
        self.stages["head"] = Stage(f"features.{len(layers) - 1}", HEAD, all_strides)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(HEAD, num_classes))
        self.initialize()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1)), 1)
        return self.classifier(x)


PAPER = Paper("Tan, Le", 2019, "EfficientNet: rethinking model scaling for convolutional neural networks")
DIFFERENCES = (
    "the Lite form (Liu, TensorFlow blog, 2020): ReLU6 instead of swish, no squeeze-and-excitation; stem, head, first "
    "and last stage of the same size in each",
    "no dropping of whole blocks in training",
)


@register(
    parameters=4_652_008, input=(3, 224, 224), paper=PAPER, differences=DIFFERENCES, errors={"imagenet top-1": 24.9}
)
def efficientnet_lite0(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> EfficientNetLite:
    """EfficientNet-Lite0."""
    return EfficientNetLite(num_classes, in_channels, **arguments)


@register(
    parameters=5_416_680, input=(3, 240, 240), paper=PAPER, differences=DIFFERENCES, errors={"imagenet top-1": 23.3}
)
def efficientnet_lite1(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> EfficientNetLite:
    """EfficientNet-Lite1: 1.1 times as deep."""
    return EfficientNetLite(num_classes, in_channels, **{"depth": 1.1, **arguments})


@register(
    parameters=6_092_072, input=(3, 260, 260), paper=PAPER, differences=DIFFERENCES, errors={"imagenet top-1": 22.4}
)
def efficientnet_lite2(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> EfficientNetLite:
    """EfficientNet-Lite2: 1.1 times as wide and 1.2 times as deep."""
    return EfficientNetLite(num_classes, in_channels, **{"width": 1.1, "depth": 1.2, "dropout": 0.3, **arguments})
