"""The CIFAR ResNets of 6n + 2 layers, their plain twins, and the pre-activation form."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convlens.base.errors import InputError
from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class Shortcut(nn.Module):
    """Option A: every `stride`-th cell, zeros for the new maps. No parameters."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.stride, self.new = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.new)) if self.new else x


class CifarBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm; the shortcut is added before the last ReLU.

    Shapes: (N, before, H, W) to (N, maps, H / stride, W / stride), rounded up. residual: False leaves the shortcut out.
    """

    def __init__(self, before: int, maps: int, stride: int = 1, *, residual: bool = True):
        super().__init__()
        self.conv1 = nn.Conv2d(before, maps, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.shortcut = Shortcut(before, maps, stride) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y if self.shortcut is None else y + self.shortcut(x))


class PreActivationBlock(nn.Module):
    """Pre-activation: norm and ReLU come before each convolution, nothing stands on the shortcut.

    Two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the maps. Where the number of maps changes, the shortcut
    is a 1x1 convolution of the activated input.

    Shapes: (N, before, H, W) to (N, maps, H / stride, W / stride), rounded up; 4 * maps with a bottleneck.
    """

    def __init__(self, before: int, maps: int, stride: int = 1, *, bottleneck: bool = False):
        super().__init__()
        after = 4 * maps if bottleneck else maps
        kernels = ((before, maps, 1), (maps, maps, 3), (maps, after, 1)) if bottleneck else (
            (before, maps, 3), (maps, maps, 3))  # fmt: skip
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b, _, _ in kernels)
        self.convs = nn.ModuleList(
            nn.Conv2d(b, a, k, s, k // 2, bias=False) for (b, a, k), s in zip(kernels, strides, strict=True)
        )
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if before != after else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](x))
        shortcut = x if self.shortcut is None else self.shortcut(y)
        y = self.convs[0](y)
        for norm, conv in zip(self.norms[1:], self.convs[1:], strict=True):  # type: ignore[arg-type]
            y = conv(F.relu(norm(y)))
        return y + shortcut


class CifarResNet(Network):
    """A 3x3 stem with 16 maps, three stages of n blocks with 16, 32 and 64 maps, average pooling, one dense layer.

    Args:
        depth: 6n + 2 layers with weights.
        residual: False leaves the shortcuts out: the plain networks of the paper.
    """

    init = "he"
    output_layers = ("fc",)

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, depth: int = 20, residual: bool = True):
        super().__init__()
        n = blocks_per_stage(depth, 6)

        def stage(before: int, maps: int, stride: int) -> nn.Sequential:
            first = CifarBlock(before, maps, stride, residual=residual)
            return nn.Sequential(first, *(CifarBlock(maps, maps, residual=residual) for _ in range(n - 1)))

        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, 1)
        self.layer2 = stage(16, 32, 2)
        self.layer3 = stage(32, 64, 2)
        self.fc = nn.Linear(64, num_classes)
        self.stages = {
            "stem": Stage("bn1", 16, 1), "stage1": Stage("layer1", 16, 1),
            "stage2": Stage("layer2", 32, 2), "stage3": Stage("layer3", 64, 4),
        }  # fmt: skip
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        return self.layer3(self.layer2(self.layer1(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


class PreActivationResNet(Network):
    """The second paper's network: nothing but additions on the way of the shortcuts, a norm after the last stage.

    Args:
        depth: 6n + 2 layers with weights, 9n + 2 with bottlenecks.
        bottleneck: blocks of 1x1, 3x3, 1x1 with four times the maps.
    """

    init = "he"
    output_layers = ("fc",)

    def __init__(self, num_classes: int = 10, in_channels: int = 3, *, depth: int = 20, bottleneck: bool = False):
        super().__init__()
        n = blocks_per_stage(depth, 9 if bottleneck else 6)
        wide = 4 if bottleneck else 1

        def stage(before: int, maps: int, stride: int) -> nn.Sequential:
            first = PreActivationBlock(before, maps, stride, bottleneck=bottleneck)
            rest = (PreActivationBlock(maps * wide, maps, bottleneck=bottleneck) for _ in range(n - 1))
            return nn.Sequential(first, *rest)

        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.layer1 = stage(16, 16, 1)
        self.layer2 = stage(16 * wide, 32, 2)
        self.layer3 = stage(32 * wide, 64, 2)
        self.last = nn.BatchNorm2d(64 * wide)
        self.fc = nn.Linear(64 * wide, num_classes)
        self.stages = {
            "stem": Stage("conv1", 16, 1), "stage1": Stage("layer1", 16 * wide, 1),
            "stage2": Stage("layer2", 32 * wide, 2), "stage3": Stage("layer3", 64 * wide, 4),
        }  # fmt: skip
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        return F.relu(self.last(self.layer3(self.layer2(self.layer1(self.conv1(x))))))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


def blocks_per_stage(depth: int, layers: int) -> int:
    """n of a network of layers * n + 2 layers. Raises `InputError` for any other depth."""
    if depth <= 2 or (depth - 2) % layers:
        raise InputError(f"such a network has {layers}n + 2 layers, not {depth}; {layers * 3 + 2} is one")
    return (depth - 2) // layers


PAPER = Paper("He, Zhang, Ren, Sun", 2015, "Deep residual learning for image recognition")
PAPER2 = Paper("He, Zhang, Ren, Sun", 2016, "Identity mappings in deep residual networks")
ONE_BY_ONE = ("1x1 convolutions instead of padding with zeros where the number of maps changes",)


# parameters: 97,216 n - 21,926 with n = (depth - 2) / 6
@register(
    parameters=269_722, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 8.75},
    aliases=("resnet20", "resnet_cifar",),
)  # fmt: skip
def resnet20_cifar(num_classes: int = 10, in_channels: int = 3, *, depth: int = 20, **arguments: Any) -> CifarResNet:
    """Three blocks a stage."""
    return CifarResNet(num_classes, in_channels, depth=depth, **arguments)


@register(
    parameters=464_154, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 7.51},
    aliases=("resnet32",),
)  # fmt: skip
def resnet32_cifar(num_classes: int = 10, in_channels: int = 3, *, depth: int = 32, **arguments: Any) -> CifarResNet:
    """Five blocks a stage."""
    return CifarResNet(num_classes, in_channels, depth=depth, **arguments)


@register(
    parameters=658_586, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 7.17},
    aliases=("resnet44",),
)  # fmt: skip
def resnet44_cifar(num_classes: int = 10, in_channels: int = 3, *, depth: int = 44, **arguments: Any) -> CifarResNet:
    """Seven blocks a stage."""
    return CifarResNet(num_classes, in_channels, depth=depth, **arguments)


@register(
    parameters=853_018, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 6.97},
    aliases=("resnet56",),
)  # fmt: skip
def resnet56_cifar(num_classes: int = 10, in_channels: int = 3, *, depth: int = 56, **arguments: Any) -> CifarResNet:
    """Nine blocks a stage."""
    return CifarResNet(num_classes, in_channels, depth=depth, **arguments)


@register(
    parameters=1_727_962, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 6.43},
    aliases=("resnet110",),
)  # fmt: skip
def resnet110_cifar(num_classes: int = 10, in_channels: int = 3, *, depth: int = 110, **arguments: Any) -> CifarResNet:
    """Eighteen blocks a stage."""
    return CifarResNet(num_classes, in_channels, depth=depth, **arguments)


@register(
    parameters=19_421_274, input=(3, 32, 32), paper=PAPER, errors={"cifar10 test, augmented": 7.93},
    aliases=("resnet1202",),
)  # fmt: skip
def resnet1202_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 1202, **arguments: Any
) -> CifarResNet:
    """Two hundred blocks a stage."""
    return CifarResNet(num_classes, in_channels, depth=depth, **arguments)


@register(parameters=269_722, input=(3, 32, 32), paper=PAPER)
def plain20_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 20, residual: bool = False
) -> CifarResNet:
    """Three blocks a stage, without shortcuts."""
    return CifarResNet(num_classes, in_channels, depth=depth, residual=residual)


@register(parameters=853_018, input=(3, 32, 32), paper=PAPER)
def plain56_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 56, residual: bool = False
) -> CifarResNet:
    """Nine blocks a stage, without shortcuts."""
    return CifarResNet(num_classes, in_channels, depth=depth, residual=residual)


# summed layer by layer in tests/models
@register(parameters=272_282, input=(3, 32, 32), paper=PAPER2, differences=ONE_BY_ONE)
def preresnet20_cifar(num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> PreActivationResNet:
    """Three blocks a stage."""
    return PreActivationResNet(num_classes, in_channels, **arguments)


@register(
    parameters=1_730_522, input=(3, 32, 32), paper=PAPER2, differences=ONE_BY_ONE,
    errors={"cifar10 test, augmented": 6.37},
)  # fmt: skip
def preresnet110_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 110, **arguments: Any
) -> PreActivationResNet:
    """Eighteen blocks a stage."""
    return PreActivationResNet(num_classes, in_channels, depth=depth, **arguments)


@register(
    parameters=1_703_258, input=(3, 32, 32), paper=PAPER2, differences=ONE_BY_ONE,
    errors={"cifar10 test, augmented": 5.46},
)  # fmt: skip
def preresnet164_cifar(
    num_classes: int = 10, in_channels: int = 3, *, depth: int = 164, bottleneck: bool = True
) -> PreActivationResNet:
    """Eighteen bottlenecks a stage."""
    return PreActivationResNet(num_classes, in_channels, depth=depth, bottleneck=bottleneck)
