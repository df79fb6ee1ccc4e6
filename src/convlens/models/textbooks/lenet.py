"""LeNet-5 in the forms of textbooks."""

from collections import OrderedDict
from typing import Any

from torch import nn

from convlens.models.lenet import MODERN, PAPER, LeNet5, dense_layers, stages
from convlens.models.network import NORMS, Make, Network, Stage, flat_features
from convlens.models.registry import register


class SmallKernelLeNet5(Network):
    """LeNet-5 with 3x3 kernels, no padding, and pooling before the activation.

    Args:
        norm_layer: None, "batch", "keras", or what makes a norm for so many maps; after each convolution.
    """

    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        *,
        norm_layer: str | Make | None = None,
        init: str = "glorot",
    ):
        super().__init__()
        self.init = init
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, before, after in ((1, in_channels, 6), (3, 6, 16)):
            layers[f"c{number}"] = nn.Conv2d(before, after, 3)
            if norm_layer is not None:
                layers[f"b{number}"] = NORMS.named(norm_layer)(after)
            layers[f"s{number + 1}"] = nn.MaxPool2d(2)
            layers[f"a{number}"] = nn.ReLU()
        self.features = nn.Sequential(layers)
        self.classifier = dense_layers(flat_features(self.features, 16, image_size), num_classes, nn.ReLU)
        self.stages: dict[str, Stage] = stages("c1", "a1", "c3", "a3")
        self.initialize()


SMALL = ("3x3 kernels, no padding", "max pooling before the ReLU", "Glorot initialization")


@register(parameters=60_074, input=(1, 28, 28), paper=PAPER, differences=MODERN + SMALL)
def lenet5_tfbook(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> SmallKernelLeNet5:
    """LeNet-5 with 3x3 kernels."""
    return SmallKernelLeNet5(num_classes, in_channels, **arguments)


@register(
    parameters=60_118, input=(1, 28, 28), paper=PAPER,
    differences=(*MODERN, *SMALL, "batch norm after each convolution"),
)  # fmt: skip
def lenet5_bn_tfbook(
    num_classes: int = 10, in_channels: int = 1, *, norm_layer: str | Make | None = "batch", **arguments: Any
) -> SmallKernelLeNet5:
    """LeNet-5 with 3x3 kernels and batch norm."""
    return SmallKernelLeNet5(num_classes, in_channels, norm_layer=norm_layer, **arguments)


@register(
    parameters=61_706, input=(1, 32, 32), paper=PAPER,
    differences=(*MODERN, "no activations between the layers", "Glorot initialization"),
)  # fmt: skip
def lenet5_1998_described(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    padding: int = 0,
    pool: str | Make = "avg",
    activation: str | Make = "none",
    init: str = "glorot",
    **arguments: Any,
) -> LeNet5:
    """LeNet-5 as a text describes it: not a word of activations."""
    return LeNet5(num_classes, in_channels, padding=padding, pool=pool, activation=activation, init=init, **arguments)


@register(
    parameters=62_006, input=(3, 32, 32), paper=PAPER,
    differences=(*MODERN, "three colors", "sigmoids instead of the scaled tanh", "max pooling instead of averages",
                 "Glorot initialization"),
)  # fmt: skip
def lenet5_cifar(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    padding: int = 0,
    activation: str | Make = "sigmoid",
    init: str = "glorot",
    **arguments: Any,
) -> LeNet5:
    """LeNet-5 with sigmoids, for three colors."""
    return LeNet5(num_classes, in_channels, padding=padding, activation=activation, init=init, **arguments)


@register(
    parameters=61_706, input=(1, 28, 28), paper=PAPER,
    differences=(*MODERN, "sigmoids instead of the scaled tanh",
                 "28x28 pixels padded by 2 inside C1 instead of 32x32 pixels", "Glorot initialization"),
)  # fmt: skip
def lenet_avg_sigmoid(
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    pool: str | Make = "avg",
    activation: str | Make = "sigmoid",
    init: str = "glorot",
    **arguments: Any,
) -> LeNet5:
    """LeNet-5 with sigmoids and averages."""
    return LeNet5(num_classes, in_channels, pool=pool, activation=activation, init=init, **arguments)
