"""Network in Network: each convolution is followed by two 1x1 convolutions, a small network at every position."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from convlens.models.choices import Choices
from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class Row(NamedTuple):
    """One block: the convolution, the widths of its two 1x1 convolutions, and the pooling after it."""

    maps: tuple[int, int, int]  # 0 stands for the number of classes
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: type[nn.Module] | None = None


FORMS = Choices(
    "form",
    {
        "imagenet": (
            Row((96, 96, 96), 11, 4, 0, nn.MaxPool2d),
            Row((256, 256, 256), 5, 1, 2, nn.MaxPool2d),
            Row((384, 384, 384), 3, 1, 1, nn.MaxPool2d),
            Row((1024, 1024, 0), 3, 1, 1),
        ),
        "cifar": (
            Row((192, 160, 96), 5, 1, 2, nn.MaxPool2d),
            Row((192, 192, 192), 5, 1, 2, nn.AvgPool2d),
            Row((192, 192, 0), 3, 1, 1),
        ),
        "text": (
            Row((96, 96, 96), 11, 4, 0, nn.MaxPool2d),
            Row((256, 256, 256), 5, 1, 2, nn.MaxPool2d),
            Row((384, 384, 384), 3, 1, 1, nn.MaxPool2d),
            Row((0, 0, 0), 3, 1, 1),
        ),
    },
)


class NiN(Network):
    """Blocks of three convolutions with ReLU; the maps of the last block, averaged, are the outputs. No dense layer."""

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        image_size: tuple[int, int] = (224, 224),
        *,
        form: str = "imagenet",
        dropout: float = 0.5,
        init: str = "he",
    ):
        super().__init__()
        self.init = init
        rows = FORMS[form]
        layers: list[nn.Module] = []
        self.stages, stride = {}, 1
        for number, row in enumerate(rows[:-1], start=1):
            layers.append(block(in_channels, row, row.maps))
            stride *= row.stride
            if row.pool is not None:
                # textbook: sizes rounded down; the authors' framework rounds up
                layers.append(row.pool(3, 2, ceil_mode=form != "text"))
                stride *= 2
            self.stages[f"block{number}"] = Stage(f"features.{len(layers) - 1}", row.maps[-1], stride)
            if form == "cifar" or number == len(rows) - 1:
                layers.append(nn.Dropout(dropout))
            in_channels = row.maps[-1]
        self.features = nn.Sequential(*layers)
        self.last = rows[-1]
        self.classifier = self._head(in_channels, num_classes)
        # as many outputs as classes: in the textbook's form all three convolutions of the last block
        self.output_layers = tuple(f"classifier.0.{2 * i}" for i in range(3) if self.last.maps[i] == 0)
        self.stages[f"block{len(rows)}"] = Stage("classifier.0", num_classes, stride)
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
register(
    NiN, "nin_imagenet", parameters=7_595_176, input=(3, 224, 224), num_classes=1000, paper=PAPER,
    differences=("the ImageNet network that the authors published with their code; the paper has none", *HE),
    errors={"imagenet top-1": 40.64},
)  # fmt: skip
# 14,592 + 30,880 + 15,456; 460,992 + 2 * 37,056; 331,968 + 37,056 + 1,930
register(
    NiN, "nin_cifar", parameters=966_986, input=(3, 32, 32), num_classes=10, paper=PAPER, differences=HE,
    errors={"cifar10 test": 10.41, "cifar10 test, augmented": 8.81}, form="cifar",
)  # fmt: skip
register(
    NiN, "nin", parameters=1_992_166, input=(1, 224, 224), num_classes=10, paper=PAPER,
    differences=("one channel", "10 maps in all three convolutions of the last block",
                 "Glorot initialization, output biases 1"),
    form="text", init="glorot",
)  # fmt: skip
