"""Which form wins, and why, in words that follow from the figures."""

from convlens.deploy.agreement import LIMIT
from convlens.deploy.bench.forms import EAGER, INT8, ONNX
from convlens.deploy.bench.measure import Bench, Measured

_CLOSE = 1.05  # times as fast: below, two forms are equally fast


def best(bench: Bench, size: int = 1) -> Measured:
    """The fastest form for batches of a size, of those that lose at most 0.3 points of PyTorch's accuracy."""
    able = [form for form in bench.forms if form.rate is not None and not too_wrong(bench, form)]
    return max(able, key=lambda form: (form.rate or {})[size])


def too_wrong(bench: Bench, form: Measured) -> bool:
    """Whether a form loses too much accuracy to be recommended."""
    return (bench[EAGER].accuracy or 0) - (form.accuracy or 0) > LIMIT


def times(bench: Bench, form: Measured, size: int) -> float:
    """How many times as fast as PyTorch as it is."""
    return (form.rate or {})[size] / (bench[EAGER].rate or {})[size]


def sentence(bench: Bench) -> str:
    """Which form wins here, and why."""
    one, many = best(bench, 1), best(bench, 64)
    said = f"One image: {_wins(bench, one, 1)}. Batches of 64: {_wins(bench, many, 64)}."
    wrong = [form.name for form in bench.forms if form.rate is not None and too_wrong(bench, form)]
    left = (
        f" Not counted, for more than {LIMIT * 100:g} points of accuracy are lost: {', '.join(wrong)}." if wrong else ""
    )
    return f"{said} {_why(bench, one)}{left}"


def _wins(bench: Bench, form: Measured, size: int) -> str:
    if form.name == EAGER:
        return "PyTorch as it is"
    ratio = times(bench, form, size)
    return f"{form.name}, {ratio:.1f} times as fast as PyTorch" if ratio >= _CLOSE else f"{form.name}, by a hair"


def _why(bench: Bench, form: Measured) -> str:
    if form.name == EAGER:
        return "No other form is faster on this processor."
    rate = bench[EAGER].rate or {}
    overhead = rate[64] / rate[1]
    if form.name == INT8 and bench[ONNX].rate is not None:
        gain = (form.rate or {})[1] / (bench[ONNX].rate or {})[1]
        return f"In the same runtime, 8 bits are {gain:.1f} times as fast as float32."
    if overhead >= 2:
        return (
            f"In PyTorch, a single image takes {overhead:.1f} times as long as one in a batch of 64, so much of its "
            "time is no arithmetic."
        )
    return "PyTorch gains little from batches, so it is the arithmetic itself that is faster, not the calls."
