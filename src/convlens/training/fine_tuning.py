"""Transfer in two stages: an output layer is fitted on features, then the rest of the network is trained as well.

The second stage opens the network from its output down, a share more in each epoch, with rates that fall from part to
part (Howard and Ruder 2018). What validation likes best is kept, of whichever stage.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from convlens.classify.evaluation import Evaluation
from convlens.data import Images
from convlens.nn import private
from convlens.training import groups
from convlens.training.head_engine import HeadEngine
from convlens.training.torch_engine import TorchEngine

FEW = 10_000
"""Training images; with fewer, batch norms keep the statistics that they came with."""


class FineTuningEngine(TorchEngine):
    """Trains the parts of a network from the output down. See `loop.Engine`.

    first, last: the epochs of the second stage, first <= epoch < last.
    """

    def __init__(self, *given: Any, first: int, last: int, **named: Any):
        super().__init__(*given, **named)
        self.first, self.last = first, last

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        found = super().batches(epoch, start)
        known = [part for _, part in groups.parts(self.module)]
        share = (epoch - self.first + 1) / max(1, self.last - self.first)
        closed = known[: len(known) - math.ceil(len(known) * share)]
        self.open_all()
        for part in closed:
            part.requires_grad_(False)
            part.eval()
        if len(self.train_loader.images) < FEW:
            for part in self.module.modules():
                if isinstance(part, private.BatchOrInstanceNorm):
                    part.eval()
        return found

    def open_all(self) -> None:
        """Gradients for all that the optimizer holds."""
        for parameter in self.stepper.trained():
            parameter.requires_grad_(True)


class TransferEngine:
    """Both stages as one engine: the epochs below `fits` are the head's. See `loop.Engine`."""

    def __init__(self, head: HeadEngine, fine: FineTuningEngine, fits: int):
        self.head, self.fine, self.fits = head, fine, fits
        self.module: nn.Module = fine.module
        self.steps_per_epoch, self.loss_is_at_hand = fine.steps_per_epoch, fine.loss_is_at_hand
        self._now: HeadEngine | FineTuningEngine = head
        self._best_loss: float | None = None  # of validation, over the fits
        self._best: list[np.ndarray] = []  # weight and bias of that fit

    def batches(self, epoch: int, start: int) -> Iterator[tuple[Any, Any]]:
        if epoch == self.fits and start == 0:
            self._take_best()
        self._now = self.head if epoch < self.fits else self.fine
        return self._now.batches(epoch, start)

    def step(self, x: Any, y: Any, *, epoch: int, step: int, factor: float) -> Any:
        return self._now.step(x, y, epoch=epoch, step=step, factor=factor)

    def totals(self) -> dict[str, float]:
        return self._now.totals()

    def reset_totals(self) -> None:
        self._now.reset_totals()

    def validate(self) -> Evaluation | None:
        found = self._now.validate()
        if found is not None and self._now is self.head and found.loss < (self._best_loss or math.inf):
            self._best_loss, self._best = found.loss, [array.copy() for _, array in self.head.parameters()]
        return found

    def evaluate(self, images: Images) -> Evaluation:
        """Judges the weights that were loaded; see `HeadEngine.evaluate`."""
        return self.head.evaluate(images)

    def weights(self) -> dict[str, np.ndarray]:
        return self._now.weights()

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        return self._now.parameters()

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        arrays, plain = self._now.state()
        arrays = arrays | {f"best.{number}": array for number, array in enumerate(self._best)}
        return arrays, plain | {"stage": 2 if self._now is self.fine else 1, "best_loss": self._best_loss}

    def load_state(self, arrays: dict[str, np.ndarray], plain: dict[str, Any]) -> None:
        self._best_loss = None if plain["best_loss"] is None else float(plain["best_loss"])
        self._best = [arrays[name] for name in ("best.0", "best.1") if name in arrays]
        self._now = self.fine if plain["stage"] == 2 else self.head
        rest = {name: value for name, value in plain.items() if name not in ("stage", "best_loss")}
        self._now.load_state({name: a for name, a in arrays.items() if not name.startswith("best.")}, rest)

    def load_weights(self, arrays: dict[str, np.ndarray]) -> None:
        self.fine.open_all()
        self.head.load_weights(arrays)

    def _take_best(self) -> None:
        """The output layer that validation liked best is where the second stage begins."""
        with torch.no_grad():
            for (_, parameter), array in zip(self.head.layer.named_parameters(), self._best, strict=False):
                parameter.copy_(torch.from_numpy(array))
