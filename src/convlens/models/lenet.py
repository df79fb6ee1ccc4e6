"""LeNet-5: as published in 1998, and in the modern form that everybody means today."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from convlens.base.initial import lecun_bound
from convlens.models.network import ACTIVATIONS, NORMS, POOLS, Make, Network, Stage, flat_features
from convlens.models.registry import Paper, register


class LeNet5(Network):
    """Two convolutions with pooling, three dense layers: 6 and 16 maps, 120, 84 and `num_classes` units.

    Args:
        padding: of C1; 2 makes 28x28 pixels as good as 32x32.
        activation: "relu", "sigmoid", "tanh", "none", or a class of layers. pool: "max", "avg" or such a class.
        norm_layer: None, "batch", "keras", or what makes a norm for so many maps; between convolution and activation.
        dropout: after each hidden dense layer.
    """

    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        *,
        padding: int = 2,
        activation: str | Make = "relu",
        pool: str | Make = "max",
        norm_layer: str | Make | None = None,
        dropout: float = 0.0,
        init: str = "he",
    ):
        super().__init__()
        self.init = init
        act, pooling = ACTIVATIONS.named(activation), POOLS.named(pool)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        # the paper's numbers: convolutions C1 and C3, subsampling S2 and S4
        for number, before, after, around in ((1, in_channels, 6, padding), (3, 6, 16, 0)):
            layers[f"c{number}"] = nn.Conv2d(before, after, 5, padding=around)
            if norm_layer is not None:
                layers[f"b{number}"] = NORMS.named(norm_layer)(after)
            layers[f"a{number}"] = act()
            layers[f"s{number + 1}"] = pooling(2)
        self.features = nn.Sequential(layers)
        flat = flat_features(self.features, 16, image_size)
        self.classifier = dense_layers(flat, num_classes, act, dropout)
        self.stages = stages("a1", "s2", "a3", "s4")
        self.initialize()


def dense_layers(flat: int, num_classes: int, activation: Make, dropout: float = 0.0) -> nn.Sequential:
    """The dense layers F5 (120 units), F6 (84) and the output."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for number, before, after in ((5, flat, 120), (6, 120, 84)):
        layers[f"f{number}"] = nn.Linear(before, after)
        layers[f"a{number}"] = activation()
        if dropout:
            layers[f"d{number}"] = nn.Dropout(dropout)
    layers["output"] = nn.Linear(84, num_classes)
    return nn.Sequential(layers)


