"""A network of the zoo behind a frozen layer that whitens patches."""

from typing import Any

from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.nn import WhiteningConv2d


class Whitened(Network):
    """`whitening` and then `network`, with the features, classifier, output layers and stages of that network."""

    def __init__(self, whitening: WhiteningConv2d, network: Network):
        super().__init__()
        self.whitening, self.network = whitening, network
        self.init = network.init
        self.output_layers = tuple(f"network.{path}" for path in network.output_layers)
        self.stages = self._stages()

    @property
    def classifier(self) -> Any:
        return self.network.classifier

    def features(self, x: Tensor) -> Tensor:
        return self.network.features(self.whitening(x))

    def forward(self, x: Tensor) -> Any:
        return self.network(self.whitening(x))

    def _stages(self) -> dict[str, Stage]:
        own = {"whitening": Stage("whitening", self.whitening.out_channels, 1)}
        behind = {n: stage._replace(path=f"network.{stage.path}") for n, stage in self.network.stages.items()}
        return own | behind

    def reset_classifier(self, num_classes: int) -> None:
        self.network.reset_classifier(num_classes)
        self.stages = self._stages()

    def init_layer(self, name: str, layer: nn.Module) -> None:
        if layer is self.whitening:
            self.whitening.reset_parameters()
        else:
            self.network.init_layer(name.removeprefix("network."), layer)
