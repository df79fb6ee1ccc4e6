"""A network of the zoo behind a frozen layer that whitens patches."""

from typing import Any

from torch import Tensor, nn

from convlens.models.network import Network
from convlens.nn import WhiteningConv2d


class Whitened(Network):
    """`whitening` and then `network`, with the features, classifier, output layers and stages of that network."""

    def __init__(self, whitening: WhiteningConv2d, network: Network):
        super().__init__()
        self.whitening, self.network = whitening, network
        self.init = network.init
        self.output_layers = tuple(f"network.{path}" for path in network.output_layers)
        self.stages = {"whitening": "whitening"} | {name: f"network.{path}" for name, path in network.stages.items()}

    @property
    def classifier(self) -> Any:
        return self.network.classifier

    def features(self, x: Tensor) -> Tensor:
        return self.network.features(self.whitening(x))

    def forward(self, x: Tensor) -> Any:
        return self.network(self.whitening(x))

    def init_layer(self, name: str, layer: nn.Module) -> None:
        if layer is self.whitening:
            self.whitening.reset_parameters()
        else:
            self.network.init_layer(name.removeprefix("network."), layer)
