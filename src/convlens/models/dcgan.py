"""DCGAN: a generator of images from noise, and a discriminator.

A generator's input is a vector of noise (N, length, 1, 1) or (N, length); `in_channels` is its length and
`num_classes` the number of channels of the image that it makes, in -1..1.
"""

from collections.abc import Callable
from math import log2
from typing import Any

import torch
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class Generator(Network):
    """Noise to 4x4 cells, then transposed convolutions of stride 2, each doubling the side and halving the maps.

    Args:
        in_channels: length of the noise.
        image_size: height and width of the image, both the same 4 times a power of two.
        maps: maps at 4x4 cells for 64x64 pixels; always twice the maps of the next size.
        kernel: 5 as in the paper, or 4 as in later code, which also makes the first cells by a transposed
            convolution instead of a dense layer.
    """

    init = "normal_0.02"

    def __init__(
        self,
        num_classes: int = 3,
        in_channels: int = 100,
        image_size: tuple[int, int] = (64, 64),
        *,
        maps: int = 1024,
        kernel: int = 5,
    ):
        super().__init__()
        side = image_size[0]
        steps = int(log2(side / 4)) if side >= 8 else 0
        if steps < 1 or tuple(image_size) != (4 * 2**steps,) * 2:
            raise ValueError("the image must be a square of 8, 16, 32, 64 ... pixels")
        # an odd kernel needs one more row at the end to double the size exactly
        geometry: Any = {"stride": 2, "padding": (kernel - 1) // 2, "output_padding": kernel % 2}
        before = maps * 2**steps // 16
        if kernel % 2:
            cells: nn.Module = nn.Sequential(
                nn.Flatten(), nn.Linear(in_channels, before * 16), nn.Unflatten(1, (before, 4, 4))
            )
        else:
            cells = nn.ConvTranspose2d(in_channels, before, 4, bias=False)
        layers: list[nn.Module] = [cells, nn.BatchNorm2d(before), nn.ReLU()]
        self.stages = {"cells4": Stage("features.2", before, None)}
        for step in range(1, steps):
            layers.append(nn.ConvTranspose2d(before, before // 2, kernel, bias=False, **geometry))
            layers += [nn.BatchNorm2d(before // 2), nn.ReLU()]
            before //= 2
            self.stages[f"cells{4 * 2**step}"] = Stage(f"features.{len(layers) - 1}", before, None)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.ConvTranspose2d(before, num_classes, kernel, bias=kernel % 2 == 1, **geometry)
        self.initialize()

    def init_layer(self, name: str, layer: nn.Module) -> None:
        init_dcgan(super().init_layer, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            x = x[:, :, None, None]
        return torch.tanh(self.classifier(self.features(x)))


class Discriminator(Network):
    """Convolutions of stride 2 with leaky ReLU down to 4x4 cells, and one convolution over them."""

    init = "normal_0.02"

    def __init__(
        self,
        num_classes: int = 1,
        in_channels: int = 3,
        image_size: tuple[int, int] = (64, 64),
        *,
        maps: int = 64,
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, maps, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        self.stages = {"layer1": Stage("features.1", maps, 2)}
        side = min(image_size) // 2
        while side >= 8:
            layers += [nn.Conv2d(maps, 2 * maps, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * maps), nn.LeakyReLU(0.2)]
            maps, side = 2 * maps, side // 2
            number = len(self.stages) + 1
            self.stages[f"layer{number}"] = Stage(f"features.{len(layers) - 1}", maps, 2**number)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(maps, num_classes, 4, bias=False)
        self.initialize()

    def init_layer(self, name: str, layer: nn.Module) -> None:
        init_dcgan(super().init_layer, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))  # one cell at the default size


def init_dcgan(init_layer: Callable[[str, nn.Module], None], name: str, layer: nn.Module) -> None:
    """N(0, 0.02^2) in convolutions; scales of the norms from N(1, 0.02^2), as in the authors' code."""
    init_layer(name, layer)
    if isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


PAPER = Paper(
    "Radford, Metz, Chintala", 2015,
    "Unsupervised representation learning with deep convolutional generative adversarial networks",
)  # fmt: skip


# 101 * 1024 * 16 in the dense layer; kernels of 25 times 1024 * 512, 512 * 256, 256 * 128 and 128 * 3;
# norms 2 (1024 + 512 + 256 + 128); 3 biases
@register(
    parameters=18_871_427, input=(100,), paper=PAPER, differences=("no biases where batch norm follows",),
)  # fmt: skip
def dcgan_generator(num_classes: int = 3, in_channels: int = 100, **arguments: Any) -> Generator:
    """The generator of the paper: 5x5 kernels, 1024 maps at 4x4 cells."""
    return Generator(num_classes, in_channels, **arguments)


FOUR = ("4x4 kernels instead of 5x5", "half the maps", "no biases", "a transposed convolution instead of a dense layer")


# 16 * (100 * 512 + 512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 2 (512 + 256 + 128 + 64)
@register(parameters=3_576_704, input=(100,), paper=PAPER, differences=FOUR)
def dcgan64_generator(
    num_classes: int = 3, in_channels: int = 100, *, maps: int = 512, kernel: int = 4, **arguments: Any
) -> Generator:
    """The generator that later code has: 4x4 kernels, 512 maps at 4x4 cells."""
    return Generator(num_classes, in_channels, maps=maps, kernel=kernel, **arguments)


# 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 2 (128 + 256 + 512)
@register(
    parameters=2_765_568, input=(3, 64, 64), paper=PAPER,
    differences=("4x4 kernels instead of 5x5", "no biases", "a last convolution instead of a dense layer"),
)  # fmt: skip
def dcgan64_discriminator(num_classes: int = 1, in_channels: int = 3, **arguments: Any) -> Discriminator:
    """The discriminator beside it: one logit an image."""
    return Discriminator(num_classes, in_channels, **arguments)
