"""Elementwise arithmetic with NumPy's broadcasting, and sums and means along axes.

Each backward function sums over the axes along which an operand was repeated, so every gradient has the shape of its
argument.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import real, resolve_axes
from convlens.ops._types import Array, ArrayLike
from convlens.ops.arrays import as_float, as_floats, check_same_shape, checked, unbroadcast

Axes = int | tuple[int, ...] | None


class PairGradients(NamedTuple):
    """Gradients with respect to the two operands."""

    a: Array
    b: Array


class UnaryGradients(NamedTuple):
    """Gradient with respect to the one argument."""

    x: Array


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    a, b = as_floats(a=a, b=b)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise InputError(f"b: shape {b.shape}, expected one that can be broadcast with a's {a.shape}") from None
    return a, b


def _pair_and_gradient(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array, Array]:
    a, b = _pair(a, b)
    grad, a, b = as_floats(grad=grad, a=a, b=b)
    check_same_shape(grad, np.broadcast_shapes(a.shape, b.shape))
    return grad, a, b


def add(a: ArrayLike, b: ArrayLike) -> Array:
    """a + b: the shortcut of a residual block."""
    a, b = _pair(a, b)
    return np.asarray(a + b)


def add_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """Both operands receive the gradient as it is."""
    grad, a, b = _pair_and_gradient(grad, a, b)
    return PairGradients(unbroadcast(grad, a.shape), unbroadcast(grad, b.shape))


def subtract(a: ArrayLike, b: ArrayLike) -> Array:
    """a - b."""
    a, b = _pair(a, b)
    return np.asarray(a - b)


def subtract_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """grad and -grad."""
    grad, a, b = _pair_and_gradient(grad, a, b)
    return PairGradients(unbroadcast(grad, a.shape), unbroadcast(-grad, b.shape))


def multiply(a: ArrayLike, b: ArrayLike) -> Array:
    """a * b, elementwise."""
    a, b = _pair(a, b)
    return np.asarray(a * b)


def multiply_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """grad * b and grad * a."""
    grad, a, b = _pair_and_gradient(grad, a, b)
    return PairGradients(unbroadcast(grad * b, a.shape), unbroadcast(grad * a, b.shape))


def divide(a: ArrayLike, b: ArrayLike) -> Array:
    """a / b, elementwise."""
    a, b = _pair(a, b)
    return np.asarray(a / b)


def divide_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """grad / b and -grad * a / b^2."""
    grad, a, b = _pair_and_gradient(grad, a, b)
    return PairGradients(unbroadcast(grad / b, a.shape), unbroadcast(-grad * a / (b * b), b.shape))


def power(x: ArrayLike, *, exponent: float) -> Array:
    """x to a constant power. 0.5 and -0.5 are square roots, which no negative number has, nor -inf."""
    x, exponent = as_float("x", x), real("exponent", exponent)
    if abs(exponent) == 0.5:
        return np.asarray(np.sqrt(x) ** (2 * exponent))
    return np.asarray(x**exponent)


def power_backward(grad: ArrayLike, x: ArrayLike, *, exponent: float) -> UnaryGradients:
    """grad * exponent * x^(exponent - 1)."""
    grad, x = checked(grad, x)
    exponent = real("exponent", exponent)
    if exponent == 0:
        return UnaryGradients(np.zeros_like(x))
    below = np.sqrt(x) ** (2 * exponent - 2) if abs(exponent) == 0.5 else x ** (exponent - 1)
    return UnaryGradients(np.asarray(grad * exponent * below))


def exp(x: ArrayLike) -> Array:
    """e to the power of x."""
    return np.asarray(np.exp(as_float("x", x)))


def exp_backward(grad: ArrayLike, x: ArrayLike, *, y: Array | None = None) -> UnaryGradients:
    """grad * exp(x)."""
    grad, x = checked(grad, x)
    return UnaryGradients(np.asarray(grad * (np.exp(x) if y is None else y)))


def log(x: ArrayLike) -> Array:
    """Natural logarithm of x > 0."""
    return np.asarray(np.log(as_float("x", x)))


def log_backward(grad: ArrayLike, x: ArrayLike) -> UnaryGradients:
    """grad / x."""
    grad, x = checked(grad, x)
    return UnaryGradients(np.asarray(grad / x))


def absolute(x: ArrayLike) -> Array:
    """|x|."""
    return np.asarray(np.abs(as_float("x", x)))


def absolute_backward(grad: ArrayLike, x: ArrayLike) -> UnaryGradients:
    """grad * sign(x), 0 at x = 0."""
    grad, x = checked(grad, x)
    sign = (x > 0).astype(x.dtype) - (x < 0)
    return UnaryGradients(np.asarray(grad * sign))


def total(x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The sum of x along `axis` (all axes if None, none if it is empty)."""
    x = as_float("x", x)
    return np.asarray(x.sum(axis=resolve_axes("axis", axis, x.ndim), keepdims=keepdims))


def total_backward(grad: ArrayLike, x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> UnaryGradients:
    """Every summand receives the gradient of its sum."""
    grad, x = as_floats(grad=grad, x=x)
    return UnaryGradients(_copied(grad, x.shape, axis))


def mean(x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """The mean of x along `axis` (all axes if None); NaN where there is nothing to take it of, as in PyTorch."""
    x = as_float("x", x)
    with np.errstate(invalid="ignore"):
        return np.asarray(total(x, axis=axis, keepdims=keepdims) / x.dtype.type(_count(x.shape, axis)))


def mean_backward(grad: ArrayLike, x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> UnaryGradients:
    """Every one of n values receives the gradient of its mean over n."""
    grad, x = as_floats(grad=grad, x=x)
    share = _copied(grad, x.shape, axis)
    share /= x.dtype.type(max(_count(x.shape, axis), 1))
    return UnaryGradients(share)


def _count(shape: tuple[int, ...], axis: Axes) -> int:
    """How many values are added up for each one that comes out."""
    return prod(shape[a] for a in resolve_axes("axis", axis, len(shape)))


def _copied(grad: Array, shape: tuple[int, ...], axis: Axes) -> Array:
    """The gradient of a sum, repeated along the axes that were summed."""
    summed = resolve_axes("axis", axis, len(shape))
    with_axes = tuple(1 if i in summed else n for i, n in enumerate(shape))
    without_axes = tuple(n for i, n in enumerate(shape) if i not in summed)
    if grad.shape not in (with_axes, without_axes):
        raise InputError(f"grad: shape {grad.shape}, expected {without_axes} or {with_axes}")
    return np.broadcast_to(grad.reshape(with_axes), shape).copy()


def scale_shift(x: ArrayLike, *, scale: float = 1.0, shift: float = 0.0) -> Array:
    """scale * x + shift with constants."""
    x, scale, shift = as_float("x", x), real("scale", scale), real("shift", shift)
    y = np.asarray(x * scale)
    if shift:
        y += shift
    return y


def scale_shift_backward(grad: ArrayLike, x: ArrayLike, *, scale: float = 1.0, shift: float = 0.0) -> UnaryGradients:
    """scale * grad."""
    grad, x = checked(grad, x)
    return UnaryGradients(np.asarray(grad * real("scale", scale)))
