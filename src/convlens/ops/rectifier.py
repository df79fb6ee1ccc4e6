"""Activation functions made of a line and a bend at one place: ReLU and its family. Shapes: any -> the same.

float32 in gives float32 out. Every backward function takes the gradient of the output and the input x. On the bend
itself, and where x is no number, they do what PyTorch does.
"""

from typing import NamedTuple

import numpy as np

from convlens.base.errors import InputError
from convlens.ops._checks import real
from convlens.ops._switch import replaceable
from convlens.ops._types import Array, ArrayLike, Booleans
from convlens.ops.arrays import as_float, as_floats, check_same_shape, checked, unbroadcast


class ActivationGradients(NamedTuple):
    """Gradient with respect to the input, of its shape and type."""

    x: Array


@replaceable
def relu(x: ArrayLike) -> Array:
    """max(x, 0). Source: Nair and Hinton, 2010."""
    return np.asarray(np.maximum(as_float("x", x), 0))


@replaceable
def relu_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """Passes the gradient where x > 0; 0 at x = 0, as PyTorch and TensorFlow do."""
    grad, x = checked(grad, x)
    return ActivationGradients(np.where(x <= 0, 0, grad))


@replaceable
def threshold(x: ArrayLike, *, threshold: float, value: float) -> Array:
    """x where x > threshold, else `value`. threshold=0, value=0 is ReLU."""
    x, threshold, value = as_float("x", x), real("threshold", threshold), real("value", value)
    return np.where(x <= threshold, value, x)


@replaceable
def threshold_backward(grad: ArrayLike, x: ArrayLike, *, threshold: float, value: float = 0.0) -> ActivationGradients:
    """Passes the gradient where x > threshold."""
    (grad, x), threshold = checked(grad, x), real("threshold", threshold)
    return ActivationGradients(np.where(x <= threshold, 0, grad))


@replaceable
def leaky_relu(x: ArrayLike, *, slope: float = 0.01) -> Array:
    """x where x > 0, else slope * x. Source: Maas, Hannun and Ng, 2013."""
    x, slope = as_float("x", x), real("slope", slope)
    return np.where(x > 0, x, slope * x)


@replaceable
def leaky_relu_backward(grad: ArrayLike, x: ArrayLike, *, slope: float = 0.01) -> ActivationGradients:
    """grad where x > 0, else slope * grad (also at x = 0)."""
    (grad, x), slope = checked(grad, x), real("slope", slope)
    return ActivationGradients(np.where(x > 0, grad, slope * grad))


class PreluGradients(NamedTuple):
    """Gradients with respect to the input and the learnt slopes."""

    x: Array
    w: Array


def prelu(x: ArrayLike, w: ArrayLike) -> Array:
    """x where x > 0, else w * x: a leaky ReLU that learns its slope.

    Args:
        x: (N, C, ...).
        w: (C), one slope for each channel; or (1), one for all (then x may have any shape).

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    x, w = as_floats(x=x, w=w)
    return np.where(x > 0, x, _slopes(x, w) * x)


def prelu_backward(grad: ArrayLike, x: ArrayLike, w: ArrayLike) -> PreluGradients:
    """For x: grad where x > 0, else w * grad. For w: the sum of grad * x over the places of that slope with x <= 0."""
    grad, x, w = as_floats(grad=grad, x=x, w=w)
    check_same_shape(grad, x.shape)
    slopes, positive = _slopes(x, w), x > 0
    dw = unbroadcast(np.where(positive, 0, grad * x), slopes.shape)
    return PreluGradients(np.where(positive, grad, slopes * grad), dw.reshape(w.shape))


def _slopes(x: Array, w: Array) -> Array:
    """The slopes in a shape that lines up with x."""
    if w.size == 1 and w.ndim < 2:
        return w.reshape((1,) * x.ndim)
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.shape != (channels,):
        raise InputError(f"w: shape {w.shape}, expected ({channels},) or (1,) beside an x of shape {x.shape}")
    return w.reshape(1, channels, *(1,) * (x.ndim - 2))


@replaceable
def elu(x: ArrayLike, *, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (exp(x) - 1). Source: Clevert, Unterthiner and Hochreiter, 2016."""
    return _elu(x, real("alpha", alpha))


