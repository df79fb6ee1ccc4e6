"""GoogLeNet without its norms, and in the form of a textbook."""

from functools import partial
from typing import Any

from torch import nn

from convlens.models.googlenet import GLOROT, NO_AUX, PAPER, GoogLeNet
from convlens.models.registry import register


class BareGoogLeNet(GoogLeNet):
    """The published form without local response norm."""

    norm = nn.Identity


class PaddedGoogLeNet(BareGoogLeNet):
    """No norm, and poolings that pad by 1 instead of rounding sizes up.

    Args:
        reduce_relu: whether a ReLU follows the two convolutions of the second stage.
    """

    pool = staticmethod(partial(nn.MaxPool2d, 3, 2, padding=1))
    last_pool = pool

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (96, 96),
        *,
        reduce_relu: bool = True,
        aux: bool = False,
        dropout: float = 0.0,
        init: str = "glorot",
    ):
        super().__init__(num_classes, in_channels, image_size, aux=aux, dropout=dropout, init=init)
        if not reduce_relu:
            self.conv2.relu, self.conv3.relu = nn.Identity(), nn.Identity()


TEXT = ("no local response norm", "one channel", "pooling padded by 1 instead of rounding sizes up", "no dropout")


@register(
    parameters=6_998_552, input=(3, 224, 224), paper=PAPER, differences=(*NO_AUX, *GLOROT, "no local response norm")
)
def googlenet_2014_nobn(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> BareGoogLeNet:
    """GoogLeNet as published, without local response norm and auxiliary heads."""
    return BareGoogLeNet(num_classes, in_channels, **arguments)


@register(
    parameters=5_977_530, input=(1, 96, 96), paper=PAPER,
    differences=NO_AUX + GLOROT + TEXT + ("no ReLU in the second stage",),
)  # fmt: skip
def googlenet_d2l(
    num_classes: int = 10, in_channels: int = 1, *, reduce_relu: bool = False, **arguments: Any
) -> PaddedGoogLeNet:
    """GoogLeNet as a textbook prints it: its second stage lacks the ReLU."""
    return PaddedGoogLeNet(num_classes, in_channels, reduce_relu=reduce_relu, **arguments)


@register(parameters=5_977_530, input=(1, 96, 96), paper=PAPER, differences=NO_AUX + GLOROT + TEXT)
def googlenet_d2l_relu_in_b2(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> PaddedGoogLeNet:
    """The same with the ReLU."""
    return PaddedGoogLeNet(num_classes, in_channels, **arguments)
