"""DenseNet-BC: for ImageNet with the common library's parameter names, and for CIFAR."""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 to 4k maps, norm, ReLU, 3x3 to k maps; the k new maps are appended to the input.

    Shapes: (N, before, H, W) to (N, before + growth, H, W); growth is the paper's k.
    """

    def __init__(self, before: int, growth: int, dropout: float = 0.0):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(before, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        new = self.conv1(self.relu1(self.norm1(x)))
        new = self.conv2(self.relu2(self.norm2(new)))
        return torch.cat([x, self.dropout(new)], 1)


class DenseBlock(nn.Sequential):
    """`count` dense layers, each of which sees the outputs of all before it.

    Shapes: (N, before, H, W) to (N, before + count * growth, H, W).
    """

    def __init__(self, before: int, count: int, growth: int, dropout: float = 0.0):
        layers = (DenseLayer(before + i * growth, growth, dropout) for i in range(count))
        super().__init__(OrderedDict((f"denselayer{i}", layer) for i, layer in enumerate(layers, start=1)))


def transition(before: int) -> nn.Sequential:
    """Between two blocks: half the maps, half the size."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(before),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(before, before // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(Network):
    """Blocks whose layers see the outputs of all layers before them, with transitions between the blocks.

    Args:
        growth: k, the maps that each layer adds.
        blocks: layers per block.
        stem: maps of the first convolution.
        small: a 3x3 stem without pooling, for 32x32 pixels.
        dropout: after each 3x3 convolution; the paper uses 0.2 on CIFAR without augmentation.
    """

    init = "he"

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        growth: int = 32,
        blocks: tuple[int, ...] = (6, 12, 24, 16),
        stem: int = 64,
        small: bool = False,
        dropout: float = 0.0,
    ):
        super().__init__()
        if small:
            layers: OrderedDict[str, nn.Module] = OrderedDict(conv0=nn.Conv2d(in_channels, stem, 3, 1, 1, bias=False))
        else:
            layers = OrderedDict(
                conv0=nn.Conv2d(in_channels, stem, 7, 2, 3, bias=False),
                norm0=nn.BatchNorm2d(stem),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, 2, 1),
            )
        maps, stride = stem, 1 if small else 4
        self.stages = {"stem": Stage(f"features.{list(layers)[-1]}", maps, stride)}
        for number, count in enumerate(blocks, start=1):
            layers[f"denseblock{number}"] = DenseBlock(maps, count, growth, dropout)
            maps += count * growth
            self.stages[f"block{number}"] = Stage(f"features.denseblock{number}", maps, stride)
            if number < len(blocks):
                layers[f"transition{number}"] = transition(maps)
                maps, stride = maps // 2, stride * 2
        layers["norm5"] = nn.BatchNorm2d(maps)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Linear(maps, num_classes)
        self.initialize()

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x))
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(x, (1, 1)), 1))


PAPER = Paper("Huang, Liu, van der Maaten, Weinberger", 2016, "Densely connected convolutional networks")


def errors(common: tuple[float, float], published: tuple[float, float] | None = None) -> dict[str, float]:
    """Top-1 and top-5 error on ImageNet: of the common library, and of the paper (single crop)."""
    found = {"imagenet top-1 (common library)": common[0], "imagenet top-5 (common library)": common[1]}
    return found | ({"imagenet top-1": published[0], "imagenet top-5": published[1]} if published else {})


@register(
    parameters=7_978_856, input=(3, 224, 224), paper=PAPER, errors=errors((25.566, 8.028), (25.02, 7.71)),
    aliases=("keras_densenet121",),
)  # fmt: skip
def densenet121(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> DenseNet:
    """DenseNet-121: blocks of 6, 12, 24 and 16 layers, 32 maps a layer."""
    return DenseNet(num_classes, in_channels, **arguments)


@register(parameters=28_681_000, input=(3, 224, 224), paper=PAPER, errors=errors((22.862, 6.440)))
def densenet161(
    num_classes: int = 1000,
    in_channels: int = 3,
    *,
    growth: int = 48,
    blocks: tuple[int, ...] = (6, 12, 36, 24),
    stem: int = 96,
    **arguments: Any,
) -> DenseNet:
    """DenseNet-161: blocks of 6, 12, 36 and 24 layers, 48 maps a layer."""
    return DenseNet(num_classes, in_channels, growth=growth, blocks=blocks, stem=stem, **arguments)


@register(
    parameters=14_149_480, input=(3, 224, 224), paper=PAPER, errors=errors((24.400, 7.194), (23.80, 6.85)),
    aliases=("keras_densenet169",),
)  # fmt: skip
def densenet169(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: tuple[int, ...] = (6, 12, 32, 32), **arguments: Any
) -> DenseNet:
    """DenseNet-169: blocks of 6, 12, 32 and 32 layers, 32 maps a layer."""
    return DenseNet(num_classes, in_channels, blocks=blocks, **arguments)


@register(
    parameters=20_013_928, input=(3, 224, 224), paper=PAPER, errors=errors((23.104, 6.630), (22.58, 6.34)),
    aliases=("keras_densenet201",),
)  # fmt: skip
def densenet201(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: tuple[int, ...] = (6, 12, 48, 32), **arguments: Any
) -> DenseNet:
    """DenseNet-201: blocks of 6, 12, 48 and 32 layers, 32 maps a layer."""
    return DenseNet(num_classes, in_channels, blocks=blocks, **arguments)


def cifar(num_classes: int, in_channels: int, depth: int, growth: int, **arguments: Any) -> DenseNet:
    """DenseNet-BC of `depth` layers for 32x32 pixels: three equal blocks, 2k maps in the stem."""
    if depth < 10 or (depth - 4) % 6:
        raise InputError(f"DenseNet-BC has 6n + 4 layers, not {depth}; choose 40, 100, 190 or 250, for example")
    given: dict[str, Any] = {"blocks": ((depth - 4) // 6,) * 3, "stem": 2 * growth, "small": True, **arguments}
    return DenseNet(num_classes, in_channels, growth=growth, **given)


# L layers, growth k, n = (L - 4) / 6 layers per block. With m maps a layer has 2m + 4km + 8k + 36k^2 parameters, a
# transition 2m + m^2 / 2, the stem 27 * 2k, the last norm 2m, the head 10 (m + 1); tests/models sums them.
@register(parameters=176_122, input=(3, 32, 32), paper=PAPER)
def densenet_bc_40_12_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 40, growth: int = 12, **arguments: Any
) -> DenseNet:
    """DenseNet-BC of 40 layers, 12 maps a layer."""
    return cifar(num_classes, in_channels, depth, growth, **arguments)


@register(
    parameters=769_162, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 4.51},
    aliases=("densenet_bc_cifar",),
)  # fmt: skip
def densenet_bc_100_12_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 100, growth: int = 12, **arguments: Any
) -> DenseNet:
    """DenseNet-BC of 100 layers, 12 maps a layer."""
    return cifar(num_classes, in_channels, depth, growth, **arguments)
