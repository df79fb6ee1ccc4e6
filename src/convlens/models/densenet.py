"""DenseNet-BC: for ImageNet with the common library's parameter names, and for CIFAR."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 to 4k maps, norm, ReLU, 3x3 to k maps; the k new maps are appended to the input."""

    def __init__(self, before: int, growth: int, dropout: float):
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
        image_size: tuple[int, int] = (224, 224),
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
            block: OrderedDict[str, nn.Module] = OrderedDict(
                (f"denselayer{i + 1}", DenseLayer(maps + i * growth, growth, dropout)) for i in range(count)
            )
            layers[f"denseblock{number}"] = nn.Sequential(block)
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


def build_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: tuple[int, int] = (32, 32),
    *,
    depth: int = 100,
    growth: int = 12,
    dropout: float = 0.0,
) -> DenseNet:
    """DenseNet-BC of `depth` layers: three equal blocks, 2k maps in the stem."""
    if depth < 10 or (depth - 4) % 6:
        raise InputError(f"DenseNet-BC has 6n + 4 layers, not {depth}; choose 40, 100, 190 or 250, for example")
    blocks = ((depth - 4) // 6,) * 3
    return DenseNet(
        num_classes, in_channels, image_size, growth=growth, blocks=blocks, stem=2 * growth, small=True, dropout=dropout
    )


PAPER = Paper("Huang, Liu, van der Maaten, Weinberger", 2016, "Densely connected convolutional networks")

# name: growth, blocks, stem, parameters, top-1 and top-5 error of the common library, of the paper (single crop)
TABLE = {
    "densenet121": (32, (6, 12, 24, 16), 64, 7_978_856, (25.566, 8.028), (25.02, 7.71)),
    "densenet161": (48, (6, 12, 36, 24), 96, 28_681_000, (22.862, 6.440), None),
    "densenet169": (32, (6, 12, 32, 32), 64, 14_149_480, (24.400, 7.194), (23.80, 6.85)),
    "densenet201": (32, (6, 12, 48, 32), 64, 20_013_928, (23.104, 6.630), (22.58, 6.34)),
}
for name, (growth, blocks, stem, parameters, common, published) in TABLE.items():
    errors = {"imagenet top-1 (common library)": common[0], "imagenet top-5 (common library)": common[1]}
    if published:
        errors |= {"imagenet top-1": published[0], "imagenet top-5": published[1]}
    register(
        DenseNet, name, parameters=parameters, input=(3, 224, 224), num_classes=1000, paper=PAPER, errors=errors,
        aliases=() if name == "densenet161" else (f"keras_{name}",), growth=growth, blocks=blocks, stem=stem,
    )  # fmt: skip

# L layers, growth k, n = (L - 4) / 6 layers per block. With m maps a layer has 2m + 4km + 8k + 36k^2 parameters, a
# transition 2m + m^2 / 2, the stem 27 * 2k, the last norm 2m, the head 10 (m + 1); tests/models sums them.
for depth, growth, parameters, error in ((40, 12, 176_122, None), (100, 12, 769_162, 4.51)):
    register(
        build_cifar, f"densenet_bc_{depth}_{growth}_cifar", parameters=parameters, input=(3, 32, 32), num_classes=10,
        paper=PAPER, errors={"cifar10 test, augmented": error} if error else None,
        aliases=("densenet_bc_cifar",) if depth == 100 else (), depth=depth, growth=growth,
    )  # fmt: skip
