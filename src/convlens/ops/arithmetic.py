"""Elementwise arithmetic with NumPy's broadcasting, and sums and means along axes.

Each backward function sums over the axes along which an operand was repeated, so every gradient has the shape of its
argument.
"""

from typing import Any, NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops.arrays import as_float, as_floats, unbroadcast

ArrayLike = Any
Axes = int | tuple[int, ...] | None


class PairGradients(NamedTuple):
    """Gradients with respect to the two operands."""

    a: np.ndarray
    b: np.ndarray


class UnaryGradients(NamedTuple):
    """Gradient with respect to the one argument."""

    x: np.ndarray


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    a, b = as_floats(a=a, b=b)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise InputError(f"b: shape {b.shape}, expected one that can be broadcast with a's {a.shape}") from None
    return a, b


def add(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """a + b: the shortcut of a residual block."""
    a, b = _pair(a, b)
    return a + b


def add_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """Both operands receive the gradient as it is."""
    grad, a, b = as_floats(grad=grad, a=a, b=b)
    return PairGradients(unbroadcast(grad, a.shape), unbroadcast(grad, b.shape))


def subtract(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """a - b."""
    a, b = _pair(a, b)
    return a - b


def subtract_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """grad and -grad."""
    grad, a, b = as_floats(grad=grad, a=a, b=b)
    return PairGradients(unbroadcast(grad, a.shape), unbroadcast(-grad, b.shape))


def multiply(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """a * b, elementwise."""
    a, b = _pair(a, b)
    return a * b


def multiply_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """grad * b and grad * a."""
    grad, a, b = as_floats(grad=grad, a=a, b=b)
    return PairGradients(unbroadcast(grad * b, a.shape), unbroadcast(grad * a, b.shape))


def divide(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """a / b, elementwise."""
    a, b = _pair(a, b)
    return a / b


def divide_backward(grad: ArrayLike, a: ArrayLike, b: ArrayLike) -> PairGradients:
    """grad / b and -grad * a / b^2."""
    grad, a, b = as_floats(grad=grad, a=a, b=b)
    return PairGradients(unbroadcast(grad / b, a.shape), unbroadcast(-grad * a / (b * b), b.shape))


def power(x: ArrayLike, *, exponent: float) -> np.ndarray:
    """x to a constant power."""
    x = as_float("x", x)
    return x**exponent


def power_backward(grad: ArrayLike, x: ArrayLike, *, exponent: float) -> UnaryGradients:
    """grad * exponent * x^(exponent - 1)."""
    grad, x = as_floats(grad=grad, x=x)
    if exponent == 0:
        return UnaryGradients(np.zeros_like(x))
    return UnaryGradients(grad * exponent * x ** (exponent - 1))


def exp(x: ArrayLike) -> np.ndarray:
    """e to the power of x."""
    return np.exp(as_float("x", x))


def exp_backward(grad: ArrayLike, x: ArrayLike, *, y: np.ndarray | None = None) -> UnaryGradients:
    """grad * exp(x)."""
    grad, x = as_floats(grad=grad, x=x)
    return UnaryGradients(grad * (np.exp(x) if y is None else y))


def log(x: ArrayLike) -> np.ndarray:
    """Natural logarithm of x > 0."""
    return np.log(as_float("x", x))


def log_backward(grad: ArrayLike, x: ArrayLike) -> UnaryGradients:
    """grad / x."""
    grad, x = as_floats(grad=grad, x=x)
    return UnaryGradients(grad / x)


def absolute(x: ArrayLike) -> np.ndarray:
    """|x|."""
    return np.abs(as_float("x", x))


def absolute_backward(grad: ArrayLike, x: ArrayLike) -> UnaryGradients:
    """grad * sign(x), 0 at x = 0."""
    grad, x = as_floats(grad=grad, x=x)
    return UnaryGradients(grad * np.sign(x))


def total(x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> np.ndarray:
    """The sum of x along `axis` (all axes if None)."""
    x = as_float("x", x)
    return np.asarray(x.sum(axis=axis, keepdims=keepdims))


def total_backward(grad: ArrayLike, x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> UnaryGradients:
    """Every summand receives the gradient of its sum."""
    grad, x = as_floats(grad=grad, x=x)
    kept = grad.reshape(_kept_shape(x.shape, axis))
    return UnaryGradients(np.broadcast_to(kept, x.shape).copy())


def mean(x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> np.ndarray:
    """The mean of x along `axis` (all axes if None)."""
    x = as_float("x", x)
    return np.asarray(x.mean(axis=axis, keepdims=keepdims))


def mean_backward(grad: ArrayLike, x: ArrayLike, *, axis: Axes = None, keepdims: bool = False) -> UnaryGradients:
    """Every one of n values receives the gradient of its mean over n."""
    grad, x = as_floats(grad=grad, x=x)
    shape = _kept_shape(x.shape, axis)
    n = x.size // max(int(np.prod(shape)), 1)
    return UnaryGradients(np.broadcast_to(grad.reshape(shape) / n, x.shape).copy())


def _kept_shape(shape: tuple[int, ...], axis: Axes) -> tuple[int, ...]:
    """The shape of a reduction that keeps its axes with size 1."""
    axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    reduced = {a % len(shape) for a in axes} if shape else set()
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def scale_shift(x: ArrayLike, *, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    """scale * x + shift with constants."""
    x = as_float("x", x)
    y = x * x.dtype.type(scale)
    if shift:
        y += x.dtype.type(shift)
    return y


def scale_shift_backward(grad: ArrayLike, x: ArrayLike, *, scale: float = 1.0, shift: float = 0.0) -> UnaryGradients:
    """scale * grad."""
    grad, x = as_floats(grad=grad, x=x)
    return UnaryGradients(grad * grad.dtype.type(scale))
