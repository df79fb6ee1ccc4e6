"""A time budget: as many epochs as fit into it at the speed that this machine shows, and an end when time is up."""

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import torch

from convlens.base.words import duration
from convlens.runs import Stopped
from convlens.training.engines import engine_of, test_loader
from convlens.training.events import Listener
from convlens.training.experiment import Experiment
from convlens.training.torch_engine import TorchEngine

if TYPE_CHECKING:
    from convlens.training.loop import Trainer

REPORT_SECONDS = 4.0
"""What the report takes, with the look at layers and mistakes that goes into it."""
_MARGIN = 0.85  # of the time for training is planned: a machine is not as fast at every moment
_FITS_SECONDS = 15.0  # of an output layer, with a report's worth of room
_WORTH_A_LOOK = 30.0  # seconds: with less, the speed is not even measured
_MOST_FINE = 5  # epochs after the fits: features of another task need little to be changed
_FORWARD = 0.5  # what features take, as a share of a step: no more than this
_LOOK_SECONDS, _LOOK_STEPS = 1.5, 8  # how long the speed is measured, and how many steps at the most


@dataclasses.dataclass(frozen=True)
class Deadline:
    """seconds: of the whole budget. until: when it ends, as `time.perf_counter` tells it."""

    seconds: float
    until: float

    @property
    def left(self) -> float:
        return self.until - time.perf_counter()


@dataclasses.dataclass(frozen=True)
class Speed:
    """Seconds that were measured or follow: of an epoch's steps, of its validation, of the test set and the report."""

    steps: float
    validation: float
    ending: float

    @property
    def epoch(self) -> float:
        return self.steps + self.validation


def measured(experiment: Experiment, longest: float = _LOOK_SECONDS) -> Speed:
    """How fast this machine trains and judges the network, tried on a copy: the experiment is untouched, bit for bit.

    The steps are those of training, on its own images. longest: seconds that may go into trying, but for two steps.
    """
    trial = experiment.on_a_copy()
    engine = engine_of(trial)
    assert isinstance(engine, TorchEngine)
    times: list[float] = []
    began = before = time.perf_counter()
    for step, (x, y) in enumerate(engine.batches(0, 0)):
        float(engine.step(x, y, epoch=0, step=step, factor=0.0))
        now = time.perf_counter()
        times.append(now - before)
        before = now
        if len(times) >= _LOOK_STEPS or (now - began > longest and len(times) > 1):
            break
    rest = sorted(times[1:] or times)
    step = rest[len(rest) // 2]
    batch, pause = _judging(trial)
    splits = experiment.splits
    return Speed(
        step * engine.steps_per_epoch,
        pause * len(splits.val) / batch,
        pause * len(splits.test) / batch + REPORT_SECONDS,
    )


def _judging(trial: Experiment) -> tuple[int, float]:
    """Images of a batch in evaluation, and the seconds that it takes."""
    loader = test_loader(trial)
    module: Any = trial.module.eval()
    with torch.inference_mode():
        for x, _ in loader.epoch(0):
            few = x[: max(1, min(len(x), 64))]
            module(few[:1])  # the first call finds the kernels
            began = time.perf_counter()
            module(few)
            return len(few), time.perf_counter() - began
    return 1, 0.0


def within(experiment: Experiment, deadline: Deadline, *, begun: bool) -> tuple[Experiment, float]:
    """The experiment with the epochs that fit, and the seconds that judging and reporting will take.

    begun: the run goes on from a checkpoint: its epochs are settled, only the end counts.
    """
    if experiment.plan.engine == "numpy":
        return experiment, REPORT_SECONDS
    if experiment.plan.recipe.head == "features":
        return (experiment if begun else _second_stage(experiment, deadline)), REPORT_SECONDS
    speed = measured(experiment)
    recipe, images = experiment.plan.recipe, len(experiment.splits.train)
    if begun:
        return experiment, speed.ending
    wanted, room = recipe.epochs_for(images), max(0.0, deadline.left - speed.ending) * _MARGIN
    fitting = max(1, min(wanted, int(room / speed.epoch)))
    own = f"the recipe's {wanted} epochs fit" if fitting == wanted else f"{fitting} of the recipe's {wanted} epochs fit"
    experiment.notes.append(
        f"budget {duration(deadline.seconds)}: {own}, at {duration(speed.epoch, 1)} an epoch as measured, with "
        f"{duration(speed.ending)} for the test and the report"
    )
    if deadline.left < speed.ending + speed.validation:
        enough = duration(deadline.seconds - deadline.left + speed.ending + speed.epoch)
        experiment.notes.append(
            f"warning: budget {duration(deadline.seconds)} is less than the start, the test and the report take: it "
            f"will be exceeded; give at least {enough}"
        )
    return with_epochs(experiment, fitting), speed.ending


def _second_stage(experiment: Experiment, deadline: Deadline) -> Experiment:
    """As many epochs of training after the fits as there is time for, if nobody named a number."""
    recipe = experiment.plan.recipe
    if recipe.fine_tune != "auto":
        return experiment
    room = deadline.left - REPORT_SECONDS - _FITS_SECONDS
    epochs = 0
    if room > _WORTH_A_LOOK:
        speed = measured(experiment.with_recipe(head="fresh", ema=None, lookahead=None))
        features = (speed.steps + speed.validation + speed.ending - REPORT_SECONDS) * _FORWARD  # at most: some are kept
        epochs = max(0, min(_MOST_FINE, int((room - features) * _MARGIN / speed.epoch)))
    more = f"then {epochs} epochs for the rest, from the top down" if epochs else "there is no time for the rest"
    experiment.notes.append(f"budget {duration(deadline.seconds)}: the output layer first, {more}")
    return experiment.with_recipe(fine_tune=epochs)


def with_epochs(experiment: Experiment, epochs: int) -> Experiment:
    """The same experiment with so many epochs, in its plan and in its record."""
    changed = experiment.with_recipe(epochs=epochs)
    resolved = {**changed.record.resolved, "epochs": epochs}
    return dataclasses.replace(changed, record=changed.record.model_copy(update={"resolved": resolved}))


class TimeIsUp(Listener):
    """Ends a run where going on would leave no time for judging it; what is best so far is kept.

    deadline: of the whole. ending: seconds that are needed after training.
    """

    def __init__(self, deadline: Deadline, ending: float):
        self.deadline, self.ending = deadline, ending

    def step(self, run: "Trainer", images: int, loss: float | None) -> None:
        if run.step < run.engine.steps_per_epoch and self.deadline.left < self.ending:
            run.stopped = self._said(run, run.epoch + 1)

    def epoch(self, run: "Trainer", record: dict[str, Any]) -> None:
        if run.stopped is None and run.epoch < run.epochs and self.deadline.left < self.ending:
            run.stopped = self._said(run, run.epoch)

    def _said(self, run: "Trainer", epoch: int) -> Stopped:
        best = run.best["epoch"] if run.best else epoch
        return Stopped(reason="budget", epoch=epoch, planned=run.epochs, best_epoch=best, patience=0)
