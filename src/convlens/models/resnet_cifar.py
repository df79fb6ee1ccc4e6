"""The CIFAR ResNets of 6n + 2 layers, their plain twins, and the pre-activation form."""

from collections.abc import Iterator
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


class Block(nn.Module):
    """Two 3x3 convolutions, each with batch norm; the shortcut is added before the last ReLU."""

    def __init__(self, before: int, maps: int, stride: int, residual: bool):
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


class PreBlock(nn.Module):
    """Pre-activation: norm and ReLU come before each convolution, nothing stands on the shortcut.

    Two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times the maps. Where the number of maps changes, the shortcut
    is a 1x1 convolution of the activated input.
    """

    def __init__(self, before: int, maps: int, stride: int, bottleneck: bool):
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
        depth: 6n + 2 layers with weights (9n + 2 with bottlenecks).
        residual: False leaves the shortcuts out: the plain networks of the paper.
        preactivation: the blocks of the second paper. bottleneck: with those only, 1x1, 3x3, 1x1.
    """

    init = "he"
    output_layers = ("fc",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: tuple[int, int] = (32, 32),
        *,
        depth: int = 20,
        residual: bool = True,
        preactivation: bool = False,
        bottleneck: bool = False,
    ):
        super().__init__()
        layers = 9 if bottleneck else 6
        if depth <= 2 or (depth - 2) % layers:
            raise InputError(f"such a network has {layers}n + 2 layers, not {depth}; {layers * 3 + 2} is one")
        n = (depth - 2) // layers
        wide = 4 if bottleneck else 1

        def blocks(before: int, maps: int, stride: int) -> Iterator[nn.Module]:
            for i in range(n):
                geometry = (before if i == 0 else maps * wide, maps, stride if i == 0 else 1)
                yield PreBlock(*geometry, bottleneck) if preactivation else Block(*geometry, residual)

        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        norm = nn.BatchNorm2d(64 * wide if preactivation else 16)
        self.bn1 = nn.Identity() if preactivation else norm
        self.layer1 = nn.Sequential(*blocks(16, 16, 1))
        self.layer2 = nn.Sequential(*blocks(16 * wide, 32, 2))
        self.layer3 = nn.Sequential(*blocks(32 * wide, 64, 2))
        self.last = norm if preactivation else nn.Identity()
        self.fc = nn.Linear(64 * wide, num_classes)
        self.preactivation = preactivation
        self.stages = {"stem": Stage("conv1" if preactivation else "bn1", 16, 1)} | {
            f"stage{i}": Stage(f"layer{i}", 2 ** (i + 3) * wide, 2 ** (i - 1)) for i in (1, 2, 3)
        }
        self.initialize()

    @property
    def classifier(self) -> nn.Module:
        return self.fc

    def features(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        if not self.preactivation:
            x = F.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return F.relu(self.last(x)) if self.preactivation else x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), (1, 1)), 1))


PAPER = Paper("He, Zhang, Ren, Sun", 2015, "Deep residual learning for image recognition")
PAPER2 = Paper("He, Zhang, Ren, Sun", 2016, "Identity mappings in deep residual networks")
CIFAR: dict[str, Any] = {"input": (3, 32, 32), "num_classes": 10}

# parameters: 97,216 n - 21,926 with n = (depth - 2) / 6
for depth, parameters, error in (
    (20, 269_722, 8.75), (32, 464_154, 7.51), (44, 658_586, 7.17), (56, 853_018, 6.97),
    (110, 1_727_962, 6.43), (1202, 19_421_274, 7.93),
):  # fmt: skip
    aliases = (f"resnet{depth}", "resnet_cifar") if depth == 20 else (f"resnet{depth}",)
    register(
        CifarResNet, f"resnet{depth}_cifar", parameters=parameters, paper=PAPER, aliases=aliases,
        errors={"cifar10 test, augmented": error}, depth=depth, **CIFAR,
    )  # fmt: skip
for depth, parameters in ((20, 269_722), (56, 853_018)):
    register(
        CifarResNet, f"plain{depth}_cifar", parameters=parameters, paper=PAPER, depth=depth, residual=False, **CIFAR
    )

# summed layer by layer in tests/models
for depth, parameters, error, bottleneck in (
    (20, 272_282, None, False), (110, 1_730_522, 6.37, False), (164, 1_703_258, 5.46, True),
):  # fmt: skip
    register(
        CifarResNet, f"preresnet{depth}_cifar", parameters=parameters, paper=PAPER2,
        differences=("1x1 convolutions instead of padding with zeros where the number of maps changes",),
        errors={"cifar10 test, augmented": error} if error else None,
        depth=depth, preactivation=True, bottleneck=bottleneck, **CIFAR,
    )  # fmt: skip
