"""A network on planes that are no image: the position of a board game, and a move as the class.

For Go after AlphaGo Zero: 19x19 points, 8 planes with the player's stones now and in the seven positions before,
8 with the opponent's, one with the color to move. The classes are the 361 points and passing.
"""

from collections import OrderedDict
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from convlens.models.network import Network, Stage
from convlens.models.registry import Paper, register


class Block(nn.Module):
    """Two 3x3 convolutions with norm, and a shortcut."""

    def __init__(self, maps: int):
        super().__init__()
        self.conv1 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + x)


class BoardNet(Network):
    """A 3x3 convolution, residual blocks without any pooling, and the policy head: two maps and a dense layer."""

    init = "he"
    output_layers = ("classifier.output",)

    def __init__(
        self,
        num_classes: int = 362,
        in_channels: int = 17,
        image_size: tuple[int, int] = (19, 19),
        *,
        maps: int = 256,
        blocks: int = 19,
    ):
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(in_channels, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU())
        self.features = nn.Sequential(stem, *(Block(maps) for _ in range(blocks)))
        self.classifier = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(maps, 2, 1, bias=False),
                bn=nn.BatchNorm2d(2),
                relu=nn.ReLU(),
                flatten=nn.Flatten(),
                output=nn.Linear(2 * image_size[0] * image_size[1], num_classes),
            )
        )
        names = ("stem", *(f"block{i}" for i in range(1, blocks + 1)))
        self.stages = {name: Stage(f"features.{i}", maps, 1) for i, name in enumerate(names)}
        self.initialize()


PAPER = Paper("Silver et al.", 2017, "Mastering the game of Go without human knowledge")
NO_VALUE = ("no value head",)


# with m maps and b blocks: 9 * 17 m + 2m; b (18 m^2 + 4m); 2m + 4; 722 * 362 + 362
@register(
    parameters=493_730, input=(17, 19, 19), paper=PAPER,
    differences=("3 blocks of 64 maps instead of 19 blocks of 256", *NO_VALUE),
)  # fmt: skip
def go_policy_small(
    num_classes: int = 362, in_channels: int = 17, *, maps: int = 64, blocks: int = 3, **arguments: Any
) -> BoardNet:
    """The policy network in a size that trains on a processor."""
    return BoardNet(num_classes, in_channels, maps=maps, blocks=blocks, **arguments)


@register(parameters=22_734_690, input=(17, 19, 19), paper=PAPER, differences=NO_VALUE)
def go_policy(num_classes: int = 362, in_channels: int = 17, **arguments: Any) -> BoardNet:
    """The policy network: 19 blocks of 256 maps."""
    return BoardNet(num_classes, in_channels, **arguments)
