"""Penalties on weights, to be added to a loss."""

from typing import NamedTuple

import numpy as np

from convlens.ops._checks import real
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float


class PenaltyGradients(NamedTuple):
    """Gradient with respect to the weights, of their shape."""

    w: Array


def l1_penalty(w: ArrayLike, *, strength: float = 1.0) -> Array:
    """strength * sum |w|: drives weights to exactly zero. Source: Tibshirani, 1996."""
    w = as_float("w", w)
    return np.asarray(np.abs(w).sum() * real("strength", strength), w.dtype)


def l1_penalty_backward(grad: ArrayLike, w: ArrayLike, *, strength: float = 1.0) -> PenaltyGradients:
    """grad * strength * sign(w), with sign(0) = 0."""
    w = as_float("w", w)
    return PenaltyGradients(np.asarray(real("grad", grad) * real("strength", strength) * np.sign(w)))


def l2_penalty(w: ArrayLike, *, strength: float = 1.0) -> Array:
    """strength * sum w^2, without a half: weight decay d in an optimizer is strength d / 2.

    Source: Krogh and Hertz, 1991.
    """
    w = as_float("w", w)
    return np.asarray((w * w).sum() * real("strength", strength), w.dtype)


def l2_penalty_backward(grad: ArrayLike, w: ArrayLike, *, strength: float = 1.0) -> PenaltyGradients:
    """grad * strength * 2 w."""
    w = as_float("w", w)
    return PenaltyGradients(np.asarray(2 * real("grad", grad) * real("strength", strength) * w))
