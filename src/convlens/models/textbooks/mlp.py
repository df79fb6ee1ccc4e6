"""Multilayer perceptrons of other widths."""

from typing import Any

from convlens.models.mlp import LATER, MLP, PAPER
from convlens.models.network import Make
from convlens.models.registry import register


@register(parameters=101_770, input=(1, 28, 28), paper=PAPER, differences=LATER)
def mlp_784_128_10(
    num_classes: int = 10, in_channels: int = 1, *, hidden: tuple[int, ...] = (128,), **arguments: Any
) -> MLP:
    """One hidden layer of 128 units."""
    return MLP(num_classes, in_channels, hidden=hidden, **arguments)


@register(parameters=242_762, input=(1, 28, 28), paper=PAPER, differences=LATER)
def mlp_784_256_128_64_10(
    num_classes: int = 10, in_channels: int = 1, *, hidden: tuple[int, ...] = (256, 128, 64), **arguments: Any
) -> MLP:
    """Three hidden layers of 256, 128 and 64 units."""
    return MLP(num_classes, in_channels, hidden=hidden, **arguments)


@register(parameters=25_450, input=(1, 28, 28), paper=PAPER, differences=("a linear hidden layer",))
def mlp_784_32_10(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    hidden: tuple[int, ...] = (32,),
    activation: str | Make = "none",
    init: str = "glorot",
    **arguments: Any,
) -> MLP:
    """One hidden layer of 32 units, without an activation."""
    return MLP(num_classes, in_channels, hidden=hidden, activation=activation, init=init, **arguments)
