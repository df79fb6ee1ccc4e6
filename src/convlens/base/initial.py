"""How widely weights are spread at the start: the formulas by which both engines draw.

Signals and gradients should neither grow nor fade from layer to layer. `fan_in` is the number of inputs that one output
sums, `fan_out` the number of outputs that one input goes to.
"""

from collections.abc import Sequence
from math import prod, sqrt


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of weights [C_out, C_in / groups, *kernel]; as in PyTorch, groups divide fan_in alone."""
    area = prod(shape[2:])
    return shape[1] * area, shape[0] * area


def glorot_deviation(fan_in: int, fan_out: int) -> float:
    """Variance 2 / (fan_in + fan_out): for tanh and sigmoid. Source: Glorot and Bengio, 2010."""
    return sqrt(2 / (fan_in + fan_out))


def he_deviation(fan: int) -> float:
    """Variance 2 / fan: for ReLU, which loses half of it. Source: He, Zhang, Ren and Sun, 2015.

    fan: fan_in keeps the variance of signals, fan_out that of gradients.
    """
    return sqrt(2 / fan)


def uniform_bound(deviation: float) -> float:
    """Uniform numbers in -bound .. bound have this standard deviation."""
    return sqrt(3) * deviation


def lecun_bound(fan_in: int) -> float:
    """Uniform in -bound .. bound: for the scaled tanh of LeNet-5. Source: LeCun, Bottou, Orr and Mueller, 1998."""
    return 2.4 / fan_in


def pytorch_bound(fan_in: int) -> float:
    """Uniform in -bound .. bound: what PyTorch's layers start with, weights and biases."""
    return 1 / sqrt(fan_in)
