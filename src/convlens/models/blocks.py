"""Blocks that no single paper owns, free to use in networks of one's own."""

from collections import OrderedDict

from torch import nn

from convlens.models.network import ACTIVATIONS, NORMS, POOLS, Make


class CBAPD(nn.Sequential):
    """Convolution, batch norm, activation, pooling, dropout: the block of five layers that textbooks build from.

    Args:
        before, maps: of the input, and of the convolution.
        kernel: its side; it is padded so that the size stays (odd kernels).
        norm_layer: "batch", "keras", None for none, or what makes a norm for so many maps.
        activation: "relu", "sigmoid", "tanh", "none", or a class of layers.
        pool: "max", "avg", None for none, or such a class; windows of 2x2, a half window at the border counts.
        dropout: the share of numbers set to zero in training; 0 leaves the layer out.

    Shapes: (N, before, H, W) to (N, maps, H / 2, W / 2), rounded up; without pooling the size stays.
    Raises `InputError`, naming the nearest and all known, for a name that is not known.
    """

    def __init__(
        self,
        before: int,
        maps: int,
        kernel: int = 3,
        *,
        norm_layer: str | Make | None = "batch",
        activation: str | Make = "relu",
        pool: str | Make | None = "max",
        dropout: float = 0.2,
    ):
        layers: OrderedDict[str, nn.Module] = OrderedDict(c=nn.Conv2d(before, maps, kernel, padding=kernel // 2))
        if norm_layer is not None:
            layers["b"] = NORMS.named(norm_layer)(maps)
        layers["a"] = ACTIVATIONS.named(activation)()
        if pool is not None:
            layers["p"] = POOLS.named(pool)(2, ceil_mode=True)
        if dropout:
            layers["d"] = nn.Dropout(dropout)
        super().__init__(layers)
