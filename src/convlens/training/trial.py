"""A short training that leaves nothing behind, to compare settings on the validation images."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from convlens.runs import RunFolder
from convlens.training.clock import Clock
from convlens.training.engines import engine_of
from convlens.training.events import Listener
from convlens.training.experiment import Experiment
from convlens.training.loop import Trainer


def trial(experiment: Experiment, epochs: int, listeners: Sequence[Listener] = ()) -> Trainer:
    """Trains the experiment's module for so many epochs. Raises `DivergedError`."""
    with tempfile.TemporaryDirectory(prefix="convlens-") as name:
        folder = RunFolder(Path(name))
        clock = Clock(folder, experiment.record, started=time.perf_counter())
        trainer = Trainer(
            engine_of(experiment), recipe=experiment.plan.recipe, epochs=epochs, folder=folder, clock=clock,
            listeners=listeners, fits=experiment.plan.recipe.fits_for(len(experiment.splits.train)),
        )  # fmt: skip
        with clock.training():
            trainer.fit()
    return trainer
