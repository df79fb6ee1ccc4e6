"""A learning rate for a network and its images, found on a copy: the rate rises from step to step until the loss does.

The range test of Smith (2017, "Cyclical learning rates for training neural networks"); what is taken is a tenth of
the rate with the lowest smoothed loss, as its users came to do.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from convlens.base.errors import InputError
from convlens.classify.caller import undisturbed
from convlens.training.engines import engine_of
from convlens.training.experiment import Experiment
from convlens.training.torch_engine import TorchEngine

STEPS, LOWEST, HIGHEST = 80, 1e-3, 1e2
"""How many steps, and the first and the last rate as multiples of the recipe's own."""
_SMOOTH, _LOST = 0.9, 4.0  # of the mean of losses; a loss so many times the least one ends the search


class Found(NamedTuple):
    """rates, losses: of each step, the latter smoothed. rate: the one to take."""

    rates: list[float]
    losses: list[float]
    rate: float


def find(experiment: Experiment) -> Found:
    """Tries rates on a copy of the network; the experiment is untouched, bit for bit.

    Raises `InputError` where no rate lowers the loss, or for an engine that fits an output layer without steps.
    """
    with undisturbed():
        return _find(experiment)


def _find(experiment: Experiment) -> Found:
    engine = engine_of(experiment.on_a_copy())
    if not isinstance(engine, TorchEngine):
        raise InputError("a learning rate is found for --engine torch, and for a network that is trained by steps")
    base, rates, losses, mean = experiment.plan.recipe.optimizer.lr, [], [], 0.0
    for step, (x, y) in enumerate(itertools.islice(_batches(engine), STEPS)):
        factor = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        loss = float(engine.step(x, y, epoch=0, step=step, factor=factor))
        if not math.isfinite(loss):
            break
        mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
        smoothed = mean / (1 - _SMOOTH ** (step + 1))
        if losses and smoothed > _LOST * min(losses):
            break
        rates.append(base * factor)
        losses.append(smoothed)
    return Found(rates, losses, chosen(rates, losses))


def chosen(rates: list[float], losses: list[float]) -> float:
    """A tenth of the rate with the lowest loss, to two digits. Raises `InputError` where the loss never fell."""
    if not losses or min(losses) >= losses[0]:
        raise InputError("no learning rate lowers the loss: look at the labels and at the scale of the images")
    return float(f"{rates[losses.index(min(losses))] / 10:.2g}")


def _batches(engine: TorchEngine) -> Iterator[tuple[Any, Any]]:
    for epoch in itertools.count():
        yield from engine.batches(epoch, 0)


def settled(experiment: Experiment) -> Experiment:
    """The experiment with the rate that was found in its plan and its record; a note says so."""
    found = find(experiment)
    optimizer = experiment.plan.recipe.optimizer.model_copy(update={"lr": found.rate})
    experiment.notes.append(
        f"learning rate {found.rate:g}, a tenth of the one with the lowest loss in {len(found.rates)} steps of rising "
        f"rates ({found.rates[0]:.2g} to {found.rates[-1]:.2g})"
    )
    return experiment.with_recipe(optimizer=optimizer)
