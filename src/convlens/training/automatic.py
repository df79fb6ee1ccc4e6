"""`convlens train auto`: network, size and epochs from the images, the speed of this machine and the time there is.

Photographs take the features of a network that comes trained, at the largest size for which there is time. Small
pictures have a race: a few networks train for a short while each, and the one that validation likes best goes on.
"""

import time
from typing import Any, NamedTuple

import torch

from convlens import data, models
from convlens.base.errors import DivergedError
from convlens.base.memory import keep_freed_memory
from convlens.base.progress import say
from convlens.base.words import duration, percent
from convlens.models import pretrained
from convlens.runs import RunRecord
from convlens.training import transfer
from convlens.training.budget import REPORT_SECONDS, Deadline, TimeIsUp, measured, with_epochs
from convlens.training.experiment import Experiment, build
from convlens.training.request import Request
from convlens.training.resolve import find_source, resolve, use
from convlens.training.trial import trial

AUTO, DEFAULT_BUDGET = "auto", 300.0
BACKBONE = "efficientnet_lite0"
SIZES = (288, 256, 224, 192, 160, 128, 96)
_FEWEST = 2  # epochs of a race; with less time a network stays out of it
_PHOTOGRAPH = 64  # pixels: pictures with larger sides are photographs
_RACE = 0.3  # of the time that is left goes into the race
_FEATURES = 0.75  # of the time that is left may go into features; the rest is the fits, and for a slower moment
_DECODING = 0.004  # seconds for a photograph that was not decoded yet


class Candidate(NamedTuple):
    """A network and the recipe that it races with."""

    model: str
    recipe: str


CANDIDATES = (
    Candidate("lenet5", "default"),
    Candidate("sprint", "fast"),
    Candidate("sprint4", "fast"),
    Candidate("resnet20_cifar", "fast"),
)


class Raced(NamedTuple):
    """What became of a candidate: its best validation accuracy and loss, and the epochs that it did."""

    candidate: Candidate
    accuracy: float
    loss: float
    epochs: int


def settled(request: Request, stored: RunRecord | None, started: float) -> Request:
    """The request with the network that was chosen, if that was asked for; what was chosen and why is said.

    A run that goes on has chosen already.

    Raises:
        InputError: images that are not there or cannot be used.
    """
    if request.model != AUTO:
        return request
    options = request.options
    if stored is not None:
        return Request(None, request.data, **options)
    deadline = Deadline(options["budget"] or DEFAULT_BUDGET, started + (options["budget"] or DEFAULT_BUDGET))
    source = find_source(request)
    if _photographs(source) and pretrained.get(BACKBONE).path is not None:
        return _features(request, source, deadline)
    chosen = _race(request, source, deadline)
    given = {**options, "budget": deadline.seconds, "recipe": options["recipe"] or chosen.recipe}
    return Request(chosen.model, request.data, **given)


def _photographs(source: data.Source) -> bool:
    return source.native is None or (source.native[0] == 3 and min(source.native[1:]) > _PHOTOGRAPH)


# ---- photographs


def _features(request: Request, source: data.Source, deadline: Deadline) -> Request:
    """A new output layer on trained features, at the largest size for which there is time."""
    options, (count, passes) = request.options, _pictures(source)
    size = options["size"]
    if size is None:
        second = _seconds_a_picture(SIZES[0])
        room = _FEATURES * (deadline.left - REPORT_SECONDS) - _DECODING * count
        needed = {side: passes * second * (side / SIZES[0]) ** 2 for side in SIZES}
        size = next((side for side in SIZES if needed[side] <= room), SIZES[-1])
        say(
            f"auto: {count:,} photographs; features of {BACKBONE}, trained on ImageNet, at {size} pixels: about "
            f"{duration(needed[size])} of {duration(deadline.seconds)}, none where they are kept from an earlier run",
            quiet=options["quiet"],
        )
    given = {**options, "budget": deadline.seconds, "size": size, "from_": BACKBONE}
    return transfer.expanded(Request(None, request.data, **given))


def _pictures(source: data.Source) -> tuple[int, int]:
    """How many pictures there are, and how many go through the network: those of training mirrored, too."""
    listing: Any = getattr(source, "listing", None)
    raw: Any = getattr(source, "raw", None)
    parts = listing.parts if listing is not None else raw() if raw is not None else {}
    count = sum(map(len, parts.values()))
    return count, count + len(parts.get("train", ()))


def _seconds_a_picture(side: int) -> float:
    """Of the features of one picture, as measured. Fresh weights take as long as trained ones."""
    from convlens.training.features import BATCH

    keep_freed_memory()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        network = models.create(BACKBONE).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.zeros(BATCH, 3, side, side).to(memory_format=torch.channels_last)
        network(x)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - began)
        return sorted(times)[1] / BATCH


# ---- small pictures


def _race(request: Request, source: data.Source, deadline: Deadline) -> Candidate:
    """The candidate with the best validation accuracy after a short time, the same for each."""
    share = _RACE * (deadline.left - REPORT_SECONDS) / len(CANDIDATES)
    found: list[Raced] = []
    for candidate in CANDIDATES:
        raced = _tried(request, source, candidate, share)
        if raced is not None:
            found.append(raced)
            say(
                f"auto: {raced.candidate.model}, recipe {raced.candidate.recipe}: {percent(raced.accuracy)} of the "
                f"validation images after {raced.epochs} {'epoch' if raced.epochs == 1 else 'epochs'}",
                quiet=request.options["quiet"],
            )
    if not found:
        say(f"auto: {CANDIDATES[0].model}: there was no time for a race", quiet=request.options["quiet"])
        return CANDIDATES[0]
    best = max(found, key=lambda raced: (raced.accuracy, -raced.loss))
    say(
        f"auto: {best.candidate.model} goes on: the best of {len(found)} in a race of {duration(share)} each",
        quiet=request.options["quiet"],
    )
    return best.candidate


def _tried(request: Request, source: data.Source, candidate: Candidate, share: float) -> Raced | None:
    """Trains a candidate for so many seconds; None where it cannot take such pictures, or diverges."""
    options = {
        **request.options, "recipe": request.options["recipe"] or candidate.recipe, "quiet": True, "resume": False,
        "budget": None,
    }  # fmt: skip
    asked = Request(candidate.model, request.data, **options)
    notes: list[str] = []
    plan = resolve(asked, source, None, notes)
    use(plan, None, notes)
    experiment = build(plan, source=source, own_code=True)
    if not len(experiment.splits.val):
        return None
    return _trained(candidate, experiment, share)


def _trained(candidate: Candidate, experiment: Experiment, share: float) -> Raced | None:
    speed = measured(experiment, share / 4)
    deadline = Deadline(share, time.perf_counter() + share)
    wanted = experiment.plan.recipe.epochs_for(len(experiment.splits.train))
    epochs = min(wanted, int(max(0.0, deadline.left) / speed.epoch))
    if epochs < min(_FEWEST, wanted):  # a large network that has only begun would lose to any small one
        return None
    experiment = with_epochs(experiment, epochs)
    try:
        trainer = trial(experiment, epochs, [TimeIsUp(deadline, speed.validation)])
    except DivergedError:
        return None
    best = trainer.best
    return Raced(candidate, best["accuracy"], best["loss"], trainer.epoch) if best else None
