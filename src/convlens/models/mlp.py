"""Multilayer perceptrons: dense layers only, the yardstick that convolution is measured against."""

from collections import OrderedDict
from itertools import pairwise
from math import prod

from torch import nn

from convlens.models.network import ACTIVATIONS, Network, Stage
from convlens.models.registry import Paper, register


class MLP(Network):
    """Flattens the image; `hidden` dense layers, each with the activation after it; one dense output layer."""

    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, ...] = (28, 28),
        *,
        hidden: tuple[int, ...] = (256, 256, 256),
        activation: str = "relu",
        dropout: float = 0.0,
        init: str = "he",
    ):
        super().__init__()
        self.init = init
        widths = [in_channels * prod(image_size), *hidden]
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        for i, (before, after) in enumerate(pairwise(widths), start=1):
            layers[f"fc{i}"] = nn.Linear(before, after)
            layers[f"act{i}"] = ACTIVATIONS[activation]()
            if dropout:
                layers[f"drop{i}"] = nn.Dropout(dropout)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Sequential(OrderedDict(output=nn.Linear(widths[-1], num_classes)))
        self.stages = {f"fc{i}": Stage(f"features.act{i}", width, None) for i, width in enumerate(hidden, start=1)}
        self.initialize()


BACKPROPAGATION = Paper("Rumelhart, Hinton, Williams", 1986, "Learning representations by back-propagating errors")
LATER = ("rectified linear units and softmax cross-entropy, which came later",)

# parameters of a layer: inputs * outputs weights + outputs biases
for name, hidden, activation, parameters, aliases in (
    ("mlp", (256, 256, 256), "relu", 335_114, ("mlp_784_256x3_10",)),
    ("mlp_784_128_10", (128,), "relu", 101_770, ()),
    ("mlp_784_256_128_64_10", (256, 128, 64), "relu", 242_762, ()),
    ("mlp_784_32_10", (32,), "none", 25_450, ()),
):
    register(
        MLP, name, parameters=parameters, input=(1, 28, 28), num_classes=10, paper=BACKPROPAGATION,
        differences=LATER if activation == "relu" else ("a linear hidden layer",),
        aliases=aliases, hidden=hidden, activation=activation, init="he" if activation == "relu" else "glorot",
    )  # fmt: skip
