"""Multilayer perceptrons: dense layers only, the yardstick that convolution is measured against."""

from collections import OrderedDict
from itertools import pairwise
from math import prod
from typing import Any

from torch import nn

from convlens.models.network import ACTIVATIONS, Make, Network, Stage
from convlens.models.registry import Paper, register


class MLP(Network):
    """Flattens the image; dense layers of `hidden` units, each with the activation after it; one dense output layer.

    Args:
        activation: "relu", "sigmoid", "tanh", "none", or a class of layers. dropout: after each hidden layer.
    """

    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, ...] = (28, 28),
        *,
        hidden: tuple[int, ...] = (256, 256, 256),
        activation: str | Make = "relu",
        dropout: float = 0.0,
        init: str = "he",
    ):
        super().__init__()
        self.init = init
        act = ACTIVATIONS.named(activation)
        widths = [in_channels * prod(image_size), *hidden]
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for i, (before, after) in enumerate(pairwise(widths), start=1):
            layers[f"fc{i}"] = nn.Linear(before, after)
            layers[f"act{i}"] = act()
            if dropout:
                layers[f"drop{i}"] = nn.Dropout(dropout)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Sequential(OrderedDict(output=nn.Linear(widths[-1], num_classes)))
        self.stages = {f"fc{i}": Stage(f"features.act{i}", width, None) for i, width in enumerate(hidden, start=1)}
        self.initialize()


PAPER = Paper("Rumelhart, Hinton, Williams", 1986, "Learning representations by back-propagating errors")
LATER = ("rectified linear units and softmax cross-entropy, which came later",)


# parameters of a layer: inputs * outputs weights + outputs biases
@register(parameters=335_114, input=(1, 28, 28), paper=PAPER, differences=LATER, aliases=("mlp_784_256x3_10",))
def mlp(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> MLP:
    """Three hidden layers of 256 units."""
    return MLP(num_classes, in_channels, **arguments)
