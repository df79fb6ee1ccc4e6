"""ResNet for ImageNet, with the common library's parameter names and values, and in Keras' form."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.choices import Choices
from convlens.models.network import NORMS, Make, Network, Stage
from convlens.models.registry import Paper, register


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and 34.

    Shapes: (N, before, H, W) to (N, maps, H / stride, W / stride), rounded up.
    """

    expansion = 1
    bias = False

    def __init__(self, before: int, maps: int, stride: int = 1, norm_layer: Make = nn.BatchNorm2d):
        super().__init__()
        self.conv1 = nn.Conv2d(before, maps, 3, stride, 1, bias=False)
        self.bn1 = norm_layer(maps)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = norm_layer(maps)
        self.downsample = projection(before, maps, stride, norm_layer) if stride != 1 or before != maps else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with four times the maps, and a shortcut: the block of ResNet-50, 101 and 152.

    The stride sits in the 3x3 convolution. In the paper, and in Keras' form, it sits in the first 1x1.

    Shapes: (N, before, H, W) to (N, 4 * maps, H / stride, W / stride), rounded up.
    """

    expansion = 4
    bias = False
    strided = 2  # which of the three convolutions has the stride

    def __init__(self, before: int, maps: int, stride: int = 1, norm_layer: Make = nn.BatchNorm2d):
        super().__init__()
        first, second = (stride, 1) if self.strided == 1 else (1, stride)
        after, bias = maps * self.expansion, self.bias
        self.conv1 = nn.Conv2d(before, maps, 1, first, bias=bias)
        self.bn1 = norm_layer(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, second, 1, bias=bias)
        self.bn2 = norm_layer(maps)
        self.conv3 = nn.Conv2d(maps, after, 1, bias=bias)
        self.bn3 = norm_layer(after)
        self.relu = nn.ReLU(inplace=True)
        changes = stride != 1 or before != after
        self.downsample = projection(before, after, stride, norm_layer, bias) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


class KerasBottleneck(Bottleneck):
    """The stride in the first convolution, as in the paper, and biases in all."""

    bias = True
    strided = 1


def projection(before: int, after: int, stride: int, norm_layer: Make, bias: bool = False) -> nn.Sequential:
    """The shortcut where the shape changes: 1x1 convolution and batch norm (option B of the paper)."""
    return nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=bias), norm_layer(after))


Block = type[BasicBlock] | type[Bottleneck]
BLOCKS: Choices[Block] = Choices("block", {"basic": BasicBlock, "bottleneck": Bottleneck, "keras": KerasBottleneck})
KERAS_NORM = partial(nn.BatchNorm2d, eps=1.001e-5, momentum=0.01)


class ResNet(Network):
    """A 7x7 stem, four stages of residual blocks, average pooling, one dense layer.

    Args:
        block: "basic", "bottleneck", "keras", or a class like `BasicBlock`.
        blocks: in each of the four stages.
        norm_layer: "batch", "keras", or what makes a norm for so many maps.
    """

    init = "he_fan_out"
    output_layers = ("fc",)

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        block: str | Block = "basic",
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        norm_layer: str | Make = "batch",
    ):
        super().__init__()
        kind: Block = BLOCKS.named(block)
        norm = NORMS.named(norm_layer)

        def stage(before: int, maps: int, count: int, stride: int) -> nn.Sequential:
            """`count` blocks, of which the first changes the number of maps and the size."""
            rest = (kind(maps * kind.expansion, maps, norm_layer=norm) for _ in range(count - 1))
            return nn.Sequential(kind(before, maps, stride, norm), *rest)

        wide = kind.expansion
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=kind.bias)
        self.bn1 = norm(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = stage(64, 64, blocks[0], 1)
        self.layer2 = stage(64 * wide, 128, blocks[1], 2)
        self.layer3 = stage(128 * wide, 256, blocks[2], 2)
        self.layer4 = stage(256 * wide, 512, blocks[3], 2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * wide, num_classes)
        self.stages = {
            "stem": Stage("maxpool", 64, 4), "stage1": Stage("layer1", 64 * wide, 4),
            "stage2": Stage("layer2", 128 * wide, 8), "stage3": Stage("layer3", 256 * wide, 16),
            "stage4": Stage("layer4", 512 * wide, 32),
        }  # fmt: skip
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
KERAS = ("biases in the convolutions", "batch norm with eps 1.001e-5", *FAN_OUT)
KERAS_FORM: dict[str, Any] = {"block": KerasBottleneck, "norm_layer": KERAS_NORM}
Four = tuple[int, int, int, int]


def errors(top1: float, top5: float, crops1: float, crops5: float | None = None) -> dict[str, float]:
    """On ImageNet: top-1 and top-5 error of the common library, and of the paper (10 crops)."""
    found = {
        "imagenet top-1 (common library)": top1, "imagenet top-5 (common library)": top5,
        "imagenet top-1, 10 crops": crops1,
    }  # fmt: skip
    return found if crops5 is None else found | {"imagenet top-5, 10 crops": crops5}


@register(
    parameters=11_689_512, input=(3, 224, 224), paper=PAPER, differences=FAN_OUT, errors=errors(30.242, 10.922, 27.88)
)
def resnet18(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> ResNet:
    """ResNet-18: 2, 2, 2, 2 basic blocks."""
    return ResNet(num_classes, in_channels, **arguments)


@register(
    parameters=21_797_672, input=(3, 224, 224), paper=PAPER, differences=FAN_OUT,
    errors=errors(26.686, 8.580, 24.52, 7.46),
)  # fmt: skip
def resnet34(num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 4, 6, 3), **arguments: Any) -> ResNet:
    """ResNet-34: 3, 4, 6, 3 basic blocks."""
    return ResNet(num_classes, in_channels, blocks=blocks, **arguments)


@register(
    parameters=25_557_032, input=(3, 224, 224), paper=PAPER, differences=STRIDE + FAN_OUT,
    errors=errors(23.870, 7.138, 22.85, 6.71),
)  # fmt: skip
def resnet50(num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 4, 6, 3), **arguments: Any) -> ResNet:
    """ResNet-50: 3, 4, 6, 3 bottlenecks."""
    return ResNet(num_classes, in_channels, blocks=blocks, **{"block": Bottleneck, **arguments})


@register(parameters=25_583_592, input=(3, 224, 224), paper=PAPER, differences=KERAS)
def keras_resnet50(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 4, 6, 3), **arguments: Any
) -> ResNet:
    """ResNet-50 as Keras has it."""
    return ResNet(num_classes, in_channels, blocks=blocks, **{**KERAS_FORM, **arguments})


@register(
    parameters=44_549_160, input=(3, 224, 224), paper=PAPER, differences=STRIDE + FAN_OUT,
    errors=errors(22.626, 6.454, 21.75, 6.05),
)  # fmt: skip
def resnet101(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 4, 23, 3), **arguments: Any
) -> ResNet:
    """ResNet-101: 3, 4, 23, 3 bottlenecks."""
    return ResNet(num_classes, in_channels, blocks=blocks, **{"block": Bottleneck, **arguments})


@register(parameters=44_601_832, input=(3, 224, 224), paper=PAPER, differences=KERAS)
def keras_resnet101(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 4, 23, 3), **arguments: Any
) -> ResNet:
    """ResNet-101 as Keras has it."""
    return ResNet(num_classes, in_channels, blocks=blocks, **{**KERAS_FORM, **arguments})


@register(
    parameters=60_192_808, input=(3, 224, 224), paper=PAPER, differences=STRIDE + FAN_OUT,
    errors=errors(21.688, 5.954, 21.43, 5.71),
)  # fmt: skip
def resnet152(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 8, 36, 3), **arguments: Any
) -> ResNet:
    """ResNet-152: 3, 8, 36, 3 bottlenecks."""
    return ResNet(num_classes, in_channels, blocks=blocks, **{"block": Bottleneck, **arguments})


@register(parameters=60_268_520, input=(3, 224, 224), paper=PAPER, differences=KERAS)
def keras_resnet152(
    num_classes: int = 1000, in_channels: int = 3, *, blocks: Four = (3, 8, 36, 3), **arguments: Any
) -> ResNet:
    """ResNet-152 as Keras has it."""
    return ResNet(num_classes, in_channels, blocks=blocks, **{**KERAS_FORM, **arguments})
