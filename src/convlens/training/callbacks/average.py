"""Averages of the weights, moved on after each update."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from convlens.training.averaging import ExponentialMovingAverage, Lookahead
from convlens.training.events import Listener


class Averages(Listener):
    """Updates averages by the network after each step, in order: what feeds back into the weights comes first."""

    def __init__(self, module: nn.Module, averages: Sequence[ExponentialMovingAverage | Lookahead]):
        self.module, self.averages = module, averages

    def step(self, run: Any, images: int, loss: float | None) -> None:
        for average in self.averages:
            average.update(self.module)
