"""Network in Network: each convolution is followed by two 1x1 convolutions, a small network at every position."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convlens.models.network import POOLS, Network, Stage
from convlens.models.registry import Paper, register


class Row(NamedTuple):
    """One block: the convolution, the widths of its two 1x1 convolutions, and the pooling after it."""

    maps: tuple[int, int, int]  # 0 stands for the number of classes
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: str | None = None  # "max" or "avg": windows of 3, stride 2


IMAGENET = (
    Row((96, 96, 96), 11, 4, 0, "max"), Row((256, 256, 256), 5, 1, 2, "max"),
    Row((384, 384, 384), 3, 1, 1, "max"), Row((1024, 1024, 0), 3, 1, 1),
)  # fmt: skip
CIFAR = (
    Row((192, 160, 96), 5, 1, 2, "max"), Row((192, 192, 192), 5, 1, 2, "avg"), Row((192, 192, 0), 3, 1, 1),
)  # fmt: skip


class NiN(Network):
    """Blocks of three convolutions with ReLU; the maps of the last block, averaged, are the outputs. No dense layer.

    Args:
        rows: the blocks; of the last, one width or more is 0.
        all_dropout: dropout after each block but the last, not before the last alone.
    """

    ceil_mode = True  # the authors' framework rounds sizes up

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        *,
        rows: Sequence[Row] = IMAGENET,
        all_dropout: bool = False,
        dropout: float = 0.5,
        init: str = "he",
    ):
        super().__init__()
        self.init = init
        *body, self.last = (Row(*row) for row in rows)  # plain tuples will do
        layers: list[nn.Module] = []
        self.stages, stride = {}, 1
        for number, row in enumerate(body, start=1):
            layers.append(block(in_channels, row, row.maps))
            stride *= row.stride
            if row.pool is not None:
                layers.append(POOLS[row.pool](3, 2, ceil_mode=self.ceil_mode))
                stride *= 2
            self.stages[f"block{number}"] = Stage(f"features.{len(layers) - 1}", row.maps[-1], stride)
            if all_dropout or number == len(body):
                layers.append(nn.Dropout(dropout))
            in_channels = row.maps[-1]
        self.features = nn.Sequential(*layers)
        self.classifier = self._head(in_channels, num_classes)
        # as many outputs as classes: in a textbook's form all three convolutions of the last block
        self.output_layers = tuple(f"classifier.0.{2 * i}" for i in range(3) if self.last.maps[i] == 0)
        self.stages[f"block{len(rows)}"] = Stage("classifier.0", num_classes, stride * self.last.stride)
        self.initialize()

    def init_layer(self, name: str, layer: nn.Module) -> None:
        super().init_layer(name, layer)
        if name in self.output_layers:  # the outputs pass a ReLU: it starts open for every class
            nn.init.ones_(layer.bias)  # type: ignore[arg-type]

    def _head(self, before: int, num_classes: int) -> nn.Sequential:
        a, b, c = (width or num_classes for width in self.last.maps)
        return nn.Sequential(block(before, self.last, (a, b, c)), nn.AdaptiveAvgPool2d((1, 1)))

    def reset_classifier(self, num_classes: int) -> None:
        last = list(self.stages)[-1]
        self.stages[last] = self.stages[last]._replace(channels=num_classes)
        if len(self.output_layers) == 1:
            return super().reset_classifier(num_classes)
        old = self.get_submodule("classifier.0.0").weight  # the width runs through the block: all of it is replaced
        training = self.training
        self.classifier = self._head(old.shape[1], num_classes).to(old).train(training)  # type: ignore[arg-type]
        for path in self.output_layers:
            self.init_layer(path, self.get_submodule(path))
        return None

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


def block(before: int, row: Row, maps: tuple[int, int, int]) -> nn.Sequential:
    """Convolution, 1x1, 1x1, each with ReLU."""
    a, b, c = maps
    return nn.Sequential(
        nn.Conv2d(before, a, row.kernel, row.stride, row.padding), nn.ReLU(),
        nn.Conv2d(a, b, 1), nn.ReLU(), nn.Conv2d(b, c, 1), nn.ReLU(),
    )  # fmt: skip


PAPER = Paper("Lin, Chen, Yan", 2013, "Network in network")
HE = ("He initialization, output biases 1 (the paper gives none)",)


# 34,944 + 2 * 9,312; 614,656 + 2 * 65,792; 885,120 + 2 * 147,840; 3,539,968 + 1,049,600 + 1,025,000
@register(
    parameters=7_595_176, input=(3, 224, 224), paper=PAPER,
    differences=("the ImageNet network that the authors published with their code; the paper has none", *HE),
    errors={"imagenet top-1": 40.64},
)  # fmt: skip
def nin_imagenet(num_classes: int = 1000, in_channels: int = 3, **arguments: Any) -> NiN:
    """The network for ImageNet."""
    return NiN(num_classes, in_channels, **arguments)


# 14,592 + 30,880 + 15,456; 460,992 + 2 * 37,056; 331,968 + 37,056 + 1,930
@register(
    parameters=966_986, input=(3, 32, 32), paper=PAPER, differences=HE,
    errors={"cifar10 test": 10.41, "cifar10 test, augmented": 8.81},
)  # fmt: skip
def nin_cifar(
    num_classes: int = 10, in_channels: int = 3, *, rows: Sequence[Row] = CIFAR, all_dropout: bool = True,
    **arguments: Any,
) -> NiN:  # fmt: skip
    """The network for CIFAR."""
    return NiN(num_classes, in_channels, rows=rows, all_dropout=all_dropout, **arguments)
