"""ResNet for ImageNet, with the common library's parameter names and values, and in Keras' form."""

from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, before: int, maps: int, stride: int = 1, keras: bool = False):
        super().__init__()
        self.conv1 = nn.Conv2d(before, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.downsample = projection(before, maps, stride) if stride != 1 or before != maps else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times the maps, and a shortcut: the block of ResNet-50, 101 and 152.

    Downsampling sits in the 3x3 convolution. In the paper, and in Keras' form, it sits in the first 1x1.
    """

    expansion = 4

    def __init__(self, before: int, maps: int, stride: int = 1, keras: bool = False):
        super().__init__()
        first, second = (stride, 1) if keras else (1, stride)
        after = maps * self.expansion
        self.conv1 = nn.Conv2d(before, maps, 1, first, bias=keras)
        self.bn1 = norm(maps, keras)
        self.conv2 = nn.Conv2d(maps, maps, 3, second, 1, bias=keras)
        self.bn2 = norm(maps, keras)
        self.conv3 = nn.Conv2d(maps, after, 1, bias=keras)
        self.bn3 = norm(after, keras)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(before, after, stride, keras) if stride != 1 or before != after else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


def norm(maps: int, keras: bool = False) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(maps, eps=1.001e-5, momentum=0.01) if keras else nn.BatchNorm2d(maps)


def projection(before: int, after: int, stride: int, keras: bool = False) -> nn.Sequential:
    """The shortcut where the shape changes: 1x1 convolution and batch norm (option B of the paper)."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=keras), norm(after, keras))


def stage(block: Any, before: int, maps: int, count: int, stride: int, keras: bool = False) -> nn.Sequential:
    """`count` blocks, of which the first changes the number of maps and the size."""
    first = block(before, maps, stride, keras)
    return nn.Sequential(first, *(block(maps * block.expansion, maps, 1, keras) for _ in range(count - 1)))


class ResNet(Network):
    """A 7x7 stem, four stages of residual blocks, average pooling, one dense layer."""

    init = "he_fan_out"
    output_layers = ("fc",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        bottleneck: bool = False,
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        keras: bool = False,
    ):
        super().__init__()
        block: Any = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=keras)
        self.bn1 = norm(64, keras)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(block, 64, 64, blocks[0], 1, keras)
        self.layer2 = stage(block, 64 * block.expansion, 128, blocks[1], 2, keras)
        self.layer3 = stage(block, 128 * block.expansion, 256, blocks[2], 2, keras)
        self.layer4 = stage(block, 256 * block.expansion, 512, blocks[3], 2, keras)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        self.stages = {"stem": Stage("maxpool", 64, 4)} | {
            f"stage{i}": Stage(f"layer{i}", 2 ** (i + 5) * block.expansion, 2 ** (i + 1)) for i in (1, 2, 3, 4)
        }
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.avgpool(self.features(x)), 1))


PAPER = Paper("He, Zhang, Ren, Sun", 2015, "Deep residual learning for image recognition")
STRIDE = ("downsampling in the 3x3 convolution of a block, not in its first 1x1",)
FAN_OUT = ("He initialization by fan-out; PyTorch's initialization of the dense layer",)

# name: bottleneck, blocks a stage, parameters, in Keras' form, error of the common library, of the paper (10 crops)
TABLE = {
    "resnet18": (False, (2, 2, 2, 2), 11_689_512, None, (30.242, 10.922), (27.88, None)),
    "resnet34": (False, (3, 4, 6, 3), 21_797_672, None, (26.686, 8.580), (24.52, 7.46)),
    "resnet50": (True, (3, 4, 6, 3), 25_557_032, 25_583_592, (23.870, 7.138), (22.85, 6.71)),
    "resnet101": (True, (3, 4, 23, 3), 44_549_160, 44_601_832, (22.626, 6.454), (21.75, 6.05)),
    "resnet152": (True, (3, 8, 36, 3), 60_192_808, 60_268_520, (21.688, 5.954), (21.43, 5.71)),
}
for name, (bottleneck, blocks, parameters, keras_parameters, common, published) in TABLE.items():
    errors = {
        "imagenet top-1 (common library)": common[0],
        "imagenet top-5 (common library)": common[1],
        "imagenet top-1, 10 crops": published[0],
        "imagenet top-5, 10 crops": published[1],
    }
    register(
        ResNet, name, parameters=parameters, input=(3, 224, 224), num_classes=1000, paper=PAPER,
        differences=STRIDE + FAN_OUT if bottleneck else FAN_OUT,
        errors={key: value for key, value in errors.items() if value is not None},
        bottleneck=bottleneck, blocks=blocks,
    )  # fmt: skip
    if keras_parameters:
        register(
            ResNet, f"keras_{name}", parameters=keras_parameters, input=(3, 224, 224), num_classes=1000, paper=PAPER,
            differences=("biases in the convolutions", "batch norm with eps 1.001e-5", *FAN_OUT),
            bottleneck=bottleneck, blocks=blocks, keras=True,
        )  # fmt: skip