def stages(c1: str, s2: str, c3: str, s4: str) -> dict[str, Stage]:
    """The stages of LeNet-5, from the names of the layers that end them."""
    return {
        "c1": Stage(f"features.{c1}", 6, 1), "s2": Stage(f"features.{s2}", 6, 2),
        "c3": Stage(f"features.{c3}", 16, 2), "s4": Stage(f"features.{s4}", 16, 4),
        "f5": Stage("classifier.a5", 120, None), "f6": Stage("classifier.a6", 84, None),
    }  # fmt: skip


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3): maps +-1 to about +-1, where its curvature is largest."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """The trainable pooling of S2 and S4: the sum of 2x2 cells times one coefficient a map, plus one bias a map."""

    def __init__(self, channels: int):
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))
        self.pool = nn.AvgPool2d(2)

    def reset_parameters(self) -> None:
        bound = lecun_bound(4)
        nn.init.uniform_(self.coefficient, -bound, bound)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return 4 * self.pool(x) * self.coefficient + self.bias


class SparseC3(nn.Module):
    """C3 by the paper's table I: 16 maps that see 3, 4, 4 or all 6 of the maps of S2. 60 kernels, 1,516 weights.

    Which maps share a kind of window is written as slices, so that each kind is one grouped convolution.
    """

    def __init__(self) -> None:
        super().__init__()
        self.three = nn.Conv2d(18, 6, 5, groups=6)  # maps 0-5: three neighbors, around the corner
        self.four = nn.Conv2d(24, 6, 5, groups=6)  # maps 6-11: four neighbors
        self.apart = nn.Conv2d(12, 3, 5, groups=3)  # maps 12-14: two and two
        self.all = nn.Conv2d(6, 1, 5)  # map 15

    def forward(self, x: Tensor) -> Tensor:
        ring = torch.cat([x, x[:, :4]], 1)
        three = torch.cat([ring[:, i : i + 3] for i in range(6)], 1)
        four = torch.cat([ring[:, i : i + 4] for i in range(6)], 1)
        apart = torch.cat([ring[:, j : j + 2] for i in range(3) for j in (i, i + 3)], 1)
        return torch.cat([self.three(three), self.four(four), self.apart(apart), self.all(x)], 1)


# Rows of 7 cells, 12 rows per digit: our drawing of the "stylized" targets of figure 3.
DIGITS = """
.#####. ...#... .#####. .#####. .....#. ####### .#####. ####### .#####. .#####.
#.....# ..##... #.....# #.....# ....##. #...... #.....# ......# #.....# #.....#
#.....# .#.#... ......# ......# ...#.#. #...... #...... .....#. #.....# #.....#
#.....# ...#... ......# ......# ..#..#. #...... #...... .....#. #.....# #.....#
#.....# ...#... .....#. ..####. .#...#. ######. #.####. ....#.. .#####. #.....#
#.....# ...#... ....#.. ......# #....#. ......# ##....# ....#.. #.....# .######
#.....# ...#... ...#... ......# ####### ......# #.....# ...#... #.....# ......#
#.....# ...#... ..#.... ......# .....#. ......# #.....# ...#... #.....# ......#
#.....# ...#... .#..... ......# .....#. ......# #.....# ..#.... #.....# ......#
#.....# ...#... #...... #.....# .....#. #.....# #.....# ..#.... #.....# #.....#
.#####. .#####. ####### .#####. .....#. .#####. .#####. ..#.... .#####. .#####.
....... ....... ....... ....... ....... ....... ....... ....... ....... .......
"""


class RadialBasisOutput(nn.Module):
    """Minus the squared distance between F6 and the fixed code (+-1, 84 numbers) of each class.

    The paper's units give the distance itself, the smallest wins; the sign makes the numbers logits. The codes of
    the ten digits are pictures; any other number of classes gets random codes, the paper's other proposal.
    """

    codes: Tensor

    def __init__(self, num_classes: int):
        super().__init__()
        self.register_buffer("codes", torch.empty(num_classes, 84))

    def reset_parameters(self) -> None:
        classes = len(self.codes)
        if classes == 10:
            rows = [line.split() for line in DIGITS.split("\n") if line]
            bits = [[cell == "#" for row in rows for cell in row[digit]] for digit in range(10)]
            codes = torch.tensor(bits, dtype=torch.float32, device="cpu") * 2 - 1
        else:  # the same codes in every network of that size, whatever its seed
            generator = torch.Generator(device="cpu").manual_seed(1998)
            codes = torch.randint(0, 2, (classes, 84), generator=generator, device="cpu") * 2.0 - 1
        if self.codes.device.type != "meta":
            self.codes.copy_(codes)

    def resized(self, outputs: int) -> "RadialBasisOutput":
        return RadialBasisOutput(outputs).to(self.codes)

    def forward(self, x: Tensor) -> Tensor:
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(2)


class LeNet5Of1998(Network):
    """LeNet-5 as published: C1 156, S2 12, C3 1,516, S4 32, C5 48,120, F6 10,164 = 60,000 trainable parameters."""

    init = "lecun_1998"
    output_layers = ("classifier.output",)

    def __init__(self, num_classes: int = 10, in_channels: int = 1, image_size: tuple[int, int] = (32, 32)):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                c1=nn.Conv2d(in_channels, 6, 5),
                a1=ScaledTanh(),
                s2=Subsampling(6),
                a2=ScaledTanh(),
                c3=SparseC3(),
                a3=ScaledTanh(),
                s4=Subsampling(16),
                a4=ScaledTanh(),
            )
        )
        # C5 is a convolution whose kernel covers the whole of S4: 5x5 on 32x32 pixels
        height, width = (((side - 4) // 2 - 4) // 2 for side in image_size)
        if min(height, width) < 1:
            raise ValueError("nothing is left of the image")
        self.classifier = nn.Sequential(
            OrderedDict(
                c5=nn.Conv2d(16, 120, (height, width)),
                a5=ScaledTanh(),
                flatten=nn.Flatten(),
                f6=nn.Linear(120, 84),
                a6=ScaledTanh(),
                output=RadialBasisOutput(num_classes),
            )
        )
        self.stages = {
            "c1": Stage("features.a1", 6, 1), "s2": Stage("features.a2", 6, 2),
            "c3": Stage("features.a3", 16, 2), "s4": Stage("features.a4", 16, 4),
            "c5": Stage("classifier.a5", 120, 4), "f6": Stage("classifier.a6", 84, None),
        }  # fmt: skip
        self.initialize()


PAPER = Paper("LeCun, Bottou, Bengio, Haffner", 1998, "Gradient-based learning applied to document recognition")
FULL = "C3 sees all six maps of S2 instead of the table of 60 connections"
PLAIN_POOL = "pooling without trainable coefficients"
LINEAR_OUT = "a linear output layer with softmax cross-entropy instead of radial basis units"
MODERN = (FULL, PLAIN_POOL, LINEAR_OUT)


@register(
    parameters=61_706, input=(1, 28, 28), paper=PAPER,
    differences=(*MODERN, "ReLU instead of the scaled tanh", "max pooling instead of averages",
                 "28x28 pixels padded by 2 inside C1 instead of 32x32 pixels", "He initialization"),
)  # fmt: skip
def lenet5(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> LeNet5:
    """LeNet-5 in the form that everybody means today."""
    return LeNet5(num_classes, in_channels, **arguments)


@register(
    parameters=60_000, input=(1, 32, 32), paper=PAPER,
    differences=("the bitmaps of the ten codes are drawn by us",
                 "the codes of any other number of classes are random",
                 "outputs are minus the distances, so that they serve as logits"),
    errors={"mnist test": 0.95, "mnist test, distortions": 0.8},
)  # fmt: skip
def lenet5_1998(num_classes: int = 10, in_channels: int = 1, **arguments: Any) -> LeNet5Of1998:
    """LeNet-5 as published."""
    return LeNet5Of1998(num_classes, in_channels, **arguments)
