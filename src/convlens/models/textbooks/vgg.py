"""VGG in the forms of textbooks, most of them for small images."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from convlens.models.network import Make
from convlens.models.registry import register
from convlens.models.vgg import BATCH_NORM, COLUMNS, PAPER, VGG, Column, group_layers


class DropoutVGG(VGG):
    """Dropout after each pooling, too."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: tuple[int, int] = (32, 32),
        *,
        column: Column = "D",
        norm_layer: str | Make | None = "keras",
        hidden: tuple[int, int] = (512, 512),
        side: int | None = None,
        dropout: float = 0.2,
        pool_dropout: float = 0.2,
        init: str = "glorot",
    ):
        self.pool_dropout = pool_dropout
        super().__init__(
            num_classes, in_channels, image_size, column=column, norm_layer=norm_layer, hidden=hidden, side=side,
            dropout=dropout, init=init,
        )  # fmt: skip

    def after_pooling(self) -> list[nn.Module]:
        return [nn.Dropout(self.pool_dropout)] if self.pool_dropout else []


class SkipVGG(VGG):
    """Adds the input of the last group to what comes out of its last convolution, before the ReLU."""

    def group(
        self, tokens: Sequence[str], in_channels: int, norm: Make | None, *, last: bool
    ) -> tuple[list[nn.Module], int]:
        layers, maps = group_layers(tokens, in_channels, norm, inplace=False)
        return [Skip(*layers[:-1]), layers[-1]] if last else layers, maps


class Skip(nn.Sequential):
    """Adds its input to its output."""

    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


SMALL = ("32x32 pixels, hence 1x1 cells before the dense layers",)
NARROW = "8 M 16 M 32 32 M 64 64 M 64 64 M"
MISPRINT = COLUMNS["D"].replace("256 256 256", "256 256 512")
DROPPED = (*SMALL, *BATCH_NORM, "512 hidden units", "dropout of 0.2 after each pooling")
TWO = (*SMALL, "256 and 128 hidden units, no dropout")


def small(num_classes: int, in_channels: int, hidden: tuple[int, int], arguments: dict[str, Any]) -> VGG:
    """Column B for 32x32 pixels, without dropout."""
    given = {"column": "B", "side": None, "dropout": 0.0, **arguments}
    return VGG(num_classes, in_channels, hidden=hidden, **given)


@register(parameters=128_806_154, input=(1, 224, 224), paper=PAPER, differences=("one channel",))
def vgg_blocks_d2l(
    num_classes: int = 10, in_channels: int = 1, *, column: Column = "A", side: int | None = None, **arguments: Any
) -> VGG:
    """Column A without the average pooling."""
    return VGG(num_classes, in_channels, column=column, side=side, **arguments)


@register(
    parameters=2_018_346, input=(1, 224, 224), paper=PAPER, differences=("one channel", "all widths divided by 8")
)
def vgg_blocks_small_ratio8(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    column: Column = NARROW,
    side: int | None = None,
    hidden: tuple[int, int] = (512, 512),
    **arguments: Any,
) -> VGG:
    """Column A with an eighth of the maps."""
    return VGG(num_classes, in_channels, column=column, side=side, hidden=hidden, **arguments)


@register(parameters=15_253_578, input=(3, 32, 32), paper=PAPER, differences=DROPPED)
def vgg16_bn_cifar(num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> DropoutVGG:
    """Column D with batch norm for 32x32 pixels."""
    return DropoutVGG(num_classes, in_channels, **arguments)


@register(
    parameters=17_023_818, input=(3, 32, 32), paper=PAPER,
    differences=(*DROPPED, "512 instead of 256 maps in the seventh convolution"),
)  # fmt: skip
def vgg16_bn_cifar_literal_c7_512(
    num_classes: int = 10, in_channels: int = 3, *, column: Column = MISPRINT, **arguments: Any
) -> DropoutVGG:
    """The same as it was printed, with 512 maps in the seventh convolution."""
    return DropoutVGG(num_classes, in_channels, column=column, **arguments)


@register(parameters=9_570_506, input=(3, 32, 32), paper=PAPER, differences=TWO)
def vgg13_cifar(
    num_classes: int = 10, in_channels: int = 3, *, hidden: tuple[int, int] = (256, 128), **arguments: Any
) -> VGG:
    """Column B for 32x32 pixels."""
    return small(num_classes, in_channels, hidden, arguments)


@register(
    parameters=9_553_418, input=(3, 32, 32), paper=PAPER,
    differences=(*SMALL, "256 and 64 hidden units, no dropout"),
)  # fmt: skip
def vgg13_cifar_fc_256_64_10(
    num_classes: int = 10, in_channels: int = 3, *, hidden: tuple[int, int] = (256, 64), **arguments: Any
) -> VGG:
    """Column B for 32x32 pixels, with fewer hidden units."""
    return small(num_classes, in_channels, hidden, arguments)


@register(parameters=9_582_116, input=(3, 32, 32), paper=PAPER, differences=TWO)
def vgg13_cifar100_head(
    num_classes: int = 100, in_channels: int = 3, *, hidden: tuple[int, int] = (256, 128), **arguments: Any
) -> VGG:
    """Column B for 32x32 pixels and 100 classes."""
    return small(num_classes, in_channels, hidden, arguments)


@register(
    parameters=9_570_506, input=(3, 32, 32), paper=PAPER,
    differences=(*TWO, "a skip connection around the last two convolutions"),
)  # fmt: skip
def vgg13_skip_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    column: Column = "B",
    hidden: tuple[int, int] = (256, 128),
    side: int | None = None,
    dropout: float = 0.0,
    **arguments: Any,
) -> SkipVGG:
    """Column B for 32x32 pixels with a skip connection."""
    return SkipVGG(num_classes, in_channels, column=column, hidden=hidden, side=side, dropout=dropout, **arguments)
