"""Activation functions, their derivatives, and what is left of a gradient after many layers of them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from convlens import ops, scratch
from convlens.base.seeds import generator
from convlens.inspection import style
from convlens.studies.drawing import lines, panel
from convlens.studies.findings import Findings
from convlens.studies.registry import register

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = np.ndarray

NAMES = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "celu", "softplus", "silu", "gelu", "mish",
         "log_sigmoid")  # fmt: skip
STACKED = {"sigmoid": "glorot_normal", "tanh": "glorot_normal", "relu": "he_normal", "leaky_relu": "he_normal"}
"""What is stacked, and how its weights start."""

DEPTHS = range(2, 21)
WIDTH, BATCH = 64, 128


@register(
    "activations",
    title="What an activation leaves of a gradient",
    texts=("book 10.8", "handbook activations"),
    claims={
        "derivative": "For inputs from −2 to 2 the derivative of the sigmoid lies between 0.1 and 0.25.",
        "vanishing": "In a network of 20 sigmoid layers the gradient at the first layer is less than a millionth of "
        "that at the last.",
        "rectifier": "With ReLU, more than a tenth of it is left.",
    },
    measures="each function and its derivative; root mean square of the gradient of the weights at the first layer, "
    "divided by that at the last, for 2 to 20 layers",
)
def activations(findings: Findings) -> None:
    """An activation function bends what a layer computes. On the way back the gradient is multiplied, layer by layer,
    by its derivative. The sigmoid's is 0.25 at most and nearly 0 for large inputs: there the function is saturated.
    Twenty such factors leave nothing that a first layer could learn from.
    """
    x = np.linspace(-6, 6, 241)
    curves = {name: value_and_derivative(name, x) for name in NAMES}
    findings.picture(
        "functions",
        draw(x, curves),
        "Each function (blue) and its derivative (orange). "
        "Gray: saturated, the derivative is below a twentieth of its largest.",
    )
    findings.table(
        "Derivatives",
        ["function", "at −6", "at −2", "at 0", "at 2", "at 6", "largest"],
        [[name, *(slope[np.searchsorted(x, at)] for at in (-6, -2, 0, 2, 6)), slope.max()]
         for name, (_, slope) in curves.items()],
    )  # fmt: skip
    inner = value_and_derivative("sigmoid", np.linspace(-2, 2, 401))[1]
    lies = f"{inner.min():.4f} to {inner.max():.4f}"
    findings.figure("derivative of the sigmoid from −2 to 2", [inner.min(), inner.max()])
    findings.judge("derivative", bool(inner.min() >= 0.1 and inner.max() <= 0.25), lies)

    draws = 1 if findings.quick else 10
    findings.set(layers="2 to 20 dense ones", units_per_layer=WIDTH, samples=BATCH, drawings_of_the_weights=draws,
                 weights={name: scheme.replace("_", " ") for name, scheme in STACKED.items()},
                 loss="cross-entropy of 10 classes, drawn at random")  # fmt: skip
    left: dict[str, list[float]] = {name: [] for name in STACKED}
    for depth in findings.steps("gradients", DEPTHS):
        for name in STACKED:
            ratios = [share_left(name, depth, findings.seed + k) for k in range(draws)]
            left[name].append(float(np.exp(np.mean(np.log(ratios)))))  # geometric mean
        seen = list(DEPTHS)[: len(left["relu"])]
        findings.table("Gradient at the first layer, as a share of the last's", ["layers", *STACKED],
                       [[depth, *(left[name][k] for name in STACKED)] for k, depth in enumerate(seen)])  # fmt: skip
    chart = lines(DEPTHS, left, x="layers", y="first layer's gradient / last layer's", log="y", marks=[1e-6])
    findings.picture("gradients", chart, "What is left of the gradient at the first layer; dotted: a millionth.")
    for name in STACKED:
        findings.figure(f"left after 20 layers of {name}", left[name][-1])
    findings.judge("vanishing", left["sigmoid"][-1] < 1e-6, f"{left['sigmoid'][-1]:.1e} of it is left")
    findings.judge("rectifier", left["relu"][-1] > 0.1, f"{left['relu'][-1]:.2f} of it is left")


def value_and_derivative(name: str, x: Array) -> tuple[Array, Array]:
    """f(x), and f'(x) from the backward function, which multiplies a gradient, here 1, by it."""
    forward: Callable = getattr(ops, name)
    backward: Callable = getattr(ops, f"{name}_backward")
    return forward(x), backward(np.ones_like(x), x).x


def share_left(name: str, depth: int, seed: int) -> float:
    """The gradient of the first layer's weights over that of the last hidden layer's, both as root mean squares."""
    x = scratch.image(WIDTH)
    for layer in range(1, depth + 1):
        x = getattr(x.linear(WIDTH, weights=STACKED[name], name=f"layer{layer}"), name)()
    network = scratch.network(x.linear(10, weights="glorot_normal", name="output"), seed=seed, dtype=np.float64)
    rng = generator(seed, "study", "activations")
    samples, labels = rng.standard_normal((BATCH, WIDTH)), rng.integers(0, 10, BATCH)
    tape = network.run(samples, training=True)
    gradients = tape.backward(ops.cross_entropy_backward(1.0, tape.output, labels).logits).parameters
    first, last = (np.sqrt(np.mean(gradients[f"layer{layer}.weight"] ** 2)) for layer in (1, depth))
    return float(first / last)


def draw(x: Array, curves: dict[str, tuple[Array, Array]]) -> "Figure":
    with style.styled():
        figure, axes = style.sheet(3, 4, cell=1.7, width=2.0)
        for one, (name, (value, slope)) in zip(axes.flat, curves.items(), strict=True):
            panel(one, name)
            saturated = np.abs(slope) < 0.05 * np.abs(slope).max()
            one.fill_between(x, 0, 1, where=saturated, transform=one.get_xaxis_transform(), color="#eef0f4")
            one.axhline(0, color="#c3c9d4", linewidth=0.6)
            one.plot(x, value)
            one.plot(x, slope)
            one.set_ylim(-2.2, 3.2)
            one.set_xlim(-6, 6)
            one.set_xticks([-6, -2, 0, 2, 6])
        return figure
