"""How weights start: scaled so that signals and gradients neither grow nor fade from layer to layer.

`fan_in` is the number of inputs that one output sums (C_in / groups times the kernel's area), `fan_out` the number of
outputs that one input goes to.
"""

from collections.abc import Callable
from math import prod, sqrt

import numpy as np

from convlens.base.errors import InputError, nearest
from convlens.base.seeds import generator

Array = np.ndarray


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of weights [outputs, inputs, *kernel]."""
    area = prod(shape[2:])
    return shape[1] * area, shape[0] * area


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out): for tanh and sigmoid. Source: Glorot and Bengio, 2010."""
    limit = sqrt(6 / sum(fans(shape)))
    return rng.uniform(-limit, limit, shape)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / (fan_in + fan_out). Source: Glorot and Bengio, 2010."""
    return rng.standard_normal(shape) * sqrt(2 / sum(fans(shape)))


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / fan_in: for ReLU, which loses half of it. Source: He et al., 2015."""
    limit = sqrt(6 / fans(shape)[0])
    return rng.uniform(-limit, limit, shape)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / fan_in. Source: He et al., 2015."""
    return rng.standard_normal(shape) * sqrt(2 / fans(shape)[0])


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """All zero: biases."""
    return np.zeros(shape)


def ones(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """All one: the scale of a normalization."""
    return np.ones(shape)


SCHEMES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
    "zeros": zeros,
    "ones": ones,
}


def draw(scheme: str, shape: tuple[int, ...], seed: int, name: str) -> Array:
    """Weights for the parameter of that name, float32. Equal seed and name give equal weights.

    Raises:
        InputError: there is no such scheme.
    """
    if scheme not in SCHEMES:
        raise InputError(f"unknown initialization {scheme!r}{nearest(scheme, SCHEMES)} (known: {', '.join(SCHEMES)})")
    return SCHEMES[scheme](generator(seed, "initial", name), shape).astype(np.float32)
