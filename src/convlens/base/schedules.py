"""How the learning rate goes over a run: functions from the number of a step to a factor on the peak rate.

They keep no state, so a resumed run continues exactly. All reach their final value at `step == total`, one after
the last: the last step of a schedule that ends at zero still moves.
"""

import math
from collections.abc import Sequence

INITIAL = 1 / 25
"""Where one-cycle and triangular begin (Smith and Topin, "Super-convergence", 2018; the value is fastai's)."""


def warm(step: int, warmup: int) -> float:
    """Linear from 1 / (warmup + 1) at step 0 to 1 at step `warmup` (Goyal et al., 2017)."""
    return min(1.0, (step + 1) / (warmup + 1))


def constant(step: int, total: int, *, warmup: int = 0) -> float:
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
