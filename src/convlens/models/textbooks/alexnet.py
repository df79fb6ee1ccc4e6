"""AlexNet in the forms of two textbooks."""

from collections.abc import Sequence
from typing import Any

from convlens.models.alexnet import NO_LRN, ONE, PAPER, AlexNet, Conv
from convlens.models.registry import register
from convlens.nn import KerasBatchNorm2d

Rows = Sequence[Conv]
UNGROUPED = (
    Conv(96, 11, 4, 0, pool=True), Conv(256, 5, 1, 2, pool=True),
    Conv(384, 3, 1, 1), Conv(384, 3, 1, 1), Conv(256, 3, 1, 1, pool=True),
)  # fmt: skip
SMALL = (
    Conv(96, 3, norm_layer=KerasBatchNorm2d, pool=True), Conv(256, 3, norm_layer=KerasBatchNorm2d, pool=True),
    Conv(384, 3, 1, 1), Conv(384, 3, 1, 1), Conv(256, 3, 1, 1, pool=True),
)  # fmt: skip


@register(
    parameters=46_764_746, input=(1, 224, 224), paper=PAPER,
    differences=(*ONE, *NO_LRN, "one channel", "Glorot initialization"),
)  # fmt: skip
def alexnet_d2l(
    num_classes: int = 10, in_channels: int = 1, *, rows: Rows = UNGROUPED, init: str = "glorot", **arguments: Any
) -> AlexNet:
    """AlexNet without groups and local response norm."""
    return AlexNet(num_classes, in_channels, rows=rows, init=init, **arguments)


@register(
    parameters=9_638_474, input=(3, 32, 32), paper=PAPER,
    differences=(*ONE, "batch norm in the first two layers instead of local response norm",
                 "3x3 kernels with stride 1 for 32x32 pixels", "2048 hidden units", "Glorot initialization"),
)  # fmt: skip
def alexnet8_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    rows: Rows = SMALL,
    hidden: int = 2048,
    init: str = "glorot",
    **arguments: Any,
) -> AlexNet:
    """AlexNet for 32x32 pixels, with batch norm."""
    return AlexNet(num_classes, in_channels, rows=rows, hidden=hidden, init=init, **arguments)
