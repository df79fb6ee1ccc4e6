"""Two inputs of equal and of unequal scale: contours of the loss, the path of gradient descent, its steps."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from convlens.base.seeds import generator
from convlens.inspection import style
from convlens.studies.drawing import lines, panel
from convlens.studies.findings import Findings
from convlens.studies.registry import register

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
SAMPLES = 200
NEAR = 1e-6  # of the first excess over the least loss
MOST = 2_000_000  # steps


@dataclass(frozen=True)
class Descent:
    """path: weights on the way, [n, 2]. excess: loss over the least loss, after each step. steps: until it is near.
    condition: the largest curvature of the loss over the least."""

    path: Array
    excess: Array
    steps: int
    condition: float


@register(
    "scaling",
    title="Inputs of unequal scale make descent slow",
    texts=("book 10.8", "handbook BatchNorm"),
    claims={
        "steps": "With inputs of unequal scale, gradient descent takes at least 20 times as many steps to the "
        "optimum as with the same inputs normalised.",
        "equal": "With inputs of equal scale it takes fewer steps than with inputs of unequal scale.",
        "gradient": "The gradient of a weight grows with its input: of an input 100 times as large it is about "
        "100 times as large.",
    },
    measures="steps of gradient descent, each time at the best constant rate, until a millionth of the first excess "
    "over the least squared error is left",
)
def scaling(findings: Findings) -> None:
    """A linear model y = w1 x1 + w2 x2 learns from the mean squared error. (With the model itself as the loss, as the
    book prints it, there would be no least value.) The slope along each weight contains its input, so an input in
    hundreds makes a valley that is steep across and flat along. One learning rate has to serve both.
    """
    rng = generator(findings.seed, "study", "scaling")
    x = rng.uniform(1, 10, (SAMPLES, 2))
    y = x @ [2.0, 3.0] + rng.normal(0, 0.5, SAMPLES)
    far = x * [1, 100]  # the same numbers, x2 in another unit
    cases = {
        "equal scale": (x, y),
        "unequal scale": (far, y),
        "unequal, normalised": ((far - far.mean(axis=0)) / far.std(axis=0), y - y.mean()),
    }
    findings.set(samples=SAMPLES, x1="1 to 10", x2="1 to 10, or 100 to 1,000 (the same data in another unit)",
                 rate="2 / (largest + least curvature), the best that is constant", start="both weights 0",
                 normalised="mean 0 and deviation 1 of each input; mean 0 of y")  # fmt: skip
    found = {}
    for name, (inputs, targets) in findings.steps("descents", cases.items()):
        found[name] = descend(inputs, targets)
    findings.table(
        "Descents", ["inputs", "steps", "condition number", "|dL/dw1| at the start", "|dL/dw2| at the start"],
        [[name, found[name].steps, found[name].condition, *np.abs(gradient(inputs, targets, np.zeros(2)))]
         for name, (inputs, targets) in cases.items()],
        "Condition number: the largest curvature of the loss over the least; 1 means circles.",
    )  # fmt: skip
    findings.picture("paths", draw(cases, found), "Contours of the loss, and the path of descent from (0, 0) to the "
                     "star. Both weights are drawn to the same scale.")  # fmt: skip
    chart = lines(range(1, 1 + max(len(d.excess) for d in found.values())),
                  {name: d.excess / d.excess[0] for name, d in found.items()},
                  x="step + 1", y="share of the first excess", log="xy", dots=False)  # fmt: skip
    findings.picture("excess", chart, "Loss over its least value.")
    equal, unequal, normalised = (found[name].steps for name in cases)
    findings.judge("steps", unequal >= 20 * normalised, f"{unequal:,} steps against {normalised:,}")
    findings.judge("equal", equal < unequal, f"{equal:,} steps against {unequal:,}")
    first, second = np.abs(gradient(far, y, np.zeros(2)))
    findings.judge("gradient", bool(50 <= second / first <= 200), f"{second / first:.0f} times")


def gradient(x: Array, y: Array, w: Array) -> Array:
    """Of the mean squared error with respect to the weights."""
    return 2 / len(y) * x.T @ (x @ w - y)


def loss(x: Array, y: Array, w: Array) -> float:
    """The mean squared error."""
    return float(np.mean((x @ w - y) ** 2))


def descend(x: Array, y: Array) -> Descent:
    """Gradient descent from 0, until it is near or out of patience."""
    curvatures = np.linalg.eigvalsh(2 / len(y) * x.T @ x)
    rate = 2 / curvatures.sum()
    best = np.linalg.lstsq(x, y, rcond=None)[0]
    least, w = loss(x, y, best), np.zeros(2)
    h, c = 2 / len(y) * x.T @ x, 2 / len(y) * x.T @ y  # the gradient is h w - c
    path, excess, step = [w], [loss(x, y, w) - least], 0
    while excess[-1] > NEAR * excess[0] and step < MOST:
        w = w - rate * (h @ w - c)
        step += 1
        path.append(w)
        excess.append(float((w - best) @ h @ (w - best)) / 2)
    shown = np.unique(np.geomspace(1, len(path), 300).astype(int)) - 1  # all of the first steps, few of the last
    return Descent(np.array(path)[shown], np.array(excess), step, float(curvatures[1] / curvatures[0]))


def draw(cases: dict[str, tuple[Array, Array]], found: dict[str, Descent]) -> "Figure":
    with style.styled():
        figure, axes = style.sheet(1, 3, cell=3.1, width=2.9)
        for one, (name, (x, y)) in zip(axes[0], cases.items(), strict=True):
            best = np.linalg.lstsq(x, y, rcond=None)[0]
            reach = 1.25 * max(np.abs(found[name].path).max(), np.abs(best).max())
            side = np.linspace(-0.25 * reach, reach, 120)
            grid = np.stack(np.meshgrid(side, side), -1)
            height = np.mean((grid @ x.T - y) ** 2, axis=-1) - loss(x, y, best)
            panel(one, f"{name}: {found[name].steps:,} steps", x="w1", y="w2")
            levels = height.max() * 4.0 ** np.arange(-7, 0.5)
            one.contour(side, side, height, levels=levels, cmap=style.SEQUENTIAL, linewidths=0.7)
            one.plot(*found[name].path.T, color=style.WRONG, marker="o", markersize=2, linewidth=0.8)
            one.plot(*best, marker="*", color=style.INK, markersize=9)
            one.set_aspect("equal")
        return figure
