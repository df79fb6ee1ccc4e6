"""The schedule that a recipe asks for, of those in `base.schedules`. `Plateau` alone remembers, and says what."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from convlens.base.errors import InputError, nearest
from convlens.base.schedules import constant, cosine, one_cycle, staircase, triangular


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


_NAMES = ("constant", "cosine", "one-cycle", "triangular", "step", "plateau")


def make_schedule(settings: ScheduleSettings, total_steps: int) -> Callable[[int], float]:
    """The factor on the peak learning rate at each step 0 .. total_steps - 1.

    "plateau" is constant after its warm-up; the `Plateau` factor comes on top. Raises `InputError` for an unknown name.
    """
    total, warmup = total_steps, round(settings.warmup * total_steps)
    match settings.name:
        case "constant" | "plateau":
            return lambda step: constant(step, total, warmup=warmup)
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
