"""What the layers do in training: figures by layer in some epochs, and a line where something is wrong."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from convlens.training.diagnosis import diagnose
from convlens.training.events import Listener
from convlens.training.plan import LIVE

if TYPE_CHECKING:
    from convlens.training.experiment import Experiment
    from convlens.training.loop import Trainer

SAMPLE = 64
EVERY = 25_600
"""Images trained on from one look to the next: a look takes as long as about 256 of them."""


class Layers(Listener):
    """Adds `layers` to the records of some epochs: the last one, and one whenever 25,600 more images were trained on.

    By layer: `update`, how far the epoch's last step moved its weights, as a share of their norm; and what
    `inspection.within.look` shows on 64 training images, without augmentation. A network that is an object of the
    caller's is not looked at so: its hooks would count the pass. Which epochs are looked at, and what is seen, follow
    from recipe and seed alone.
    """

    def __init__(self, experiment: "Experiment", on_note: Callable[[str], None]):
        plan, val = experiment.plan, experiment.splits.val
        self.own = plan.engine != "numpy" and plan.source != LIVE and plan.recipe.head == "fresh"
        self.train, self.preprocess = experiment.splits.train, experiment.preprocess
        self.images, self.classes, self.lr = len(self.train), len(self.train.classes), plan.recipe.optimizer.lr
        self.chance = (int(val.counts().max()) / len(val), len(val)) if len(val) else (0.0, 0)
        self.device, self.on_note = plan.numeric.device, on_note
        self.before: dict[str, np.ndarray] = {}
        self.said: set[str] = set()

    def start(self, run: "Trainer") -> None:
        self._keep(run)

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        if self.before:
            run.moved, self.before = self._moved(run), {}
        self._keep(run)

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        if self._is_looked_at(run, run.epoch):
            record["layers"] = self._seen(run)
            found = diagnose(
                record, images=run.epoch * self.images, classes=self.classes, chance=self.chance, lr=self.lr
            )
            for note in found:
                if (fault := note.split(":")[0]) not in self.said:
                    self.said.add(fault)
                    self.on_note(note)
        run.moved = {}
        self._keep(run)

    def _is_looked_at(self, run: "Trainer", epoch: int) -> bool:
        """epoch: counted from 1."""
        return epoch == run.epochs or epoch * self.images // EVERY > (epoch - 1) * self.images // EVERY

    def _keep(self, run: "Trainer") -> None:
        """The weights before the last step of an epoch that is looked at."""
        if run.step == run.engine.steps_per_epoch - 1 and self._is_looked_at(run, run.epoch + 1):
            self.before = {name: np.array(values) for name, values in run.engine.parameters() if values.ndim >= 2}

    def _moved(self, run: "Trainer") -> dict[str, float]:
        """By module path how far its weights are from those kept, as a share of their norm; finite shares alone."""
        found: dict[str, float] = {}
        for name, values in run.engine.parameters():
            if name in self.before:
                now = values.astype(np.float64)  # a network that diverges has numbers whose squares float32 cannot hold
                size, moved = float(np.linalg.norm(now)), float(np.linalg.norm(now - self.before[name]))
                found[name.rpartition(".")[0]] = moved / size if size else 0.0
        return {path: share for path, share in found.items() if math.isfinite(share)}

    def _seen(self, run: "Trainer") -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        if self.own:
            from convlens.inspection.within import look

            x, y = (torch.from_numpy(array).to(self.device) for array in self._sample)
            found = look(run.engine.module, x, y, self.classes)  # type: ignore[attr-defined]
        for path, share in run.moved.items():
            found.setdefault(path, {})["update"] = share
        return {p: {k: v for k, v in figures.items() if math.isfinite(v)} for p, figures in found.items()}

    @cached_property
    def _sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Images float32 [n, C, H, W] and labels int64 [n], spread over the training set."""
        some = self.train.select(np.linspace(0, self.images - 1, min(SAMPLE, self.images)).astype(int))
        return self.preprocess.normalize(np.asarray(some.pixels)), some.labels