@replaceable
def elu_backward(grad: ArrayLike, x: ArrayLike, *, alpha: float = 1.0) -> ActivationGradients:
    """grad where x > 0, else grad * alpha * exp(x)."""
    return _elu_backward(grad, x, real("alpha", alpha))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934


@replaceable
def selu(x: ArrayLike) -> Array:
    """scale * elu(x, alpha), with alpha = 1.67326... and scale = 1.05070...: activations keep mean 0 and variance 1.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    return _elu(x, _SELU_ALPHA, scale=_SELU_SCALE)


@replaceable
def selu_backward(grad: ArrayLike, x: ArrayLike) -> ActivationGradients:
    """scale times the gradient of elu(x, alpha)."""
    return _elu_backward(grad, x, _SELU_ALPHA, scale=_SELU_SCALE)


@replaceable
def celu(x: ArrayLike, *, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha * (exp(x / alpha) - 1): an ELU whose slope has no jump. Source: Barron, 2017."""
    return _elu(x, _not_zero(alpha), width=_not_zero(alpha))


@replaceable
def celu_backward(grad: ArrayLike, x: ArrayLike, *, alpha: float = 1.0) -> ActivationGradients:
    """grad where x > 0, else grad * exp(x / alpha)."""
    return _elu_backward(grad, x, _not_zero(alpha), width=_not_zero(alpha))


def _not_zero(alpha: float) -> float:
    if real("alpha", alpha) == 0:
        raise InputError("alpha: 0, expected another number: celu divides by it")
    return real("alpha", alpha)


def _elu(x: ArrayLike, alpha: float, *, scale: float = 1.0, width: float = 1.0) -> Array:
    """scale * (x where x > 0, else alpha * (exp(x / width) - 1)): what elu, selu and celu have in common."""
    x = as_float("x", x)
    # The exponential only sees x <= 0: of a large x it would overflow, for nothing.
    return np.asarray(scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / width)))


def _elu_backward(
    grad: ArrayLike, x: ArrayLike, alpha: float, *, scale: float = 1.0, width: float = 1.0
) -> ActivationGradients:
    grad, x = checked(grad, x)
    slope = (alpha / width) * np.exp(np.minimum(x, 0) / width)
    return ActivationGradients(np.asarray(scale * np.where(x <= 0, grad * slope, grad)))


@replaceable
def clamp(x: ArrayLike, *, low: float | None = None, high: float | None = None) -> Array:
    """min(max(x, low), high); None leaves that side open. ReLU6 is clamp(x, low=0, high=6)."""
    low, high = _limits(low, high)
    return np.asarray(np.clip(as_float("x", x), low, high))


@replaceable
def clamp_backward(
    grad: ArrayLike, x: ArrayLike, *, low: float | None = None, high: float | None = None, closed: bool = True
) -> ActivationGradients:
    """Passes the gradient where x lies between the limits; on a limit itself only if `closed`.

    PyTorch counts the limits as inside for `clamp` and as outside for `hardtanh` and `relu6`.
    """
    grad, x = checked(grad, x)
    return ActivationGradients(np.where(outside(x, low, high, closed), 0, grad))


def outside(x: Array, low: float | None, high: float | None, closed: bool) -> Booleans:
    """Where no gradient of `clamp` passes."""
    low, high = _limits(low, high)
    outside = np.isnan(x) if closed else np.zeros(x.shape, bool)
    if low is not None:
        outside |= x < low if closed else x <= low
    if high is not None:
        outside |= x > high if closed else x >= high
    return outside


def _limits(low: float | None, high: float | None) -> tuple[float | None, float | None]:
    if low is None and high is None:
        raise InputError("clamp: neither low nor high is given, expected at least one of them")
    return None if low is None else real("low", low), None if high is None else real("high", high)
