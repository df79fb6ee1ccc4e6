"""How weights start in networks written by hand; the formulas are in `base.initial`."""

from collections.abc import Callable

import numpy as np

from convlens.base.errors import InputError, nearest
from convlens.base.initial import fans, glorot_deviation, he_deviation, uniform_bound
from convlens.base.seeds import generator

Array = np.ndarray


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / (fan_in + fan_out): for tanh and sigmoid."""
    bound = uniform_bound(glorot_deviation(*fans(shape)))
    return rng.uniform(-bound, bound, shape)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / (fan_in + fan_out): for tanh and sigmoid."""
    return rng.standard_normal(shape) * glorot_deviation(*fans(shape))


def he_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Uniform with variance 2 / fan_in: for ReLU."""
    bound = uniform_bound(he_deviation(fans(shape)[0]))
    return rng.uniform(-bound, bound, shape)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal with variance 2 / fan_in: for ReLU."""
    return rng.standard_normal(shape) * he_deviation(fans(shape)[0])


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
