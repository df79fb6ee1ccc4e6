"""Small networks that textbooks use to introduce convolution: few layers, nothing to hide."""

from collections import OrderedDict
from typing import Any

from torch import nn

from convlens.models.blocks import CBAPD
from convlens.models.network import ACTIVATIONS, Make, Network, Stage, flat_features
from convlens.models.registry import Paper, register

PAPER = Paper("LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel", 1989,
              "Backpropagation applied to handwritten zip code recognition")  # fmt: skip


class Convolutions(Network):
    """Convolutions with an activation and, on request, pooling; then one dense layer.

    Args:
        maps: of each convolution. pool: 2x2 max pooling after each.
    """

    init = "glorot"
    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        *,
        maps: tuple[int, ...] = (32,),
        padding: int = 2,
        activation: str | Make = "tanh",
        pool: bool = False,
        bias: bool = False,
    ):
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for i, after in enumerate(maps, start=1):
            layers[f"c{i}"] = nn.Conv2d(in_channels, after, 5, padding=padding, bias=bias)
            layers[f"a{i}"] = ACTIVATIONS.named(activation)()
            if pool:
                layers[f"p{i}"] = nn.MaxPool2d(2)
            in_channels = after
        self.features = nn.Sequential(layers)
        flat = flat_features(self.features, in_channels, image_size)
        self.classifier = nn.Sequential(OrderedDict(flatten=nn.Flatten(), output=nn.Linear(flat, num_classes)))
        last, factor = ("p", 2) if pool else ("a", 1)
        self.stages = {f"c{i}": Stage(f"features.{last}{i}", m, factor**i) for i, m in enumerate(maps, start=1)}
        self.initialize()


class Baseline(Network):
    """One block of convolution, batch norm, activation, pooling, dropout ("CBAPD"), and two dense layers."""

    init = "glorot"
    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        image_size: tuple[int, int] = (32, 32),
        *,
        hidden: int = 128,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.features = CBAPD(in_channels, 6, 5, norm_layer="keras", dropout=dropout)
        self.classifier = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                f1=nn.Linear(flat_features(self.features, 6, image_size), hidden),
                a1=nn.ReLU(),
                d1=nn.Dropout(dropout),
                output=nn.Linear(hidden, num_classes),
            )
        )
        self.stages = {
            "c": Stage("features.a", 6, 1), "p": Stage("features.p", 6, 2), "f1": Stage("classifier.a1", hidden, None),
        }  # fmt: skip
        self.initialize()


TEXT = ("a textbook's example, not a network of the paper",)


@register(parameters=198_494, input=(3, 32, 32), paper=PAPER, differences=TEXT)
def baseline_cbapd(num_classes: int = 10, in_channels: int = 3, **arguments: Any) -> Baseline:
    """One block and 128 hidden units."""
    return Baseline(num_classes, in_channels, **arguments)


@register(parameters=186_118, input=(3, 32, 32), paper=PAPER, differences=TEXT)
def baseline_cbapd_120(num_classes: int = 10, in_channels: int = 3, *, hidden: int = 120, **arguments: Any) -> Baseline:
    """One block and 120 hidden units."""
    return Baseline(num_classes, in_channels, hidden=hidden, **arguments)


@register(parameters=251_690, input=(1, 28, 28), paper=PAPER, differences=TEXT)
def dlfs_conv32(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> Convolutions:
    """One convolution with tanh."""
    return Convolutions(num_classes, in_channels, **arguments)


@register(parameters=3_238, input=(3, 64, 64), paper=PAPER, differences=TEXT)
def conv_syntax_demo_64(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    maps: tuple[int, ...] = (6, 6, 6),
    padding: int = 0,
    activation: str | Make = "sigmoid",
    pool: bool = True,
    bias: bool = True,
    **arguments: Any,
) -> Convolutions:
    """Three convolutions with sigmoids and pooling."""
    given: dict[str, Any] = {"padding": padding, "pool": pool, "bias": bias, **arguments}
    return Convolutions(num_classes, in_channels, maps=maps, activation=activation, **given)
