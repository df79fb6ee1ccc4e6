"""Networks made for the shortest time to a good result on small images. Convlens' own, no paper's.

The first convolution has stride 2, so nothing ever works at full size; pooling comes before batch norm and activation,
which then see a quarter of the cells; the maps come in multiples of 16, which is what vector units like. The ideas are
those of Jordan's networks for CIFAR-10, without the whitening.
"""

from collections import OrderedDict
from typing import Any

from torch import nn

from convlens.models.network import Network, Stage, flat_features
from convlens.models.registry import Paper, register

PAPER = Paper("Jordan", 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU")
OWN = (
    "Convlens' own layers; from the paper are only the order convolution, pooling, batch norm and few, wide blocks",
    "no whitening layer, ReLU instead of GELU",
)


class Sprint(Network):
    """A 5x5 convolution with stride 2, two 3x3 convolutions with pooling, perhaps a last 3x3 one; one dense layer.

    Args:
        maps: of the convolutions, three or four; each is followed by batch norm and ReLU.
    """

    init = "pytorch"
    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        *,
        maps: tuple[int, ...] = (16, 32, 64),
    ):
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, after in enumerate(maps, start=1):
            first, pooled = i == 1, i in (2, 3)
            kernel, stride = (5, 2) if first else (3, 1)
            layers[f"conv{i}"] = nn.Conv2d(in_channels, after, kernel, stride, kernel // 2, bias=False)
            if pooled:
                layers[f"pool{i}"] = nn.MaxPool2d(2)
            layers[f"norm{i}"] = nn.BatchNorm2d(after)
            layers[f"relu{i}"] = nn.ReLU()
            in_channels = after
        self.features = nn.Sequential(layers)
        flat = flat_features(self.features, in_channels, image_size)
        self.classifier = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=nn.Linear(flat, num_classes)))
        self.stages = {f"conv{i}": Stage(f"features.relu{i}", m, 2 ** min(i, 3)) for i, m in enumerate(maps, start=1)}
        self.initialize()


@register(parameters=29_434, input=(1, 28, 28), paper=PAPER, differences=OWN)
def sprint(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> Sprint:
    """Three convolutions."""
    return Sprint(num_classes, in_channels, **arguments)


@register(parameters=109_178, input=(1, 28, 28), paper=PAPER, differences=OWN)
def sprint4(
    num_classes: int = 10, in_channels: int = 1, *, maps: tuple[int, ...] = (16, 32, 64, 128), **arguments: Any
) -> Sprint:
    """Four convolutions."""
    return Sprint(num_classes, in_channels, maps=maps, **arguments)
