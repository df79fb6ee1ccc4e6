"""`class_weights = "auto"`: whether rare classes should weigh more is tried out, and validation decides."""

import time
from typing import Literal

from convlens.base.errors import DivergedError, InputError
from convlens.base.words import percent
from convlens.training.budget import Deadline, TimeIsUp
from convlens.training.experiment import Experiment
from convlens.training.trial import trial

_TENTH = 0.1
_SHARE = 4  # the trials last so many times shorter than the run
WAYS: tuple[Literal["none"], Literal["balanced"]] = ("none", "balanced")


def settled(experiment: Experiment, deadline: Deadline | None = None) -> Experiment:
    """The experiment with the weights of classes whose macro F1 on the validation images is higher; a note says so.

    Each way trains a copy for a quarter of the epochs, and within a deadline for a tenth of the time that is left; of
    equals all classes weigh the same.

    Raises `InputError` where there are no validation images to decide by.
    """
    if experiment.plan.recipe.class_weights != "auto":
        return experiment
    if not len(experiment.splits.val):
        raise InputError('class_weights = "auto" needs validation images: set val_fraction, or name one way')
    counts = experiment.splits.train.counts()
    seconds = None if deadline is None else max(0.0, deadline.left) * _TENTH
    found = {way: _tried(experiment.with_recipe(class_weights=way), seconds) for way in WAYS}
    best = max(WAYS, key=lambda way: found[way])  # the first of equals
    experiment = experiment.with_recipe(class_weights=best)
    said = ", ".join(f"{way} {percent(score)}" for way, score in found.items())
    experiment.notes.append(
        f"class_weights: {best}, by macro F1 on the validation images after a short training ({said}); the classes "
        f"have {counts.min():,} to {counts.max():,} images"
    )
    return experiment


def _tried(experiment: Experiment, seconds: float | None) -> float:
    """Macro F1 on the validation images after a short training of a copy; below any where it diverges."""
    epochs = experiment.plan.recipe.epochs_for(len(experiment.splits.train))
    ends = [] if seconds is None else [TimeIsUp(Deadline(seconds, time.perf_counter() + seconds), 0.0)]
    try:
        judged = trial(experiment.on_a_copy(), max(1, epochs // _SHARE), ends).engine.validate()
    except DivergedError:
        return -1.0
    return -1.0 if judged is None else judged.macro_f1
