"""Polynomials of rising degree: what a model can follow, and what it should."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import legendre

from convlens.base.seeds import generator
from convlens.inspection import style
from convlens.studies.drawing import lines, panel
from convlens.studies.findings import Findings
from convlens.studies.registry import register

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray
DEGREES = range(16)
POINTS, NEW, NOISE = 18, 500, 0.3
SHRUNK = 0.01  # strength of the penalty on the squared coefficients


@register(
    "capacity",
    title="Capacity: polynomials of rising degree",
    texts=("handbook over- and underfitting", "handbook regularisation"),
    claims={
        "training": "The error on the training points never rises with the degree.",
        "new": "The error on new points is least at a middle degree and higher at both ends.",
        "penalty": "With a penalty on the squared coefficients the highest degree is nearly as good as the best one.",
    },
    measures="mean squared error on the training points and on new points, averaged over many draws",
)
def capacity(findings: Findings) -> None:
    """The degree of a polynomial says how much it can bend: that is its capacity. With too little it cannot follow the
    points; with too much it follows the noise as well. A penalty on the coefficients takes capacity away without taking
    terms away: coefficients that are nearly zero do nothing.
    """
    draws = 20 if findings.quick else 400
    findings.set(curve="sin(3x) + x / 2 for x from −1 to 1", noise_deviation=NOISE, training_points=POINTS,
                 new_points=NEW, draws=draws, polynomials="in Legendre's basis, by least squares",
                 penalty=f"{SHRUNK} times the sum of the squared coefficients")  # fmt: skip
    errors = np.zeros((draws, len(DEGREES), 2))
    shrunk = np.zeros(draws)
    for k in findings.steps("draws", range(draws)):
        x, y, x_new, y_new = points(findings.seed, k)
        for degree in DEGREES:
            w = fit(x, y, degree)
            errors[k, degree] = error(w, x, y), error(w, x_new, y_new)
        shrunk[k] = error(fit(x, y, DEGREES[-1], SHRUNK), x_new, y_new)
    training, new = np.median(errors, axis=0).T  # some draws of the highest degrees are off by thousands
    penalised = float(np.median(shrunk))
    best = int(new.argmin())
    findings.table("Mean squared error (median over the draws)", ["degree", "training points", "new points"],
                   [[degree, training[degree], new[degree]] for degree in DEGREES])  # fmt: skip
    findings.figure("best degree", best)
    findings.figure("error on new points with the penalty, degree 15", penalised)
    findings.picture("fits", draw(findings.seed, best), "One draw: the points, the curve (gray), and four polynomials.")
    curves = {"training points": training, "new points": new}
    chart = lines(DEGREES, curves, x="degree", y="mean squared error", log="y", marks=[NOISE**2])
    findings.picture("errors", chart, "Dotted: the variance of the noise, below which nobody gets on new points.")
    rises = float((errors[:, 1:, 0] - errors[:, :-1, 0]).max())
    findings.judge("training", rises <= 1e-9, f"largest rise in any draw: {max(rises, 0):.1g}")
    findings.judge("new", new[0] > new[best] < new[-1] and 0 < best < DEGREES[-1],
                   f"degree 0: {new[0]:.3g}, {best}: {new[best]:.3g}, {DEGREES[-1]}: {new[-1]:.3g}")  # fmt: skip
    findings.judge("penalty", penalised < 1.5 * new[best], f"{penalised:.3g} against {new[best]:.3g}")


def curve(x: Array) -> Array:
    return np.sin(3 * x) + x / 2


def points(seed: int, draw: int) -> tuple[Array, Array, Array, Array]:
    """Training points x, y [POINTS] and new ones [NEW]."""
    rng = generator(seed, "study", "capacity", draw)
    x, x_new = rng.uniform(-1, 1, POINTS), rng.uniform(-1, 1, NEW)
    return x, curve(x) + rng.normal(0, NOISE, POINTS), x_new, curve(x_new) + rng.normal(0, NOISE, NEW)


def fit(x: Array, y: Array, degree: int, strength: float = 0.0) -> Array:
    """The coefficients with the least squared error, plus `strength` times the sum of their squares."""
    terms = legendre.legvander(x, degree)
    if strength:  # rows that ask each coefficient to be 0
        terms = np.concatenate([terms, np.sqrt(strength * len(x)) * np.eye(degree + 1)])
        y = np.concatenate([y, np.zeros(degree + 1)])
    return np.linalg.lstsq(terms, y, rcond=None)[0]


def error(w: Array, x: Array, y: Array) -> float:
    return float(np.mean((legendre.legval(x, w) - y) ** 2))


def draw(seed: int, best: int) -> "Figure":
    x, y, _, _ = points(seed, 0)
    line = np.linspace(-1, 1, 300)
    fits = [("degree 1", fit(x, y, 1)), (f"degree {best}", fit(x, y, best)),
            (f"degree {DEGREES[-1]}", fit(x, y, DEGREES[-1])),
            (f"degree {DEGREES[-1]}, penalty", fit(x, y, DEGREES[-1], SHRUNK))]  # fmt: skip
    with style.styled():
        figure, axes = style.sheet(2, 2, cell=2.0, width=3.2)
        for one, (name, w) in zip(axes.flat, fits, strict=True):
            panel(one, name)
            one.plot(line, curve(line), color="#c3c9d4")
            one.plot(line, legendre.legval(line, w))
            one.plot(x, y, "o", markersize=3, color=style.INK)
            one.set_ylim(-2.6, 2.6)
            one.set_xticks([-1, -0.5, 0, 0.5, 1])
        return figure
