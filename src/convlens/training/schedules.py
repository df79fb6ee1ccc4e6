"""How the learning rate goes over a run: functions from the number of a step to a factor on the peak rate.

They keep no state, so a resumed run continues exactly. All reach their final value at `step == total`, one after
the last: the last step of a schedule that ends at zero still moves. `Plateau` alone remembers, and says what.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from convlens.base.errors import InputError, nearest

INITIAL = 1 / 25
"""Where one-cycle and triangular begin (Smith and Topin, "Super-convergence", 2018; the value is fastai's)."""


class ScheduleSettings(Protocol):
    """The part of a recipe that `make_schedule` reads. `warmup` and `milestones` are fractions of the run."""

    @property
    def name(self) -> str: ...
    @property
    def warmup(self) -> float: ...
    @property
    def final(self) -> float: ...
    @property
    def milestones(self) -> Sequence[float]: ...
    @property
    def gamma(self) -> float: ...


def warm(step: int, warmup: int) -> float:
    """Linear from 1 / (warmup + 1) at step 0 to 1 at step `warmup` (Goyal et al., 2017)."""
    return min(1.0, (step + 1) / (warmup + 1))


def constant(step: int, *, warmup: int = 0) -> float:
    """1 after the warm-up."""
    return warm(step, warmup)


def cosine(step: int, total: int, *, warmup: int = 0, final: float = 0.0) -> float:
    """Half a cosine from 1 to `final` after the warm-up (Loshchilov and Hutter, "SGDR", 2017)."""
    if step < warmup:
        return warm(step, warmup)
    return _ease(1.0, final, _part(step - warmup, total - warmup))


def one_cycle(step: int, total: int, *, warmup: int, initial: float = INITIAL, final: float = 0.0) -> float:
    """Half a cosine up from `initial` to 1 at step `warmup`, half a cosine down to `final` (Smith, 2018)."""
    if step < warmup:
        return _ease(initial, 1.0, _part(step, warmup))
    return _ease(1.0, final, _part(step - warmup, total - warmup))


def triangular(step: int, total: int, *, warmup: int, initial: float = INITIAL, final: float = 0.0) -> float:
    """A straight line up from `initial` to 1 at step `warmup`, a straight line down to `final`."""
    if step < warmup:
        return _line(initial, 1.0, _part(step, warmup))
    return _line(1.0, final, _part(step - warmup, total - warmup))


def staircase(step: int, milestones: Sequence[int], gamma: float, *, warmup: int = 0) -> float:
    """`gamma` to the power of the milestones (step numbers) passed, after the warm-up."""
    return warm(step, warmup) * gamma ** sum(step >= milestone for milestone in milestones)


def _part(step: int, length: int) -> float:
    """How much of the way is behind: 0 .. 1."""
    return min(1.0, step / length) if length > 0 else 1.0


def _ease(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _line(start: float, end: float, part: float) -> float:
    return start + (end - start) * part


_NAMES = ("constant", "cosine", "one-cycle", "triangular", "step", "plateau")


def make_schedule(settings: ScheduleSettings, total_steps: int) -> Callable[[int], float]:
    """The factor on the peak learning rate at each step 0 .. total_steps - 1.

    "plateau" is constant after its warm-up; the `Plateau` factor comes on top. Raises `InputError` for an unknown name.
    """
    total, warmup = total_steps, round(settings.warmup * total_steps)
    match settings.name:
        case "constant" | "plateau":
            return lambda step: constant(step, warmup=warmup)
        case "cosine":
            return lambda step: cosine(step, total, warmup=warmup, final=settings.final)
        case "one-cycle":
            return lambda step: one_cycle(step, total, warmup=warmup, final=settings.final)
        case "triangular":
            return lambda step: triangular(step, total, warmup=warmup, final=settings.final)
        case "step":
            milestones = [round(fraction * total) for fraction in settings.milestones]
            return lambda step: staircase(step, milestones, settings.gamma, warmup=warmup)
    hint = nearest(settings.name, _NAMES)
    raise InputError(f"unknown schedule {settings.name!r}{hint}; choose one of {', '.join(_NAMES)}")


@dataclass
class Plateau:
    """Lowers the learning rate when a loss has stopped falling.

    gamma: what the factor is multiplied by.
    patience: so many epochs without a better loss are tolerated; the next one lowers the factor.
    threshold: better means below best * (1 - threshold).
    """

    gamma: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    factor: float = 1.0
    best: float | None = None
    waited: int = 0

    def observe(self, loss: float) -> None:
        """Takes the loss of one epoch (positive). A loss that is not a number counts as no better."""
        if self.best is None or loss < self.best * (1 - self.threshold):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.patience:
            self.factor, self.waited = self.factor * self.gamma, 0

    def state_dict(self) -> dict[str, Any]:
        """What must survive a resume, as JSON."""
        return {name: value for name, value in asdict(self).items() if name in ("factor", "best", "waited")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.factor, self.best, self.waited = state["factor"], state["best"], state["waited"]
