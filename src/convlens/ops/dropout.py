"""Dropout, with masks that are addressed: the same seed and address give the same mask, whatever was drawn before.

Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014, in the inverted
form: kept values are scaled by 1 / (1 - rate) in training, so that nothing changes at test time.
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.base.seeds import derive
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike, Booleans
from convlens.ops.arrays import as_float, as_floats


class DropoutGradients(NamedTuple):
    """Gradient with respect to the input, of its shape."""

    x: Array


def dropout_mask(shape: tuple[int, ...], rate: float, seed: int, *address: str | int) -> Booleans:
    """Which cells are kept: booleans of `shape`, each True with probability 1 - rate (to 2^-32).

    The mask depends on nothing but the arguments, so that another engine can draw the same one.
    """
    _check(rate)
    n = int(np.prod(shape))
    # Two cells for each raw 64-bit word of a small, fast generator: much cheaper than n floating-point draws.
    words = np.random.SFC64(derive(seed, *address)).random_raw((n + 1) // 2)
    cells = words.astype("<u8", copy=False).view("<u4")[:n]
    return (cells >= round(rate * 2**32)).reshape(shape)


@replaceable
def dropout(
    x: ArrayLike,
    *,
    rate: float = 0.5,
    mask: Booleans | None = None,
    seed: int | None = None,
    address: tuple[str | int, ...] = (),
    training: bool = True,
) -> Array:
    """x * mask / (1 - rate) in training, x itself otherwise.

    Args:
        x: any shape.
        rate: probability of dropping, 0 <= rate < 1 (rate 1 drops everything).
        mask: booleans that can be broadcast to x, True where a value is kept ((N, C, 1, 1) drops whole channels); or
        seed, address: where the mask is to be drawn from (see `dropout_mask`).
        training: False gives x back.
    """
    x = as_float("x", x)
    if not training:
        return x
    mask = _mask(x.shape, rate, mask, seed, address)
    return np.asarray(x * _scale(rate) * mask)


@replaceable
def dropout_backward(
    grad: ArrayLike,
    x: ArrayLike,
    *,
    rate: float = 0.5,
    mask: Booleans | None = None,
    seed: int | None = None,
    address: tuple[str | int, ...] = (),
    training: bool = True,
) -> DropoutGradients:
    """grad * mask / (1 - rate): the cells that were dropped receive nothing."""
    grad, x = as_floats(grad=grad, x=x)
    if not training:
        return DropoutGradients(grad)
    mask = _mask(x.shape, rate, mask, seed, address)
    return DropoutGradients(np.asarray(grad * _scale(rate) * mask))


def _check(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise InputError(f"rate: {rate}, expected a probability between 0 and 1")


def _scale(rate: float) -> float:
    return 1 / (1 - rate) if rate < 1 else 0.0


def _mask(shape: tuple[int, ...], rate: float, mask: Any, seed: int | None, address: tuple[Any, ...]) -> Booleans:
    _check(rate)
    if (mask is None) == (seed is None):
        raise InputError("mask: expected either a mask, or a seed to draw it from, in training")
    if mask is None:
        assert seed is not None
        return dropout_mask(shape, rate, seed, *address)
    mask = np.asarray(mask, bool)
    try:
        np.broadcast_to(mask, shape)
    except ValueError:
        raise InputError(f"mask: shape {mask.shape}, expected one that can be broadcast to x's {shape}") from None
    return mask
