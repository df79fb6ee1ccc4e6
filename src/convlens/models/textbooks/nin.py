"""Network in Network in the form of a textbook."""

from collections.abc import Sequence
from typing import Any

from convlens.models.nin import IMAGENET, PAPER, NiN, Row
from convlens.models.registry import register


class FloorNiN(NiN):
    """Poolings round sizes down."""

    ceil_mode = False


@register(
    parameters=1_992_166, input=(1, 224, 224), paper=PAPER,
    differences=("one channel", "10 maps in all three convolutions of the last block",
                 "Glorot initialization, output biases 1"),
)  # fmt: skip
def nin(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    rows: Sequence[Row] = (*IMAGENET[:-1], Row((0, 0, 0), 3, 1, 1)),
    init: str = "glorot",
    **arguments: Any,
) -> FloorNiN:
    """As many maps as classes in all three convolutions of the last block."""
    return FloorNiN(num_classes, in_channels, rows=rows, init=init, **arguments)
